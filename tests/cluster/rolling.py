"""What happens to a resource's pods, and what the agent in each of them says."""

import json
from dataclasses import dataclass
from typing import Any

from apiproxy import Object
from kube import Namespace, eventually
from prometheus_client.parser import text_string_to_metric_families

ROLLED = 120.0
"""Seconds until the last old pod is gone; seen with two replicas: 15 to 20."""
_PREFIX = "torchserve_operator_"


def uids(namespace: Namespace, name: str) -> set[str]:
    """The uids of the resource's pods that are not on their way out."""
    return {pod["metadata"]["uid"] for pod in namespace.pods(name)}


def uids_to_the_end(namespace: Namespace, name: str) -> set[str]:
    """The same, with pods that still stop."""
    items = namespace.api.get(f"{namespace.core}/pods", labelSelector=f"torchserve-operator.dev/model={name}")["items"]
    return {pod["metadata"]["uid"] for pod in items}


def rolled(namespace: Namespace, name: str, old: set[str]) -> None:
    """Wait until the resource is Ready and every pod of `old` has ended."""
    gone = f"no pod of {old} is left"
    eventually(lambda: not (old & uids_to_the_end(namespace, name)), ROLLED, gone)
    namespace.ready(name, ROLLED)


def containers(namespace: Namespace, name: str) -> dict[str, tuple[str, int, bool]]:
    """By pod: the container's ID, its restarts, and whether it is ready."""
    return {
        pod["metadata"]["uid"]: (status["containerID"], status["restartCount"], status["ready"])
        for pod in namespace.pods(name)
        for status in pod["status"]["containerStatuses"]
    }


def agent(namespace: Namespace, pod: Object, path: str = "/status") -> Object:
    """The agent's account of one pod."""
    return dict(json.loads(_get(namespace, pod, path)))


def reported(namespace: Namespace, name: str, model: str) -> list[Object]:
    """What each pod's agent says of one model."""
    statuses = [agent(namespace, pod) for pod in namespace.pods(name)]
    return [found for status in statuses for found in status["models"] if found["name"] == model]


@dataclass(frozen=True)
class Counted:
    """One model's counters, the pods of a resource taken together.

    Attributes:
        codes: Requests by status code.
        timed: How many the latency histogram has.
        seconds: Their sum in the histogram.
        in_flight: Requests without an answer.
    """

    codes: dict[str, int]
    timed: int
    seconds: float
    in_flight: int


def counted(namespace: Namespace, name: str, model: str) -> Counted:
    """Read the agents' /metrics."""
    codes: dict[str, int] = {}
    sums: dict[str, float] = {}
    for pod in namespace.pods(name):
        for family in text_string_to_metric_families(_get(namespace, pod, "/metrics")):
            for sample in family.samples:
                if sample.labels.get("model") != model:
                    continue
                key = sample.name.removeprefix(_PREFIX)
                if key == "model_requests_total":
                    code = sample.labels["code"]
                    codes[code] = codes.get(code, 0) + int(sample.value)
                elif "le" not in sample.labels:
                    sums[key] = sums.get(key, 0) + sample.value
    return Counted(
        codes=codes,
        timed=int(sums["model_request_duration_seconds_count"]),
        seconds=sums["model_request_duration_seconds_sum"],
        in_flight=int(sums["model_in_flight_requests"]),
    )


def execute(namespace: Namespace, pod: Object, *command: str) -> str:
    """Run a program in the pod's server container and return what it printed."""
    return namespace.kubectl("exec", pod["metadata"]["name"], "-c", "torchserve", "--", *command)


def python(namespace: Namespace, pod: Object, script: str) -> Any:
    """Run a Python script there that prints JSON, and return that."""
    return json.loads(execute(namespace, pod, "python", "-c", script))


def _get(namespace: Namespace, pod: Object, path: str) -> str:
    return namespace.api.text("GET", f"{namespace.core}/pods/{pod['metadata']['name']}:8090/proxy{path}")
