"""The container's last word, which the kubelet puts into the pod's status."""

from __future__ import annotations

import json

from .problem import Problem

LIMIT = 4096
"""The kubelet reads no more."""


def write(path: str, problem: Problem) -> None:
    """Replaces the termination message. Never raises: there may be no such file outside Kubernetes."""
    text = json.dumps({"reason": problem.reason, "message": problem.message[: LIMIT // 4]})
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        print("[agent] %s: %s" % (path, error.strerror), flush=True)
