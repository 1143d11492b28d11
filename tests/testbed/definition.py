"""Waiting until an API server serves the resource's definition."""

import json
import time
from typing import Protocol

from testbed.errors import TestbedError

CRD = "torchservemodels.torchserve-operator.dev"
WITHIN = 30.0


class Server(Protocol):
    """What runs kubectl."""

    def kubectl(self, *arguments: str) -> str: ...


def wait_established(server: Server, name: str = CRD) -> None:
    """Wait until the definition is served.

    Not `kubectl wait`: at first a definition's conditions are null, and it takes that for an error.

    Raises:
        TestbedError: It is not within half a minute; the message has its conditions.
    """
    deadline = time.monotonic() + WITHIN
    while True:
        conditions = json.loads(server.kubectl("get", "crd", name, "-o", "json"))["status"].get("conditions") or []
        if any((condition["type"], condition["status"]) == ("Established", "True") for condition in conditions):
            return
        if time.monotonic() > deadline:
            raise TestbedError(f"{name} is not established after {WITHIN:.0f} s: {conditions}")
        time.sleep(0.1)
