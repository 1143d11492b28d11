"""Every object that one resource wants to exist. Pure: the same inputs give the same objects.

What a container was started with never changes under it: the server's files and the agent are in immutable,
content-named ConfigMaps, and the pod template of an unchanged spec is kept as it was last decided, so that a new
operator does not roll the fleet.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cache
from typing import Any

from torchserve_operator.agent.bundle import AgentBundle
from torchserve_operator.api.names import (
    ANNOTATION_CERTIFICATE,
    ANNOTATION_SPEC_HASH,
    ANNOTATION_TEMPLATE,
    INFERENCE_PORT,
    LABEL_REVISION,
    LABEL_ROLE,
)
from torchserve_operator.api.spec import TorchServeModelSpec
from torchserve_operator.desired.agent_config import agent_config, policy
from torchserve_operator.desired.config_properties import config_properties
from torchserve_operator.desired.log4j2 import log4j2
from torchserve_operator.desired.metrics_config import metrics_yaml
from torchserve_operator.desired.objects import Object, content_named, metadata, pruned, selector
from torchserve_operator.desired.pod_template import pod_template
from torchserve_operator.desired.sizing import size
from torchserve_operator.kube.drift import digest

_ROLLS_NOTHING = {"build", "replicas", "rollout", "service", "podDisruptionBudget", "paused"}
"""Fields of the spec that the pods are not made of; of a build, they are made of its image."""
_ROLLS_NOTHING_IN_MODELS = {"archive", "maxWorkers", "minWorkers", "package"}
"""The bounds are in the policy, which the agent reads while it runs."""


@dataclass(frozen=True, slots=True)
class Children:
    """The wanted objects.

    Attributes:
        service_account: None where the spec names an existing one.
        server_config: None where a kept template uses an older one, which exists.
        agent_config: The same.
        pod_disruption_budget: None with a single replica.
        revision: The pod template's label value; the pods of the current generation carry it.
        policy_hash: SHA-256 of the policy file, in hex, as the agents report it.
        referenced: The ConfigMaps that the pod template names.
    """

    service_account: Object | None
    server_config: Object | None
    agent_config: Object | None
    policy: Object
    deployment: Object
    service: Object
    pod_disruption_budget: Object | None
    revision: str
    policy_hash: str
    referenced: frozenset[str]

    @property
    def template(self) -> Object:
        """The pod template."""
        template: Object = self.deployment["spec"]["template"]
        return template


def spec_hash(spec: TorchServeModelSpec, image: str | None = None) -> str:
    """Return the hash of what the pods are made from. Defaults do not count: a new field does not change it.

    Args:
        spec: The spec.
        image: The image that was built for it, if one was.
    """
    fields = spec.model_dump(by_alias=True, exclude_defaults=True, mode="json")
    if image is not None:
        fields["image"] = image
    models = [
        {key: value for key, value in model.items() if key not in _ROLLS_NOTHING_IN_MODELS}
        for model in fields.pop("models")
    ]
    return digest({"models": models} | {key: value for key, value in fields.items() if key not in _ROLLS_NOTHING})


def children(
    resource: Mapping[str, Any],
    spec: TorchServeModelSpec,
    bundle: AgentBundle,
    *,
    deployment: Mapping[str, Any] | None = None,
    config_maps: AbstractSet[str] = frozenset(),
    certificate: str | None = None,
    image: str | None = None,
) -> Children:
    """Return the wanted objects.

    While an image is still being built, the template of the Deployment that there is stays as it is.

    Args:
        resource: The resource's metadata: name, namespace, uid.
        spec: Its spec.
        bundle: The agent of this operator.
        deployment: The Deployment as it stands, if there is one.
        config_maps: The names of this resource's intact ConfigMaps.
        certificate: The hash of a renewed certificate that some pod was not started with.
        image: The image of a spec that names none; None while there is none.

    Raises:
        ValueError: There is neither an image nor a template to go by.
    """
    name = resource["name"]
    image = image or spec.image
    sizing = size(spec)
    server = content_named(
        resource,
        "server",
        {
            "data": pruned(
                {
                    "config.properties": config_properties(spec, sizing),
                    "log4j2.xml": log4j2(spec),
                    "agent.json": _json(agent_config(spec, sizing)),
                    "metrics.yaml": metrics_yaml(spec),
                }
            )
        },
    )
    agent = content_named(
        resource,
        "agent",
        *_agent_content(bundle),
    )
    policy_text = _json(policy(spec, sizing))
    policy_map = {
        "metadata": metadata(resource, f"{name}-policy", more_labels={LABEL_ROLE: "policy"}),
        "data": {"policy.json": policy_text},
    }
    fresh = {server["metadata"]["name"], agent["metadata"]["name"]}
    if image is None:
        wanted_hash, template = _held_template(deployment)
    else:
        wanted_hash = spec_hash(spec, image)
        template = _kept_template(deployment, wanted_hash, config_maps | fresh) or pod_template(
            name,
            spec,
            sizing,
            image=image,
            server_config=server["metadata"]["name"],
            agent_config=agent["metadata"]["name"],
            policy=f"{name}-policy",
        )
    if certificate is not None:
        template = _with_certificate(template, certificate)
    referenced = _config_maps_of(template) - {f"{name}-policy"}
    return Children(
        service_account=service_account(resource, spec),
        server_config=server if server["metadata"]["name"] in referenced else None,
        agent_config=agent if agent["metadata"]["name"] in referenced else None,
        policy=policy_map,
        deployment=_deployment(resource, spec, template, wanted_hash, sizing.startup_seconds),
        service=_service(resource, spec),
        pod_disruption_budget=_pod_disruption_budget(resource, spec),
        revision=template["metadata"]["labels"][LABEL_REVISION],
        policy_hash=_sha256(policy_text),
        referenced=frozenset(referenced),
    )


def service_account(resource: Mapping[str, Any], spec: TorchServeModelSpec) -> Object | None:
    """Return the pods' ServiceAccount, or None where the spec names an existing one."""
    if spec.pod.service_account_name:
        return None
    return {"metadata": metadata(resource, resource["name"]), "automountServiceAccountToken": False}


def _kept_template(deployment: Mapping[str, Any] | None, wanted: str, config_maps: AbstractSet[str]) -> Object | None:
    """Return the template as last decided, if the spec is the same and its ConfigMaps can be had."""
    if deployment is None:
        return None
    annotations = deployment["metadata"].get("annotations") or {}
    if annotations.get(ANNOTATION_SPEC_HASH) != wanted:
        return None
    try:
        template: Object = json.loads(annotations.get(ANNOTATION_TEMPLATE, ""))
        names = _config_maps_of(template)
        if LABEL_REVISION not in template["metadata"]["labels"]:
            return None
    except (ValueError, KeyError, TypeError):
        return None
    # the policy is written afresh each time
    return template if {name for name in names if not name.endswith("-policy")} <= config_maps else None


def _held_template(deployment: Mapping[str, Any] | None) -> tuple[str, Object]:
    """Return the template as last decided, with the hash that it was decided for, whatever the spec says now."""
    if not can_hold(deployment):
        raise ValueError("there is neither an image nor a template to go by")
    annotations = (deployment or {})["metadata"]["annotations"]
    return annotations[ANNOTATION_SPEC_HASH], json.loads(annotations[ANNOTATION_TEMPLATE])


def can_hold(deployment: Mapping[str, Any] | None) -> bool:
    """Return whether a Deployment says which template was last decided."""
    annotations = {} if deployment is None else deployment["metadata"].get("annotations") or {}
    try:
        template = json.loads(annotations.get(ANNOTATION_TEMPLATE, ""))
        return ANNOTATION_SPEC_HASH in annotations and LABEL_REVISION in template["metadata"]["labels"]
    except (ValueError, KeyError, TypeError):
        return False


def _config_maps_of(template: Mapping[str, Any]) -> set[str]:
    return {
        volume["configMap"]["name"]
        for volume in template["spec"]["volumes"]
        if "configMap" in volume and volume["name"].startswith("torchserve-operator-")
    }


def _with_certificate(template: Object, certificate: str) -> Object:
    head = template["metadata"]
    annotations = {**head.get("annotations", {}), ANNOTATION_CERTIFICATE: certificate}
    unlabelled = {key: value for key, value in head["labels"].items() if key != LABEL_REVISION}
    renewed = {**template, "metadata": {**head, "labels": unlabelled, "annotations": annotations}}
    renewed["metadata"]["labels"] = {**unlabelled, LABEL_REVISION: digest(renewed)}
    return renewed


def _deployment(
    resource: Mapping[str, Any], spec: TorchServeModelSpec, template: Object, wanted_hash: str, startup: int
) -> Object:
    surge = spec.rollout.strategy == "Surge"
    return {
        "metadata": metadata(
            resource,
            resource["name"],
            annotations={ANNOTATION_SPEC_HASH: wanted_hash, ANNOTATION_TEMPLATE: _json(template)},
        ),
        "spec": {
            "replicas": spec.replicas,
            "selector": {"matchLabels": selector(resource["name"])},
            "template": template,
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}
                if surge
                else {"maxSurge": 0, "maxUnavailable": 1},
            },
            "revisionHistoryLimit": 2,
            # The Deployment's own verdict is not used; it must not come before the startup probe's.
            "progressDeadlineSeconds": startup + 600,
        },
    }


def _service(resource: Mapping[str, Any], spec: TorchServeModelSpec) -> Object:
    tls = spec.server.tls is not None
    return {
        "metadata": metadata(resource, resource["name"], annotations=spec.service.annotations),
        "spec": {
            "type": spec.service.type,
            "selector": selector(resource["name"]),
            "ports": [
                {
                    "name": "https" if tls else "http",
                    "port": spec.service.port or (443 if tls else 80),
                    "targetPort": INFERENCE_PORT,
                    "protocol": "TCP",
                }
            ],
        },
    }


def _pod_disruption_budget(resource: Mapping[str, Any], spec: TorchServeModelSpec) -> Object | None:
    budget = spec.pod_disruption_budget
    if spec.replicas < 2 or not budget.enabled:
        return None
    bound = (
        {"minAvailable": budget.min_available}
        if budget.min_available is not None
        else {"maxUnavailable": 1 if budget.max_unavailable is None else budget.max_unavailable}
    )
    return {
        "metadata": metadata(resource, resource["name"]),
        "spec": {
            **bound,
            "selector": {"matchLabels": selector(resource["name"])},
            # a pod that never answered must not block the drain of its node
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


@cache
def _agent_content(bundle: AgentBundle) -> tuple[Object, str]:
    """The agent's ConfigMap's content and its hash: the same for every resource, and the largest of all texts."""
    content = {"binaryData": {"agent.pyz": _base64(bundle.pyz), "graceful.jar": _base64(bundle.jar)}}
    return content, digest(content)


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _sha256(text: str) -> str:

    return hashlib.sha256(text.encode()).hexdigest()
