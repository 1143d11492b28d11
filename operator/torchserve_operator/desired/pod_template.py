"""The pod: the agent as PID 1 in any TorchServe image, under restricted pod security. Pure."""

import math
from typing import Any, Final

from torchserve_operator.api.names import (
    AGENT_DIR,
    AGENT_PORT,
    ANNOTATION_CERTIFICATE,
    CONTAINER,
    HOME_DIR,
    INFERENCE_PORT,
    LABEL_REVISION,
    POLICY_DIR,
    RUN_DIR,
    SERVER_DIR,
    TLS_DIR,
)
from torchserve_operator.api.pod import PodSpec
from torchserve_operator.api.quantity import canonical_quantity
from torchserve_operator.api.resources import ResourceList
from torchserve_operator.api.spec import TorchServeModelSpec
from torchserve_operator.desired.objects import Object, labels, pruned, selector
from torchserve_operator.desired.sizing import Sizing
from torchserve_operator.kube.drift import digest

_PREFIX: Final = "torchserve-operator-"
_STARTUP_PERIOD: Final = 1
"""Seconds between startup probes: the agent answers from memory, and Ready is at most this late."""


def pod_template(
    name: str,
    spec: TorchServeModelSpec,
    sizing: Sizing,
    *,
    image: str,
    server_config: str,
    agent_config: str,
    policy: str,
    certificate: str | None = None,
) -> Object:
    """Return the Deployment's pod template.

    Args:
        name: The resource's name.
        spec: The resource's spec.
        sizing: What follows from its limits.
        image: The server's image.
        server_config: The ConfigMap with the server's files.
        agent_config: The ConfigMap with the agent.
        policy: The ConfigMap with the workers' bounds.
        certificate: The hash of a renewed certificate that the pods must be started with.
    """
    pod = spec.pod
    template: Object = {
        "metadata": {
            "labels": {**pod.labels, **labels(name)},
            "annotations": {
                **pod.annotations,
                # what kubectl logs and exec choose where a mesh adds containers
                "kubectl.kubernetes.io/default-container": CONTAINER,
                # nothing in them outlives the pod: they must not keep the autoscaler from a node
                "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes": ",".join(
                    f"{_PREFIX}{name}" for name in ("run", "tmp", "home", "shm")
                ),
                **({ANNOTATION_CERTIFICATE: certificate} if certificate else {}),
            },
        },
        "spec": {
            "serviceAccountName": pod.service_account_name or name,
            "automountServiceAccountToken": False,
            # variables of neighbouring Services would reach the workers, and slow their start in big namespaces
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": sizing.grace_seconds,
            "securityContext": pod_security(pod),
            "nodeSelector": dict(pod.node_selector),
            "tolerations": [_dump(item) for item in pod.tolerations],
            "topologySpreadConstraints": [
                {**_dump(item), "labelSelector": {"matchLabels": selector(name)}, "maxSkew": item.max_skew}
                | {"whenUnsatisfiable": item.when_unsatisfiable}
                for item in pod.topology_spread_constraints
            ],
            "priorityClassName": pod.priority_class_name,
            "runtimeClassName": pod.runtime_class_name,
            "schedulerName": pod.scheduler_name,
            "imagePullSecrets": [_dump(item) for item in pod.image_pull_secrets],
            "containers": [_container(spec, sizing, image)],
            "volumes": [
                {"name": f"{_PREFIX}agent", "configMap": {"name": agent_config}},
                {"name": f"{_PREFIX}server", "configMap": {"name": server_config}},
                {"name": f"{_PREFIX}policy", "configMap": {"name": policy}},
                *_tls_volume(spec),
                {"name": f"{_PREFIX}run", "emptyDir": {}},
                {"name": f"{_PREFIX}tmp", "emptyDir": {}},
                {"name": f"{_PREFIX}home", "emptyDir": {}},
                {
                    "name": f"{_PREFIX}shm",
                    # PyTorch's DataLoader and multi-GPU communication share memory; a container's own /dev/shm is 64Mi
                    "emptyDir": {"medium": "Memory", "sizeLimit": _bytes(sizing.shm_bytes)},
                },
                *(_volume(item) for item in pod.volumes),
            ],
        },
    }
    template = pruned(template)
    if pod.affinity is not None:
        template["spec"]["affinity"] = pod.affinity  # as it is: an empty list may mean something, or be an error
    template["metadata"]["labels"][LABEL_REVISION] = digest(template)
    return template


def _container(spec: TorchServeModelSpec, sizing: Sizing, image: str) -> Object:
    scheme = "HTTPS" if spec.server.tls else "HTTP"
    startup = sizing.startup_seconds
    own = {
        **sizing.environment,
        "HOME": HOME_DIR,
        "HF_HOME": f"{HOME_DIR}/huggingface",
        "MPLCONFIGDIR": f"{HOME_DIR}/matplotlib",
        "TORCHINDUCTOR_CACHE_DIR": f"{HOME_DIR}/torchinductor",
        "TEMP": "/tmp",  # noqa: S108  # a path in the pod
        "LOG_LOCATION": f"{RUN_DIR}/logs",
        "METRICS_LOCATION": f"{RUN_DIR}/logs",
    }
    users = {item.name for item in spec.pod.env}
    return {
        "name": CONTAINER,
        "image": image,
        "imagePullPolicy": spec.pod.image_pull_policy,
        "command": ["python", "-B", f"{AGENT_DIR}/agent.pyz"],
        "env": [
            *({"name": name, "value": value} for name, value in sorted(own.items()) if name not in users),
            *(_dump(item) for item in spec.pod.env),
        ],
        "envFrom": [_dump(item) for item in spec.pod.env_from],
        "ports": [
            {"name": "inference", "containerPort": INFERENCE_PORT, "protocol": "TCP"},
            {"name": "agent", "containerPort": AGENT_PORT, "protocol": "TCP"},
        ],
        "resources": {
            "requests": quantities(spec.resources.requests),
            "limits": quantities(spec.resources.limits),
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "startupProbe": {
            "httpGet": {"path": "/startupz", "port": "agent"},
            "periodSeconds": _STARTUP_PERIOD,
            "timeoutSeconds": 5,
            "failureThreshold": math.ceil(startup / _STARTUP_PERIOD),
        },
        "readinessProbe": {
            "httpGet": {"path": "/readyz", "port": "agent"},
            "periodSeconds": 2,
            "timeoutSeconds": 5,
            "failureThreshold": 2,
        },
        # /ping says little (it is 200 while models load and while every worker crash-loops), but a frontend that does
        # not answer it for a minute is lost; a busy one may be slow.
        "livenessProbe": {
            "httpGet": {"path": "/ping", "port": "inference", "scheme": scheme},
            "periodSeconds": 10,
            "timeoutSeconds": 10,
            "failureThreshold": 6,
        },
        # the agent writes its own termination message
        "terminationMessagePolicy": "File",
        "volumeMounts": [
            {"name": f"{_PREFIX}agent", "mountPath": AGENT_DIR, "readOnly": True},
            {"name": f"{_PREFIX}server", "mountPath": SERVER_DIR, "readOnly": True},
            {"name": f"{_PREFIX}policy", "mountPath": POLICY_DIR, "readOnly": True},
            *([{"name": f"{_PREFIX}tls", "mountPath": TLS_DIR, "readOnly": True}] if spec.server.tls else []),
            {"name": f"{_PREFIX}run", "mountPath": RUN_DIR},
            {"name": f"{_PREFIX}tmp", "mountPath": "/tmp"},  # noqa: S108  # a path in the pod
            {"name": f"{_PREFIX}home", "mountPath": HOME_DIR},
            {"name": f"{_PREFIX}shm", "mountPath": "/dev/shm"},  # noqa: S108  # a path in the pod
            *(_dump(item) for item in spec.pod.volume_mounts),
        ],
    }


def pod_security(pod: PodSpec) -> Object:
    """Return the pods' security context: the server's and, for the same rights on volumes, a build's."""
    return {
        "runAsNonRoot": True,
        "runAsUser": pod.run_as_user,
        "runAsGroup": pod.run_as_group,
        # the group right on the TLS key and on claims
        "fsGroup": pod.run_as_group if pod.fs_group is None else pod.fs_group,
        "fsGroupChangePolicy": "OnRootMismatch",
        "supplementalGroups": list(pod.supplemental_groups),
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _tls_volume(spec: TorchServeModelSpec) -> list[Object]:
    if spec.server.tls is None:
        return []
    # 0440: the key is read by the pod's group (fsGroup) and by nobody else
    secret = {"secretName": spec.server.tls.secret_name, "defaultMode": 0o440}
    return [{"name": f"{_PREFIX}tls", "secret": secret}]


def _volume(volume: Any) -> Object:
    dumped = _dump(volume)
    if volume.empty_dir is not None:
        dumped["emptyDir"] = pruned(
            {
                "medium": volume.empty_dir.medium or None,
                "sizeLimit": canonical_quantity(volume.empty_dir.size_limit) if volume.empty_dir.size_limit else None,
            }
        )
    return dumped


def _dump(model: Any) -> Object:
    dumped: Object = model.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True)
    return dumped


def quantities(resources: ResourceList) -> dict[str, str]:
    """Return canonical forms, so that what is written is what comes back."""
    return {name: canonical_quantity(value) for name, value in resources.items()}


def _bytes(amount: int | None) -> str | None:
    return None if amount is None else canonical_quantity(f"{amount // 1024}Ki")
