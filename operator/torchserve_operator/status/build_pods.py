"""What status needs to know of a build's pod and of its Job. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torchserve_operator.api.names import (
    ANNOTATION_ATTEMPT,
    BUILDER_CONTAINER,
    LABEL_BUILD,
    REQUIREMENTS_CONTAINER,
)
from torchserve_operator.status.pods import Ended

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a build's pod.

    Attributes:
        image: As the pod names it.
        running: Whether it runs now.
        waiting: The kubelet's reason and message while it is not running.
        ended: How it ended.
        finished: When it ended, as RFC 3339.
        memory_limit: As written.
    """

    image: str
    running: bool
    waiting: tuple[str, str] | None
    ended: Ended | None
    finished: str
    memory_limit: str


@dataclass(frozen=True, slots=True)
class BuildPod:
    """One pod of a build.

    Attributes:
        job: The uid of its Job: one of the same name made anew has other pods.
        created: When it was made, as RFC 3339.
        address: Its IP, once it has one.
        ready: Whether the kubelet has it ready.
        unschedulable: The scheduler's words while no node takes it.
        failed: The kubelet's words where it ended the whole pod.
    """

    name: str
    uid: str
    job: str
    created: str
    deleting: bool
    address: str
    ready: bool
    unschedulable: str
    failed: str
    requirements: Container | None
    builder: Container | None

    @property
    def running(self) -> bool:
        """Whether the builder runs, and can be asked how far it is."""
        return self.builder is not None and self.builder.running

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> "BuildPod":
        """Return the pod of a projection."""
        view = dict(kept["build"])
        for name in ("requirements", "builder"):
            view[name] = _container(view[name])
        return cls(name=kept["metadata"]["name"], uid=kept["metadata"]["uid"], **view)


@dataclass(frozen=True, slots=True)
class BuildJob:
    """A build's Job.

    Attributes:
        attempt: The hash of everything that it was made of.
        started: When it was started, as RFC 3339; when it was made, before that.
        failed: Reason, message and time of its failure, once it has failed for good.
        complete: Whether it is complete.
        config_maps: The ConfigMaps that its pods name.
    """

    name: str
    namespace: str
    uid: str
    attempt: str
    started: str
    failed: tuple[str, str, str] | None
    complete: bool
    config_maps: tuple[str, ...]

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> "BuildJob":
        """Return the Job of a projection."""
        metadata, job = kept["metadata"], kept["job"]
        return cls(
            name=metadata["name"],
            namespace=metadata["namespace"],
            uid=metadata["uid"],
            attempt=(metadata.get("annotations") or {}).get(ANNOTATION_ATTEMPT, ""),
            started=job["started"],
            failed=(job["failed"][0], job["failed"][1], job["failed"][2]) if job["failed"] else None,
            complete=job["complete"],
            config_maps=tuple(job["configMaps"]),
        )


def is_build_pod(body: Mapping[str, Any]) -> bool:
    """Return whether a pod is a build's."""
    return LABEL_BUILD in (body["metadata"].get("labels") or {})


def project_build_pod(body: Mapping[str, Any]) -> Object:
    """Return what is kept of a build's pod: its identity and `BuildPod`'s fields."""
    metadata, status = body["metadata"], body.get("status") or {}
    labels = metadata.get("labels") or {}
    conditions = {condition["type"]: condition for condition in status.get("conditions") or ()}
    scheduled = conditions.get("PodScheduled") or {}
    failed = status.get("phase") == "Failed" and status.get("reason")
    return {
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
            "labels": {LABEL_BUILD: labels.get(LABEL_BUILD)},
        },
        "build": {
            "job": labels.get("batch.kubernetes.io/controller-uid", ""),
            "created": metadata.get("creationTimestamp") or "",
            "deleting": "deletionTimestamp" in metadata,
            "address": status.get("podIP", ""),
            "ready": (conditions.get("Ready") or {}).get("status") == "True",
            "unschedulable": scheduled.get("message", "") if scheduled.get("status") == "False" else "",
            "failed": f"{status['reason']}: {status.get('message') or ''}".strip(": ") if failed else "",
            "requirements": _projected(body, "initContainers", "initContainerStatuses", REQUIREMENTS_CONTAINER),
            "builder": _projected(body, "containers", "containerStatuses", BUILDER_CONTAINER),
        },
    }


def project_job(body: Mapping[str, Any]) -> Object:
    """Return what is kept of a Job: its head and `BuildJob`'s fields."""
    metadata, status = body["metadata"], body.get("status") or {}
    kept = ("name", "namespace", "uid", "labels", "annotations", "ownerReferences")
    conditions = {item["type"]: item for item in status.get("conditions") or () if item["status"] == "True"}
    # FailureTarget comes first; Failed, when the last pod has ended
    failed = conditions.get("Failed") or conditions.get("FailureTarget")
    volumes = body["spec"]["template"]["spec"].get("volumes") or ()
    return {
        "metadata": {key: metadata[key] for key in kept if key in metadata},
        "job": {
            "started": status.get("startTime") or metadata.get("creationTimestamp") or "",
            "failed": [failed.get("reason") or "", failed.get("message") or "", failed.get("lastTransitionTime") or ""]
            if failed
            else None,
            "complete": "Complete" in conditions,
            "configMaps": [volume["configMap"]["name"] for volume in volumes if "configMap" in volume],
        },
    }


def _projected(body: Mapping[str, Any], declared: str, observed: str, name: str) -> Object | None:
    container = _named((body.get("spec") or {}).get(declared), name)
    if container is None:
        return None
    status = _named((body.get("status") or {}).get(observed), name) or {}
    state = status.get("state") or {}
    ended = state.get("terminated") or (status.get("lastState") or {}).get("terminated")
    waiting = state.get("waiting")
    return {
        "image": container.get("image", ""),
        "running": "running" in state,
        "waiting": [waiting.get("reason", ""), waiting.get("message", "")] if waiting else None,
        "ended": {
            "reason": ended.get("reason", ""),
            "message": ended.get("message", "")[:4096],
            "exit_code": ended.get("exitCode", 0),
        }
        if ended
        else None,
        "finished": (ended or {}).get("finishedAt") or "",
        "memory_limit": ((container.get("resources") or {}).get("limits") or {}).get("memory", ""),
    }


def _named(items: Any, name: str) -> Mapping[str, Any] | None:
    return next((item for item in items or () if item["name"] == name), None)


def _container(view: Mapping[str, Any] | None) -> Container | None:
    if view is None:
        return None
    fields = dict(view)
    fields["waiting"] = tuple(fields["waiting"]) if fields["waiting"] else None
    fields["ended"] = Ended(**fields["ended"]) if fields["ended"] else None
    return Container(**fields)
