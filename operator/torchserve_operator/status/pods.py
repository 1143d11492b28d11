"""What status needs to know of a pod. Pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from torchserve_operator.api.names import ANNOTATION_POLICY, CONTAINER, LABEL_MODEL, LABEL_REVISION

Object = dict[str, Any]

PULL_REASONS: Final = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError"}
)
"""The kubelet's, while an image cannot be had."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a container ended.

    Attributes:
        reason: The kubelet's word: Completed, Error, OOMKilled, StartError.
        message: The termination message, or the kubelet's own.
        exit_code: The process's exit code; 128 and more for a signal.
    """

    reason: str
    message: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod of a resource.

    Attributes:
        revision: The template that it was made from.
        policy: The hash of the policy that its annotation names.
        ready: Whether the kubelet has it ready.
        deleting: Whether it is on its way out.
        address: Its IP, once it has one.
        unschedulable: The scheduler's words while no node takes it.
        image: The image's digest, once it was pulled.
        waiting: The kubelet's reason and message while the container is not running.
        ended: How the container ended, the last time it did.
        running: Whether the container runs now.
        memory_limit: The container's limit, as written.
    """

    name: str
    uid: str
    revision: str
    policy: str
    ready: bool
    deleting: bool
    address: str
    unschedulable: str
    image: str
    waiting: tuple[str, str] | None
    ended: Ended | None
    running: bool
    restarts: int
    memory_limit: str
    failed: str

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> "Pod":
        """Return the pod of a projection."""
        view = dict(kept["view"])
        view["waiting"] = tuple(view["waiting"]) if view["waiting"] else None
        view["ended"] = Ended(**view["ended"]) if view["ended"] else None
        return cls(name=kept["metadata"]["name"], uid=kept["metadata"]["uid"], **view)


def project_pod(body: Mapping[str, Any]) -> Object:
    """Return what is kept of a pod: its identity and `Pod`'s fields."""
    metadata, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    labels = metadata.get("labels") or {}
    conditions = {condition["type"]: condition for condition in status.get("conditions") or ()}
    container: Mapping[str, Any] = next(
        (item for item in status.get("containerStatuses") or () if item["name"] == CONTAINER), {}
    )
    declared: Mapping[str, Any] = next((item for item in spec.get("containers") or () if item["name"] == CONTAINER), {})
    state, last = container.get("state") or {}, container.get("lastState") or {}
    ended = state.get("terminated") or last.get("terminated")
    waiting = state.get("waiting")
    scheduled = conditions.get("PodScheduled") or {}
    return {
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
            "labels": {LABEL_MODEL: labels.get(LABEL_MODEL)},
        },
        "view": {
            "revision": labels.get(LABEL_REVISION, ""),
            "policy": (metadata.get("annotations") or {}).get(ANNOTATION_POLICY, ""),
            "ready": (conditions.get("Ready") or {}).get("status") == "True",
            "deleting": "deletionTimestamp" in metadata,
            "address": status.get("podIP", ""),
            "unschedulable": scheduled.get("message", "") if scheduled.get("status") == "False" else "",
            "image": container.get("imageID", ""),
            "waiting": [waiting.get("reason", ""), waiting.get("message", "")] if waiting else None,
            "ended": {
                "reason": ended.get("reason", ""),
                "message": ended.get("message", "")[:4096],
                "exit_code": ended.get("exitCode", 0),
            }
            if ended
            else None,
            "running": "running" in state,
            "restarts": container.get("restartCount", 0),
            "memory_limit": ((declared.get("resources") or {}).get("limits") or {}).get("memory", ""),
            "failed": f"{status.get('reason') or 'Failed'}: {status.get('message') or ''}".strip(": ")
            if status.get("phase") == "Failed"
            else "",
        },
    }


def termination(message: str) -> tuple[str, str] | None:
    """Return the reason and message that the agent wrote when it ended, or None if these are not its words."""
    try:
        said = json.loads(message)
        return str(said["reason"]), str(said["message"])
    except (ValueError, KeyError, TypeError):
        return None


def pull_error(message: str) -> str:
    """Return the cause in the kubelet's words, the same while it pulls and while it backs off."""
    _, found, cause = message.partition("ErrImagePull: ")
    cause = cause if found else message
    cause = re.sub(r"^rpc error: code = \w+ desc = ", "", cause)
    return cause.strip()
