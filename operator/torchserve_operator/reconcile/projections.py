"""What the operator keeps of each object it watches. Pure."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from torchserve_operator.api.names import (
    FIELD_MANAGER,
    GROUP,
    KIND,
    LABEL_BUILD,
    LABEL_MANAGED_BY,
    LABEL_MODEL,
    PLURAL,
    VERSION,
)
from torchserve_operator.kube.drift import digest, foreign_paths
from torchserve_operator.kube.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    JOB,
    POD,
    POD_DISRUPTION_BUDGET,
    REPLICA_SET,
    SERVICE,
    SERVICE_ACCOUNT,
    Kind,
)
from torchserve_operator.status.build_pods import is_build_pod, project_build_pod, project_job
from torchserve_operator.status.pods import project_pod

Object = dict[str, Any]

RESOURCE: Final = Kind(GROUP, VERSION, PLURAL, KIND)

_RESTART_ANNOTATIONS: Final = ("spec", "template", "metadata", "annotations")
"""`kubectl rollout restart` writes one here; it is welcome to."""


def owner_of(kind: Kind, body: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return namespace and name of the resource that an object belongs to."""
    metadata = body["metadata"]
    if kind == RESOURCE:
        return metadata["namespace"], metadata["name"]
    labels = metadata.get("labels") or {}
    name = labels.get(LABEL_MODEL) or labels.get(LABEL_BUILD)
    return (metadata["namespace"], name) if name else None


def _resource(body: Mapping[str, Any]) -> Object:
    kept = ("name", "namespace", "uid", "generation", "creationTimestamp", "deletionTimestamp")
    return {
        "metadata": {key: body["metadata"][key] for key in kept if key in body["metadata"]},
        "spec": body.get("spec"),
        "status": body.get("status") or {},
    }


def _head(body: Mapping[str, Any]) -> Object:
    kept = ("name", "namespace", "uid", "labels", "annotations", "ownerReferences")
    return {key: body["metadata"][key] for key in kept if key in body["metadata"]}


def _foreign(body: Mapping[str, Any]) -> list[list[str | int]]:
    length = len(_RESTART_ANNOTATIONS)
    return [list(path) for path in foreign_paths(body, FIELD_MANAGER) if path[:length] != _RESTART_ANNOTATIONS]


def _written(body: Mapping[str, Any]) -> Object:
    return {"metadata": _head(body), "spec": body.get("spec") or {}, "foreign": _foreign(body)}


def _deployment(body: Mapping[str, Any]) -> Object:
    status = body.get("status") or {}
    conditions = [
        {key: condition.get(key) for key in ("type", "status", "reason", "message")}
        for condition in status.get("conditions") or ()
        if condition["type"] == "ReplicaFailure"
    ]
    return {**_written(body), "status": {"conditions": conditions}}


def _replica_set(body: Mapping[str, Any]) -> Object:
    volumes = body["spec"]["template"]["spec"].get("volumes") or ()
    return {
        "metadata": {"name": body["metadata"]["name"]},
        "configMaps": [volume["configMap"]["name"] for volume in volumes if "configMap" in volume],
    }


def _config_map(body: Mapping[str, Any]) -> Object:
    content = {key: body[key] for key in ("data", "binaryData") if body.get(key)}
    return {"metadata": _head(body), "immutable": body.get("immutable", False), "digest": digest(content)}


def _service_account(body: Mapping[str, Any]) -> Object:
    return {
        "metadata": _head(body),
        "automountServiceAccountToken": body.get("automountServiceAccountToken"),
    }


def _pod(body: Mapping[str, Any]) -> Object:
    return project_build_pod(body) if is_build_pod(body) else project_pod(body)


PROJECTIONS: Final[Mapping[Kind, Callable[[Mapping[str, Any]], Object]]] = {
    RESOURCE: _resource,
    DEPLOYMENT: _deployment,
    REPLICA_SET: _replica_set,
    JOB: project_job,
    POD: _pod,
    SERVICE: _written,
    CONFIG_MAP: _config_map,
    SERVICE_ACCOUNT: _service_account,
    POD_DISRUPTION_BUDGET: _written,
}

SELECTORS: Final[Mapping[Kind, str | None]] = {
    **dict.fromkeys(PROJECTIONS, LABEL_MODEL),
    RESOURCE: None,
    # a build's pods must not have the label that makes a pod the Service's
    POD: f"{LABEL_MANAGED_BY}={FIELD_MANAGER}",
}
"""The label that the API server selects by: a child without it is not seen."""

WRITTEN: Final = (SERVICE_ACCOUNT, CONFIG_MAP, SERVICE, DEPLOYMENT, POD_DISRUPTION_BUDGET)
"""The kinds of children that the operator writes and removes."""
