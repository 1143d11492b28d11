"""Load from inside the cluster, through the Service, with every answer checked: what `load_client.py` does, as a pod.

```
with Load(namespace, "http://sleepy/predictions/sleepy") as load:  # every loop has had its first answer
    ...
    summary = load.finish()
```
"""

import contextlib
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from apiproxy import ApiProxyError, Object
from kube import Namespace

from testbed.errors import TestbedError

CLIENT = Path(__file__).parent / "load_client.py"
_START = 120
"""Seconds until every loop has an answer: the image may have to be pulled to the client's node first."""


@dataclass(frozen=True)
class Summary:
    """What became of the requests.

    Attributes:
        lost: One entry a request without its right answer: its number, mode, when (Unix time), how long, and the error.
        codes: Answers by status code, the expected failures included.
        slowest: The longest request, in seconds.
        certificates: SHA-256 of the served certificates (DER, hex) in the order in which they changed.
        new: Of the loops with a connection for each request: sent, ok, connections, dismissed.
        kept: The same of the loops that keep theirs; dismissed: connections whose end the server announced.
    """

    sent: int
    ok: int
    lost: list[dict[str, Any]]
    codes: dict[str, int]
    slowest: float
    seconds: float
    certificates: list[str]
    new: dict[str, int]
    kept: dict[str, int]

    def __str__(self) -> str:
        """A line for people, with the first losses."""
        line = (
            f"{self.sent} sent ({self.new['sent']} new, {self.kept['sent']} kept), {len(self.lost)} lost, "
            f"slowest {self.slowest} s, {self.kept['dismissed']} kept connections sent away, {self.seconds} s"
        )
        return "\n  ".join([line, *(str(entry) for entry in self.lost[:8])])


class Load:
    """One client pod; removed at the end of its `with` block.

    Args:
        namespace: Where; the client runs in the scenarios' image.
        url: What to POST to: the model `sleepy`, by a Service's name.
        new: Loops that open a connection for each request.
        kept: Loops that keep their connection.
        seconds: The longest that it runs.
        requests: The most that it sends.
        service_seconds: How long the handler is to sleep.
        faulty_every: Every n-th request makes the handler fail; 0: none.
        ca: The certificate authority in PEM, for https.
        node: The node to run on; None: any.
    """

    def __init__(
        self,
        namespace: Namespace,
        url: str,
        *,
        new: int = 2,
        kept: int = 2,
        seconds: float = 150,
        requests: int = 2000,
        service_seconds: float = 0.5,
        faulty_every: int = 0,
        ca: str | None = None,
        node: str | None = None,
    ) -> None:
        self._namespace = namespace
        self.name = f"load-{uuid.uuid4().hex[:8]}"
        orders = {
            "url": url,
            "ca": "/load/ca.crt" if ca else None,
            "new": new,
            "kept": kept,
            "seconds": seconds,
            "requests": requests,
            "timeout": 30.0,
            "service_seconds": service_seconds,
            "faulty_every": faulty_every,
        }
        files = {"client.py": CLIENT.read_text(encoding="utf-8"), "orders.json": json.dumps(orders)}
        self._objects = _objects(self.name, files | ({"ca.crt": ca} if ca else {}), namespace.image, node)
        self._longest = seconds

    def __enter__(self) -> Self:
        self._namespace.kubectl("apply", "-f", "-", stdin=json.dumps(self._objects))
        try:
            self._wait(
                lambda lines: bool(lines) and lines[0] == '{"underway": true}', _START, "every loop had an answer"
            )
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._namespace.kubectl("delete", "pod,configmap", self.name, "--ignore-not-found", "--wait=false")

    def finish(self, *, now: bool = True) -> Summary:
        """End it and read the summary; with `now` false, wait until it has sent what it was to send."""
        if now:
            signal = "import os, signal; os.kill(1, signal.SIGINT)"
            with contextlib.suppress(TestbedError):  # it may have ended by itself: the log has the summary all the same
                self._namespace.kubectl("exec", self.name, "--", "python", "-c", signal)
        within = 40 if now else self._longest + 40
        lines = self._wait(lambda lines: bool(lines) and '"sent"' in lines[-1], within, "its summary was there")
        return Summary(**json.loads(lines[-1]))

    def _wait(self, done: Callable[[list[str]], bool], within: float, what: str) -> list[str]:
        deadline = time.monotonic() + within
        while True:
            lines = self._log()
            if done(lines):
                return lines
            if '"sent"' in "".join(lines[-1:]) or time.monotonic() > deadline:
                pod = self._namespace.kubectl("get", "pod", self.name, "-o", "wide")
                raise AssertionError(f"not {what} within {within} s:\n{pod}\n" + "\n".join(lines[-20:]))
            time.sleep(0.3)

    def _log(self) -> list[str]:
        try:
            return self._namespace.api.text("GET", f"{self._namespace.core}/pods/{self.name}/log").splitlines()
        except ApiProxyError:  # not started yet
            return []


def _objects(name: str, files: dict[str, str], image: str, node: str | None) -> Object:
    pod: Object = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "volumes": [{"name": "load", "configMap": {"name": name}}],
        "containers": [
            {
                "name": "load",
                "image": image,
                "command": ["python", "-B", "/load/client.py", "/load/orders.json"],
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "resources": {"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
                "volumeMounts": [{"name": "load", "mountPath": "/load", "readOnly": True}],
            }
        ],
    }
    if node is not None:
        pod["nodeSelector"] = {"kubernetes.io/hostname": node}
    items = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": files},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod},
    ]
    return {"apiVersion": "v1", "kind": "List", "items": items}
