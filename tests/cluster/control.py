"""The control: the same image and model as a plain Deployment and Service, as one writes them without an operator."""

import json

from apiproxy import Object
from kube import SMALL, Namespace

NAME = "control"


def deploy(namespace: Namespace, model: str, replicas: int) -> None:
    """Make them, and wait until all replicas are available."""
    namespace.kubectl("apply", "-f", "-", stdin=json.dumps(_objects(namespace.image, model, replicas)))
    rollout_status(namespace)


def rollout_status(namespace: Namespace) -> None:
    """Wait for the end of a rollout, as `kubectl` sees it."""
    namespace.kubectl("rollout", "status", f"deployment/{NAME}", "--timeout=110s")


def _objects(image: str, model: str, replicas: int) -> Object:
    labels = {"app": NAME}
    ping = {"httpGet": {"path": "/ping", "port": 8080}}
    container = {
        "name": "torchserve",
        "image": image,  # its own entry point: TorchServe's Java server is the container's first process
        "env": [{"name": "TS_LOAD_MODELS", "value": model}],
        "ports": [{"containerPort": 8080}],
        "resources": SMALL,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "readinessProbe": {**ping, "periodSeconds": 2},
        "livenessProbe": {**ping, "periodSeconds": 10, "failureThreshold": 6},
    }
    pod = {
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME},
        "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]},
    }
    return {"apiVersion": "v1", "kind": "List", "items": [deployment, service]}
