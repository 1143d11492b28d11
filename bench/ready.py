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
    plain: list[Object] = []
    with ApiProxy(cluster) as api:
        namespace = Namespace(cluster, api, image)
        try:
            for pair in range(pairs + 1):
                turns: list[Callable[[], None]] = [
                    lambda: ours.append(_ours(namespace, model)),
                    lambda: plain.append(_plain(namespace, model)),
                ]
                for turn in turns if pair % 2 else reversed(turns):
                    turn()
        finally:
            namespace.remove()
    _conclude(result, model, ours[1:], plain[1:])
    return result


def _conclude(result: Result, model: str, ours: list[Object], plain: list[Object]) -> None:
    result.samples |= {"ours": ours, "plain": plain}
    taken, control = (_median(turns, key) for turns, key in ((ours, "Ready"), (plain, "answers")))
    result.add("ready_seconds", taken, "s", f"{model}: applied → Ready, median of {len(ours)}")
    result.add("ready_control_seconds", control, "s", "a plain Deployment of it → its first prediction")
    result.add("ready_overhead_seconds", taken - control, "s", "the difference", goal=GOAL)
    begins, plainly = _median(ours, "container"), _median(plain, "container")
    result.add("ready_container_seconds", begins, "s", "applied → the container's first line")
    result.add("ready_control_container_seconds", plainly, "s", "the same of the plain Deployment")
    tail = median([turn["Ready"] - turn["agent"] for turn in ours])
    result.add("ready_after_agent_seconds", tail, "s", "the agent sees its models answer → Ready")
    if "writes" in ours[0]:
        result.add("ready_writes", median([len(turn["writes"]) for turn in ours]), "1", "the operator's writes for it")


def _median(turns: list[Object], key: str) -> float:
    return median([turn[key] for turn in turns])


def _ours(namespace: Namespace, model: str) -> Object:
    """Create a resource; return when what was seen of it, in seconds from then."""
    tail = _tail(namespace.cluster)
    began = time.time()
    namespace.api.create(namespace.models, namespace.cr(model))
    turn: Object = {}
    for line in namespace.api.lines(namespace.models, _WITHIN, watch="true"):
        if any(
            _is_ready(condition) for condition in json.loads(line)["object"].get("status", {}).get("conditions", ())
        ):
            turn["Ready"] = time.time() - began
            break
    else:
        raise RuntimeError(f"{model} is not Ready after {_WITHIN:.0f} s")
    log = namespace.log(namespace.pod(model)["metadata"]["name"])
    turn["container"] = log[0][0] - began
    turn["agent"] = next(at for at, line in log if line.endswith("ready: yes")) - began
    if tail is not None:
        mine = [write for write in tail.writes() if write.namespace == namespace.name]
        turn["steps"] = [f"{write.done - began:.3f} {write.verb} {write.resource}" for write in mine]
        turn["writes"] = [write.resource for write in mine if write.manager == FIELD_MANAGER]
    turn["log"] = [f"{at - began:.3f} {line[:160]}" for at, line in log[:60]]
    namespace.delete(model)
    _until_alone(namespace)
    return turn


def _is_ready(condition: Object) -> bool:
    return (condition["type"], condition["status"]) == ("Ready", "True")


def _plain(namespace: Namespace, model: str) -> Object:
    """Create a plain Deployment; return when its container began and its pod answered a prediction, in seconds."""
    began = time.time()
    namespace.api.create(f"{namespace.apps}/deployments", _deployment(namespace.image, model))

    def address() -> str:
        items = namespace.api.get(f"{namespace.core}/pods", labelSelector=f"app={_CONTROL}")["items"]
        return next((pod["metadata"]["name"] for pod in items if pod.get("status", {}).get("podIP")), "")

    pod = eventually(address, _WITHIN, "the plain pod has an address")
    path = f"{namespace.core}/pods/{pod}:8080/proxy/predictions/{model}"
    while True:
        try:
            namespace.api.text("POST", path, "{}", timeout=5)
        except (ApiProxyError, TimeoutError):
            if time.time() > began + _WITHIN:
                raise
            time.sleep(_POLL)
        else:
            break
    turn: Object = {"answers": time.time() - began}
    log = namespace.log(pod)
    turn["container"] = log[0][0] - began
    turn["log"] = [f"{at - began:.3f} {line[:160]}" for at, line in log[:60]]
    namespace.api.delete(f"{namespace.apps}/deployments/{_CONTROL}", propagationPolicy="Background")
    _until_alone(namespace)
    return turn


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
