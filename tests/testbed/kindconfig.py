"""kind's configuration of the cluster, as the file that `kind create cluster` reads."""

from pathlib import Path
from typing import Any

import yaml

from testbed import guard, nodeimage

AUDIT_LOG = "audit.log"
_POLICY_ON_NODE = "/etc/kubernetes/testbed/audit-policy.yaml"
_LOGS_ON_NODE = "/var/log/kubernetes"


def render(*, workers: int, state: Path, audit_policy: Path, local: bool, cgroup_v1: bool) -> str:
    """The configuration as YAML.

    Args:
        workers: nodes beside the one of the control plane.
        state: the cluster's directory on this machine: ``audit/`` gets the audit log, ``certs.d/`` has
            containerd's registry configuration.
        audit_policy: the API server's audit policy file.
        local: whether the node image is our own.
        cgroup_v1: whether the machine still has cgroup v1, which kubelets refuse unless told otherwise.
    """
    certs = {"hostPath": str(state / "certs.d"), "containerPath": "/etc/containerd/certs.d", "readOnly": True}
    policy = {"hostPath": str(audit_policy), "containerPath": _POLICY_ON_NODE, "readOnly": True}
    logs = {"hostPath": str(state / "audit"), "containerPath": _LOGS_ON_NODE}
    control_plane = {"role": "control-plane", "extraMounts": [certs, policy, logs]}
    patches = [_api_server_patch(local=local)]
    if cgroup_v1:
        patches.append({"kind": "KubeletConfiguration", "failCgroupV1": False})
    config = {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "name": guard.CLUSTER,
        "networking": {
            "apiServerAddress": "127.0.0.1",
            "podSubnet": "10.244.0.0/16",
            "serviceSubnet": "10.96.0.0/16",
            "kubeProxyMode": "nftables",
        },
        "kubeadmConfigPatches": [yaml.safe_dump(patch, sort_keys=False) for patch in patches],
        "nodes": [control_plane, *({"role": "worker", "extraMounts": [certs]} for _ in range(workers))],
    }
    return yaml.safe_dump(config, sort_keys=False)


def _api_server_patch(*, local: bool) -> dict[str, Any]:
    arguments = {
        "audit-policy-file": _POLICY_ON_NODE,
        "audit-log-path": f"{_LOGS_ON_NODE}/{AUDIT_LOG}",
        "audit-log-maxsize": "200",
        "audit-log-maxbackup": "3",
    }
    volumes = [
        {"name": "audit-policy", "hostPath": _POLICY_ON_NODE, "mountPath": _POLICY_ON_NODE, "readOnly": True,
         "pathType": "File"},
        {"name": "audit-logs", "hostPath": _LOGS_ON_NODE, "mountPath": _LOGS_ON_NODE, "pathType": "Directory"},
    ]  # fmt: skip
    return {
        "kind": "ClusterConfiguration",
        **({"imageRepository": nodeimage.REPOSITORY} if local else {}),
        "apiServer": {
            "extraArgs": [{"name": name, "value": value} for name, value in arguments.items()],
            "extraVolumes": volumes,
        },
    }
