"""One namespace of the cluster, and short ways to act in it as a user would."""

import datetime as dt
import json
import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from apiproxy import ApiProxy, ApiProxyError, Object

from testbed.cluster import Cluster

MODELS = "/apis/torchserve-operator.dev/v1alpha1"
T = TypeVar("T")
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
WITHIN = 15.0
"""Seconds from the first sign of a trouble to the condition that names it."""
READY = 90.0
"""Seconds that a model may take to be Ready on two busy cores, its image's first pull included; seen: 6 to 10."""


def eventually(question: Callable[[], T], seconds: float, what: str = "") -> T:
    """The question's first true answer.

    Raises:
        AssertionError: None came in time; the message has the last answer.
    """
    deadline = time.monotonic() + seconds
    while True:
        answer = question()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not so after {seconds:.0f} s: {what}; last answer: {answer!r}"
        time.sleep(0.2)


class Namespace:
    """A namespace that enforces restricted pod security.

    Attributes:
        name: Its name.
        image: The scenarios' image, as pods can use it.
    """

    def __init__(self, cluster: Cluster, api: ApiProxy, image: str) -> None:
        self.cluster = cluster
        self.api = api
        self.image = image
        self.name = f"t-{uuid.uuid4().hex[:8]}"
        self.core = f"/api/v1/namespaces/{self.name}"
        self.apps = f"/apis/apps/v1/namespaces/{self.name}"
        self.models = f"{MODELS}/namespaces/{self.name}/torchservemodels"
        api.create("/api/v1/namespaces", {"metadata": {"name": self.name, "labels": RESTRICTED}})

    def remove(self) -> None:
        """Delete everything in it, and it; does not wait."""
        self.api.delete(self.models)
        self.api.delete(self.core)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.cluster.kubectl("-n", self.name, *arguments, stdin=stdin)

    # ── resources ────────────────────────────────────────────────────────────────────────────────────────────────

    def cr(self, model: str = "echo", name: str | None = None, **spec: Any) -> Object:
        """A resource that serves one of the scenarios' models; `spec` adds to it or replaces what it has.

        Args:
            model: A model of the scenarios' image, or a whole entry of `spec.models`.
            name: The resource's name; the model's by default.
            spec: Fields of the spec; `parameters` are the model's.
        """
        entry = {"name": model}
        if "parameters" in spec:
            entry["parameters"] = spec.pop("parameters")
        return {
            "apiVersion": "torchserve-operator.dev/v1alpha1",
            "kind": "TorchServeModel",
            "metadata": {"name": name or model, "namespace": self.name},
            "spec": {"image": self.image, "models": [entry], "resources": SMALL, **spec},
        }

    def apply(self, cr: Object) -> None:
        """`kubectl apply`, as a person would."""
        self.kubectl("apply", "-f", "-", stdin=json.dumps(cr))

    def delete(self, name: str) -> None:
        self.api.delete(f"{self.models}/{name}")

    def tsm(self, name: str) -> Object:
        return self.api.get(f"{self.models}/{name}")

    def condition(self, name: str, kind: str = "Ready") -> Object:
        """The condition if it speaks of the current generation, else an empty one."""
        resource = self.tsm(name)
        generation = resource["metadata"]["generation"]
        found = resource.get("status", {}).get("conditions", ())
        return next((c for c in found if c["type"] == kind and c["observedGeneration"] == generation), {})

    def wait_for(
        self,
        name: str,
        kind: str,
        status: str,
        reason: str | None = None,
        *,
        says: str = "",
        timeout: float = READY,
    ) -> Object:
        """The condition, once it speaks of the current generation and is so.

        Args:
            name: The resource's name.
            kind: The condition's type.
            status: Its status.
            reason: Its reason, any when None.
            says: Something its message has.
            timeout: In seconds.
        """
        last: Object = {}

        def question() -> bool:
            nonlocal last
            last = self.condition(name, kind)
            return last.get("status") == status and reason in {None, last["reason"]} and says in last.get("message", "")

        wanted = f"{kind}={status} {reason or ''} {says}"
        try:
            eventually(question, timeout, wanted)
        except AssertionError as error:
            raise AssertionError(f"{error}; {kind} is {last}; {self.story(name)}") from None
        return last

    def ready(self, name: str, timeout: float = READY) -> Object:
        return self.wait_for(name, "Ready", "True", timeout=timeout)

    # ── what belongs to them ─────────────────────────────────────────────────────────────────────────────────────

    def pods(self, name: str) -> list[Object]:
        """The resource's pods that are not on their way out, oldest first."""
        items = self.api.get(f"{self.core}/pods", labelSelector=f"torchserve-operator.dev/model={name}")["items"]
        staying = [pod for pod in items if "deletionTimestamp" not in pod["metadata"]]
        return sorted(staying, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def pod(self, name: str) -> Object:
        (pod,) = self.pods(name)
        return pod

    def deployment(self, name: str) -> Object:
        return self.api.get(f"{self.apps}/deployments/{name}")

    def endpoints(self, name: str) -> list[str]:
        """The addresses that the Service sends requests to."""
        path = f"/apis/discovery.k8s.io/v1/namespaces/{self.name}/endpointslices"
        slices = self.api.get(path, labelSelector=f"kubernetes.io/service-name={name}")["items"]
        return [
            address
            for item in slices
            for endpoint in item["endpoints"] or ()
            if endpoint["conditions"].get("ready")
            for address in endpoint["addresses"]
        ]

    def predict(self, name: str, body: Any, model: str | None = None, timeout: float = 60) -> Any:
        """A prediction through the resource's Service.

        Raises:
            ApiProxyError: The answer is no 2xx, or the Service has no endpoint (503).
        """
        path = f"{self.core}/services/http:{name}:80/proxy/predictions/{model or name}"
        text = self.api.text("POST", path, json.dumps(body), timeout=timeout)
        try:
            return json.loads(text)
        except ValueError:
            return text

    def log(self, pod: str) -> list[tuple[float, str]]:
        """The lines of a pod's log, each with the time (Unix) when it was written."""
        query = {"container": "torchserve", "timestamps": "true"}
        try:
            text = self.api.text("GET", f"{self.core}/pods/{pod}/log", query=query)
        except ApiProxyError:
            return []
        return [(unix(stamp), line) for stamp, _, line in (entry.partition(" ") for entry in text.splitlines())]

    def story(self, name: str) -> str:
        """What a person would look at when it does not go as expected."""
        parts = []
        for pod in self.pods(name):
            statuses = pod.get("status", {}).get("containerStatuses", [])
            states = [(status.get("state"), status.get("lastState")) for status in statuses]
            tail = "\n".join(line for _, line in self.log(pod["metadata"]["name"])[-15:])
            parts.append(f"pod {pod['metadata']['name']}: {states}\n{tail}")
        return "\n".join(parts) or "no pods"

    def first_line(self, name: str, needle: str) -> float:
        """When a line with `needle` was first logged by any of the resource's pods, as Unix time."""
        times = [at for pod in self.pods(name) for at, line in self.log(pod["metadata"]["name"]) if needle in line]
        assert times, f"no line has {needle!r}; {self.story(name)}"
        return min(times)


SMALL: Object = {
    "requests": {"cpu": "100m", "memory": "256Mi"},
    "limits": {"cpu": "1", "memory": "1Gi"},
}
"""Little is set aside: several pods fit on two cores. A worker takes about 250 MiB, the JVM as much."""


def unix(stamp: str) -> float:
    """Unix time of an RFC 3339 stamp with any number of digits."""
    whole, _, fraction = stamp.removesuffix("Z").partition(".")
    at = dt.datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=dt.UTC)
    return at.timestamp() + float(f"0.{fraction or 0}")
