"""A build's objects: the ConfigMap with its plan, and the Job under restricted pod security. Pure.

The Job runs this project's image; where there are requirements, a container of the base image runs before it and
brings the packages. What is secret is mounted here and nowhere else. A Job is made once and never patched.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from torchserve_operator.api.build import BuildSpec
from torchserve_operator.api.names import (
    AGENT_PORT,
    ANNOTATION_ATTEMPT,
    BUILD_DIR,
    BUILDER_CONTAINER,
    LABEL_BUILD,
    REQUIREMENTS_CONTAINER,
)
from torchserve_operator.api.quantity import canonical_quantity
from torchserve_operator.api.spec import TorchServeModelSpec
from torchserve_operator.desired.build_plan import BuildDefaults, base_image, claim_of, sources
from torchserve_operator.desired.objects import Object, common_labels, content_named, metadata, pruned
from torchserve_operator.desired.pod_template import pod_security, quantities

ROLE: Final = "build"
BACKOFF_LIMIT: Final = 3
_DEFAULT_REQUESTS: Final = {"cpu": "100m", "memory": "256Mi"}
_DEFAULT_LIMITS: Final = {"memory": "2Gi"}
"""The builder needs some 64Mi of it; pip, which resolves transformers and its kin, several hundred."""
_FINAL: Final = [1, 2, 137]
"""Exit codes that another pod would end with, too: an error of the user's, wrong arguments, too little memory."""
_TERMINATION_LOG: Final = "/dev/termination-log"


@dataclass(frozen=True, slots=True)
class _Mount:
    """One volume, and where it appears."""

    name: str
    path: str
    source: Object
    read_only: bool = True

    @property
    def volume(self) -> Object:
        return {"name": self.name, **self.source}

    @property
    def mount(self) -> Object:
        return {"name": self.name, "mountPath": self.path, "readOnly": self.read_only or None}


def job_name(resource: Mapping[str, Any], attempt: str) -> str:
    """Return the Job's name: at most 55 characters."""
    return f"{resource['name']}-build-{attempt[:8]}"


def build_config_map(resource: Mapping[str, Any], plan: Object, requirements: Object | None, tool: bytes) -> Object:
    """Return the ConfigMap of a build.

    Args:
        resource: The resource's metadata.
        plan: The content of plan.json.
        requirements: The content of requirements.json; None where there are none.
        tool: The program that runs in the base image.
    """
    content: Object = {"data": {"plan.json": _json(plan)}}
    if requirements is not None:
        content["data"]["requirements.json"] = _json(requirements)
        content["binaryData"] = {"requirements.pyz": base64.b64encode(tool).decode()}
    return content_named(resource, ROLE, content)


def build_job(
    resource: Mapping[str, Any],
    spec: TorchServeModelSpec,
    build: BuildSpec,
    defaults: BuildDefaults,
    *,
    attempt: str,
    config_map: str,
    requirements: bool,
) -> Object:
    """Return the Job of a build.

    Args:
        resource: The resource's metadata.
        spec: Its spec.
        build: Its `spec.build`.
        defaults: The operator's settings.
        attempt: The hash of everything that the Job is made of.
        config_map: The ConfigMap with the plan.
        requirements: Whether packages are to be installed.
    """
    name = resource["name"]
    plan = _Mount("plan", f"{BUILD_DIR}/plan", _of_config_map(config_map, *_plan_keys(present=requirements)))
    own = [plan, *_own(build)]
    tool = [plan, *_tool(build, config_map)] if requirements else []
    foreign = list(_foreign(spec))
    limits = {
        "requests": quantities(build.resources.requests or _DEFAULT_REQUESTS),
        "limits": quantities(build.resources.limits or _DEFAULT_LIMITS),
    }
    pod: Object = {
        "serviceAccountName": spec.pod.service_account_name or name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 10,
        "securityContext": pod_security(spec.pod),
        "nodeSelector": _platform(build),
        "tolerations": [item.model_dump(by_alias=True, exclude_none=True) for item in spec.pod.tolerations],
        "imagePullSecrets": _pull_secrets(spec, build),
        "initContainers": [_requirements_container(base_image(spec, build, defaults), limits, tool)]
        if requirements
        else [],
        "containers": [_builder_container(defaults.builder_image, limits, [*own, *foreign])],
        "volumes": [mount.volume for mount in {mount.name: mount for mount in (*own, *tool, *foreign)}.values()],
    }
    return pruned(
        {
            "metadata": metadata(resource, job_name(resource, attempt), annotations={ANNOTATION_ATTEMPT: attempt}),
            "spec": {
                "backoffLimit": BACKOFF_LIMIT,
                "activeDeadlineSeconds": build.timeout_seconds,
                "ttlSecondsAfterFinished": defaults.ttl_seconds,
                "podFailurePolicy": {
                    "rules": [
                        # a drained node's SIGKILL is no lack of memory
                        {
                            "action": "Count",
                            "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                        },
                        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": _FINAL}},
                    ]
                },
                "template": {
                    "metadata": {
                        "labels": {**common_labels(name), LABEL_BUILD: name},
                        "annotations": {
                            "kubectl.kubernetes.io/default-container": BUILDER_CONTAINER,
                            "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
                        },
                    },
                    "spec": pod,
                },
            },
        }
    )


def _builder_container(image: str, limits: Object, mounts: list[_Mount]) -> Object:
    arguments = ["builder", "run", "--plan", f"{BUILD_DIR}/plan/plan.json"]
    arguments += ["--termination-log", _TERMINATION_LOG, "--port", str(AGENT_PORT)]
    return {
        **_container(BUILDER_CONTAINER, image, limits, mounts),
        "args": arguments,
        "ports": [{"name": "status", "containerPort": AGENT_PORT, "protocol": "TCP"}],
    }


def _requirements_container(image: str, limits: Object, mounts: list[_Mount]) -> Object:
    return {
        **_container(REQUIREMENTS_CONTAINER, image, limits, mounts),
        # whatever the image's entrypoint is: the python that serves there
        "command": ["python", "-B", f"{BUILD_DIR}/tool/requirements.pyz"],
    }


def _container(name: str, image: str, limits: Object, mounts: list[_Mount]) -> Object:
    return {
        "name": name,
        "image": image,
        "env": [
            {"name": "HOME", "value": "/tmp"},  # noqa: S108  # a path in the pod
            {"name": "TMPDIR", "value": f"{BUILD_DIR}/spool"},
        ],
        "resources": limits,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePath": _TERMINATION_LOG,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [mount.mount for mount in mounts],
    }


def _plan_keys(*, present: bool) -> list[str]:
    return ["plan.json", "requirements.json"] if present else ["plan.json"]


def _own(build: BuildSpec) -> Iterator[_Mount]:
    """Yield what the builder's container has for itself."""
    yield from _scratch(build)
    if build.push_secret_name:
        items = [{"key": ".dockerconfigjson", "path": "config.json"}]
        yield _Mount("docker", f"{BUILD_DIR}/docker", _of_secret(build.push_secret_name, items))
    if build.ca_config_map_name:
        yield _Mount("ca", f"{BUILD_DIR}/ca", {"configMap": {"name": build.ca_config_map_name, "optional": True}})


def _tool(build: BuildSpec, config_map: str) -> Iterator[_Mount]:
    """Yield what the base image's container has: no credentials but the index's."""
    yield _Mount("tool", f"{BUILD_DIR}/tool", _of_config_map(config_map, "requirements.pyz"))
    yield from _scratch(build)
    if build.index_secret_name:
        yield _Mount("index", f"{BUILD_DIR}/index", _of_secret(build.index_secret_name))


def _scratch(build: BuildSpec) -> Iterator[_Mount]:
    limit = canonical_quantity(build.spool_limit)
    yield _Mount("spool", f"{BUILD_DIR}/spool", {"emptyDir": {"sizeLimit": limit}}, read_only=False)
    yield _Mount("requirements", f"{BUILD_DIR}/requirements", {"emptyDir": {"sizeLimit": limit}}, read_only=False)
    yield _Mount("tmp", "/tmp", {"emptyDir": {"sizeLimit": "1Gi"}}, read_only=False)  # noqa: S108  # a path in the pod


def _foreign(spec: TorchServeModelSpec) -> Iterator[_Mount]:
    """Yield the sources. One that is missing is an empty folder: the builder names it, where a pod would only hang."""
    found = list(sources(spec).values())
    for index, name in enumerate(sorted({s.credentials_secret_name for s in found if s.credentials_secret_name})):
        yield _Mount(f"secret-{index}", f"{BUILD_DIR}/secrets/{name}", _of_secret(name))
    for index, name in enumerate(sorted({claim for source in found if (claim := claim_of(source))})):
        source = {"persistentVolumeClaim": {"claimName": name, "readOnly": True}}
        yield _Mount(f"claim-{index}", f"{BUILD_DIR}/claims/{name}", source)
    for index, name in enumerate(sorted({s.config_map_name for s in found if s.config_map_name})):
        source = {"configMap": {"name": name, "optional": True}}
        yield _Mount(f"config-map-{index}", f"{BUILD_DIR}/config-maps/{name}", source)


def _of_config_map(name: str, *keys: str) -> Object:
    return {"configMap": {"name": name, "items": [{"key": key, "path": key} for key in keys]}}


def _of_secret(name: str, items: list[Object] | None = None) -> Object:
    return {"secret": {"secretName": name, "items": items, "optional": True, "defaultMode": 0o440}}


def _platform(build: BuildSpec) -> Object:
    """Return the labels of a node on which the base image runs."""
    if build.platform is None:
        return {"kubernetes.io/os": "linux"}
    system, architecture = build.platform.split("/")[:2]
    return {"kubernetes.io/os": system, "kubernetes.io/arch": architecture}


def _pull_secrets(spec: TorchServeModelSpec, build: BuildSpec) -> list[Object]:
    """Return what the kubelet pulls the builder and the base image with."""
    names = [item.name for item in spec.pod.image_pull_secrets]
    if build.push_secret_name and build.push_secret_name not in names:
        names.append(build.push_secret_name)
    return [{"name": name} for name in names]


def _json(value: Object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
