"""What the demo puts into the cluster: a namespace, the example's resource, and a client that asks it."""

from typing import Any

import yaml

from testbed import project_images

NAMESPACE = "torchserve-demo"
MODEL = "digits"
CLIENT = "predict"
EXAMPLE = project_images.REPOSITORY / "examples" / "digits"


def namespace() -> dict[str, Any]:
    """The demo's namespace, under the strictest of Kubernetes's pod security standards."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}


def resource(image: str) -> dict[str, Any]:
    """The example's TorchServeModel with ``image`` in it."""
    found: dict[str, Any] = yaml.safe_load((EXAMPLE / "torchservemodel.yaml").read_text(encoding="utf-8"))
    found["metadata"]["namespace"] = NAMESPACE
    found["spec"]["image"] = image
    return found


def client_files() -> dict[str, Any]:
    """The example's client and its held-out digits, for the client's pod."""
    data = {name: (EXAMPLE / name).read_text(encoding="utf-8") for name in ("predict.py", "heldout.csv")}
    metadata = {"name": CLIENT, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def client(image: str, url: str) -> dict[str, Any]:
    """The pod that sends every held-out digit to ``url`` and exits; its image needs nothing but a Python."""
    container = {
        "name": CLIENT,
        "image": image,
        "command": ["python", "-u", "-B", "/client/predict.py", url],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "client", "mountPath": "/client", "readOnly": True}],
    }
    spec = {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": 300,
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "runAsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "client", "configMap": {"name": CLIENT}}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": CLIENT, "namespace": NAMESPACE}, "spec": spec}
