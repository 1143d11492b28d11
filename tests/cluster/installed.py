"""The operator that runs in the cluster: its log, its endpoints, and its life as a person would steer it."""

import json
import threading
import time
from typing import Any

from apiproxy import ApiProxy, ApiProxyError, Object
from kube import eventually, unix

from testbed.audit import AuditLog
from testbed.cluster import Cluster
from testbed.operator import Installation

_ALLOWED = {"DEBUG", "INFO"}
_OPERATOR_READY = 60.0


class Installed:
    """The operator as it is installed from `manifests/`."""

    def __init__(self, cluster: Cluster, api: ApiProxy, installation: Installation) -> None:
        self.cluster = cluster
        self.api = api
        self.namespace = installation.namespace
        self.deployment = installation.deployment
        self.user = f"system:serviceaccount:{self.namespace}:torchserve-operator"
        self._pods = f"/api/v1/namespaces/{self.namespace}/pods"
        self._past: list[str] = []
        """What operators have logged that are gone."""

    # ── what it says ─────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def audit(self) -> AuditLog:
        path = self.cluster.audit_log
        assert path is not None, "a given cluster has no audit log that tests could read"
        return AuditLog(path)

    def pods(self) -> list[Object]:
        items = self.api.get(self._pods, labelSelector=f"app.kubernetes.io/name={self.deployment}")["items"]
        return [pod for pod in items if "deletionTimestamp" not in pod["metadata"]]

    def pod(self) -> str:
        (pod,) = self.pods()
        return str(pod["metadata"]["name"])

    def log(self, since: float) -> list[Object]:
        """What was logged since then (Unix time), by operators that are gone as well.

        A line that is not JSON has the key `raw`.
        """
        lines = list(self._past)
        for pod in self.pods():
            lines += self._log(pod["metadata"]["name"])
        return [entry for line in lines for entry in [_entry(line)] if entry["at"] >= since]

    def complaints(self, since: float) -> list[Object]:
        """What a person would have to look into."""
        return [entry for entry in self.log(since) if _complains(entry)]

    def restarts(self) -> dict[str, int]:
        """How often each operator pod's container was started again, by the pod's name."""
        return {
            pod["metadata"]["name"]: sum(s["restartCount"] for s in pod["status"].get("containerStatuses", ()))
            for pod in self.pods()
        }

    def http(self, path: str) -> str:
        """An answer of the operator's own server."""
        return self.api.text("GET", f"{self._pods}/{self.pod()}:8000/proxy/{path.lstrip('/')}")

    def metric(self, name: str) -> float:
        """The value of one line of /metrics, 0 where it is not there yet."""
        for line in self.http("/metrics").splitlines():
            key, _, value = line.rpartition(" ")
            if key == name:
                return float(value)
        return 0.0

    # ── its life ─────────────────────────────────────────────────────────────────────────────────────────────────

    def down(self) -> float:
        """Scale it to nothing and wait until it is gone; return how long its process took to end, in seconds."""
        began = time.time()
        return self._ends(lambda: self._scale(0), began)

    def up(self) -> None:
        """Scale it to one and wait until it is ready."""
        self._scale(1)
        self.wait_ready()

    def restart(self) -> None:
        """Delete its pod and wait for the next one."""
        name = self.pod()
        self._ends(lambda: self.api.delete(f"{self._pods}/{name}"), time.time())
        self.wait_ready()

    def set_environment(self, **variables: str | None) -> None:
        """Change its environment (None: take the variable out) and wait until it runs with it."""
        path = f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{self.deployment}"
        (container,) = self.api.get(path)["spec"]["template"]["spec"]["containers"]
        there = {entry["name"]: entry.get("value") for entry in container.get("env", ())}
        if all(there.get(key) == value for key, value in variables.items()):
            return
        words = [f"{key}-" if value is None else f"{key}={value}" for key, value in variables.items()]
        target = f"deployment/{self.deployment}"
        self._ends(lambda: self.cluster.kubectl("-n", self.namespace, "set", "env", target, *words), time.time())
        self.wait_ready()

    def wait_ready(self) -> None:
        def question() -> bool:
            pods = self.pods()
            return len(pods) == 1 and all(
                condition["status"] == "True"
                for condition in pods[0]["status"].get("conditions", ())
                if condition["type"] == "Ready"
            )

        eventually(question, _OPERATOR_READY, "the operator is ready")

    def _scale(self, replicas: int) -> None:
        path = f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{self.deployment}"
        self.api.merge(path, {"spec": {"replicas": replicas}})

    def _ends(self, act: Any, began: float) -> float:
        """Do what ends the running operator, keep its last words; return the seconds from then to its end."""
        name = self.pod()
        lines: list[str] = []
        path = f"{self._pods}/{name}/log"

        def follow() -> None:
            lines.extend(self.api.lines(path, _OPERATOR_READY, follow="true", timestamps="true"))

        follower = threading.Thread(target=follow)
        follower.start()
        act()
        follower.join(_OPERATOR_READY)
        assert not follower.is_alive(), "the operator's container has not ended"
        ended = time.time() - began
        self._past += lines
        eventually(lambda: self.api.find(f"{self._pods}/{name}") is None, _OPERATOR_READY, "the old pod is gone")
        return ended

    def _log(self, pod: str) -> list[str]:
        try:
            return self.api.text("GET", f"{self._pods}/{pod}/log", query={"timestamps": "true"}).splitlines()
        except ApiProxyError as error:
            if error.status in {400, 404}:  # its container is not there yet, or no more
                return []
            raise


def _entry(line: str) -> Object:
    stamp, _, text = line.partition(" ")
    try:
        entry = json.loads(text)
    except ValueError:
        entry = None
    return {"at": unix(stamp), **(entry if isinstance(entry, dict) else {"raw": text})}


def _complains(entry: Object) -> bool:
    return (
        entry.get("level") not in _ALLOWED
        or "exc_info" in entry
        or "Traceback" in json.dumps(entry)
        or "failed" in str(entry.get("message", "")).lower()
    )
