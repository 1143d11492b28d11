"""Applied → Ready on a real cluster, beside what the server itself takes: a plain Deployment of the same image.

The two take turns, each alone in the cluster's namespace, with the image on the node. The plain one is done when its
pod answers a first prediction, asked for ten times a second; ours is when a watch tells of Ready.
"""

import json
import time
from collections.abc import Callable
from typing import Any

from apiproxy import ApiProxy, ApiProxyError
from kube import SMALL, Namespace, eventually

from bench.audit_tail import AuditTail
from bench.figures import Result, median
from testbed import cluster as clusters
from testbed import operator as operators
from testbed import project_images
from testbed.cluster import Cluster
from torchserve_operator.api.names import FIELD_MANAGER

Object = dict[str, Any]

GOAL = 2.0
"""Seconds that the operator may add."""
_WITHIN = 180.0
_POLL = 0.1
_CONTROL = "plain"


def measure(pairs: int = 5, model: str = "echo") -> Result:
    """Measure with ``pairs`` resources and as many plain Deployments, after one of each that does not count."""
    result = Result()
    cluster = clusters.ensure()
    image = project_images.ensure(project_images.SCENARIOS)[project_images.SCENARIOS]
    operators.install(cluster)
    ours: list[Object] = []
    plain: list[float] = []
    writes: list[int] = []
    with ApiProxy(cluster) as api:
        namespace = Namespace(cluster, api, image)
        try:
            for pair in range(pairs + 1):
                turns: list[Callable[[], None]] = [
                    lambda: ours.append(_ours(namespace, model, writes)),
                    lambda: plain.append(_plain(namespace, model)),
                ]
                for turn in turns if pair % 2 else reversed(turns):
                    turn()
        finally:
            namespace.remove()
    ours, plain, writes = ours[1:], plain[1:], writes[1:]
    taken = [times["Ready"] for times in ours]
    result.samples |= {"ours": ours, "plain_seconds": plain, "writes": writes}
    overhead = median(taken) - median(plain)
    result.add("ready_seconds", median(taken), "s", f"{model}: applied → Ready, median of {pairs}")
    result.add("ready_control_seconds", median(plain), "s", "a plain Deployment of it → its first prediction")
    result.add("ready_overhead_seconds", overhead, "s", "the difference", goal=GOAL)
    if writes:
        result.add("ready_writes", median(writes), "1", "the operator's writes for it, from the audit log")
    return result


def _ours(namespace: Namespace, model: str, writes: list[int]) -> Object:
    """Create a resource; return when what was seen of it, in seconds from then."""
    tail = _tail(namespace.cluster)
    began = time.monotonic()
    namespace.api.create(namespace.models, namespace.cr(model))
    times: Object = {}
    for line in namespace.api.lines(namespace.models, _WITHIN, watch="true"):
        resource = json.loads(line)["object"]
        for condition in resource.get("status", {}).get("conditions", ()):
            if condition["type"] == "Ready":
                key = "Ready" if condition["status"] == "True" else f"{condition['reason']}: {condition['message']}"
                times.setdefault(key, time.monotonic() - began)
        if "Ready" in times:
            break
    if tail is not None:
        own = [write for write in tail.writes() if write.namespace == namespace.name and write.manager == FIELD_MANAGER]
        writes.append(len(own))
        times["writes"] = [f"{write.verb} {write.resource} {write.done:.3f}" for write in own]
    times["log"] = [line for _, line in namespace.log(namespace.pod(model)["metadata"]["name"])][:60]
    namespace.delete(model)
    _until_alone(namespace)
    return times


def _plain(namespace: Namespace, model: str) -> float:
    """Create a plain Deployment; return the seconds until its pod answers a prediction."""
    began = time.monotonic()
    namespace.api.create(f"{namespace.apps}/deployments", _deployment(namespace.image, model))

    def address() -> str:
        items = namespace.api.get(f"{namespace.core}/pods", labelSelector=f"app={_CONTROL}")["items"]
        return next((pod["metadata"]["name"] for pod in items if pod.get("status", {}).get("podIP")), "")

    pod = eventually(address, _WITHIN, "the plain pod has an address")
    path = f"{namespace.core}/pods/{pod}:8080/proxy/predictions/{model}"
    deadline = began + _WITHIN
    while True:
        try:
            namespace.api.text("POST", path, "{}", timeout=5)
        except (ApiProxyError, TimeoutError):
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL)
        else:
            break
    taken = time.monotonic() - began
    namespace.api.delete(f"{namespace.apps}/deployments/{_CONTROL}", propagationPolicy="Background")
    _until_alone(namespace)
    return taken


def _until_alone(namespace: Namespace) -> None:
    """Wait until nothing of the last turn runs."""
    eventually(lambda: not namespace.api.get(f"{namespace.core}/pods")["items"], _WITHIN, "all pods are gone")


def _deployment(image: str, model: str) -> Object:
    """The image as a person would run it: its own entry point, the resource's requests and limits."""
    labels = {"app": _CONTROL}
    container = {
        "name": "torchserve",
        "image": image,
        "env": [{"name": "TS_LOAD_MODELS", "value": model}],
        "ports": [{"containerPort": 8080}],
        "resources": SMALL,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    security = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
    pod = {"securityContext": security, "containers": [container], "terminationGracePeriodSeconds": 5}
    return {
        "metadata": {"name": _CONTROL},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def _tail(cluster: Cluster) -> AuditTail | None:
    return None if cluster.audit_log is None else AuditTail(cluster.audit_log)
