"""How the build of a resource's image stands, from what is observed. Pure: the time is the caller's.

A build ends as soon as its builder has: the Job's own verdict comes a second later. A failure is kept in the status, so
that it is neither forgotten nor tried again when the Job's time is over; a Job that somebody deletes before that is
made once more.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from torchserve_operator.status.build_pods import BuildJob, BuildPod, Container
from torchserve_operator.status.build_words import Failure, Progress, Result, parse_termination
from torchserve_operator.status.pods import PULL_REASONS, pull_error
from torchserve_operator.status.report import Read

Object = dict[str, Any]

_CONFIG_REASONS: Final = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError"}
_BEFORE_TTL: Final = dt.timedelta(seconds=30)
"""How much earlier than its time a Job must be gone to have been deleted by somebody."""
_UNREACHABLE: Final = 3
"""So many reads fail in a row before it is told: what was known is known still."""
_MORE: Final = 4000
"""The most that is kept of a message, in characters."""


class Phase(Enum):
    """Where a build is."""

    READY = "ready"
    """The image is there."""
    WANTED = "wanted"
    """Its Job is to be made."""
    RUNNING = "running"
    BLOCKED = "blocked"
    """Its pod cannot start, and may yet."""
    FAILED = "failed"
    """Nothing happens until somebody does something."""
    LOST = "lost"
    """The Job is complete and nobody knows what it made."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The build that a spec asks for.

    Attributes:
        key: The hash of what the image is built of.
        attempt: The hash of everything that the Job is made of.
        parts: The hash of each part.
        why: What had changed since the last image, in words.
        repository: Where the image goes.
        revision: `spec.build.revision`.
        timeout_seconds: How long it may take.
        ttl_seconds: How long a finished Job is kept.
    """

    key: str
    attempt: str
    parts: Mapping[str, str]
    why: str
    repository: str
    revision: str
    timeout_seconds: int
    ttl_seconds: int


@dataclass(frozen=True, slots=True)
class BuildState:
    """How a build stands.

    Attributes:
        phase: Where it is.
        image: The image of the current spec, by digest; None until it is there.
        status: `status.build`.
        message: One line for people; carries no times.
    """

    phase: Phase
    image: str | None = None
    status: Object = field(default_factory=dict)
    message: str = ""


def build_state(
    wanted: Wanted,
    known: Mapping[str, Any],
    job: BuildJob | None,
    *,
    pods: Sequence[BuildPod],
    read: Read[Progress] | None,
    now: dt.datetime,
) -> BuildState:
    """Return how the build that a spec asks for stands.

    Args:
        wanted: The build.
        known: `status.build` as last written.
        job: The Job of exactly this attempt, if there is one.
        pods: Its pods.
        read: The last read of the builder that runs.
        now: The time.
    """
    last = {key: value for key, value in known.items() if key != "failure"}
    if last.get("key") == wanted.key and last.get("image"):
        return BuildState(Phase.READY, last["image"], last)
    failure = known.get("failure") or {}
    if job is None:
        if failure.get("attempt") == wanted.attempt and not _deleted_early(failure, wanted, now):
            return BuildState(Phase.FAILED, None, {**last, "failure": dict(failure)}, failure.get("message", ""))
        return BuildState(Phase.WANTED, None, last, f"the image is to be built: {wanted.why}")
    newest = max(pods, key=lambda pod: (pod.created, pod.name), default=None)
    made = _made(pods, wanted.repository)
    if made is not None:
        return _built(wanted, job, *made)
    if job.failed is not None:
        message = _failure(wanted, job, newest, len(pods))[:_MORE]
        failed = {"attempt": wanted.attempt, "job": job.name, "message": message, "time": job.failed[2]}
        return BuildState(Phase.FAILED, None, {**last, "failure": failed}, message)
    if job.complete:
        return BuildState(Phase.LOST, None, last, "looking for what the build has made")
    trouble = None if newest is None else _trouble(newest)
    if trouble is not None:
        return BuildState(Phase.BLOCKED, None, last, trouble)
    words = None if newest is None else _last_words(newest, wanted.repository)
    if words is not None:
        return BuildState(Phase.RUNNING, None, last, f"trying again: {words}")
    return BuildState(Phase.RUNNING, None, last, _stage(newest, read))


def unreadable(state: BuildState, wanted: Wanted, job: BuildJob) -> BuildState:
    """Return the failure of a complete Job whose pod is there and says nothing that can be understood."""
    message = (
        "the builder ended well and its result cannot be read: is TORCHSERVE_OPERATOR_BUILDER_IMAGE this project's?"
    )
    failed = {"attempt": wanted.attempt, "job": job.name, "message": message, "time": job.started}
    return BuildState(Phase.FAILED, None, {**state.status, "failure": failed}, message)


def _deleted_early(failure: Mapping[str, Any], wanted: Wanted, now: dt.datetime) -> bool:
    """Return whether a failed Job went before its time: somebody wants it tried again."""
    ended = _time(failure.get("time"))
    return ended is not None and now < ended + dt.timedelta(seconds=wanted.ttl_seconds) - _BEFORE_TTL


def _made(pods: Sequence[BuildPod], repository: str) -> tuple[Container, Result] | None:
    for pod in pods:
        if pod.builder is not None and pod.builder.ended is not None and pod.builder.ended.exit_code == 0:
            said = parse_termination(pod.builder.ended.message, repository)
            if isinstance(said, Result):
                return pod.builder, said
    return None


def _built(wanted: Wanted, job: BuildJob, builder: Container, result: Result) -> BuildState:
    began, ended = _time(job.started), _time(builder.finished)
    status: Object = {
        "key": wanted.key,
        "image": result.image,
        "base": result.base,
        "baseDigest": result.base_digest,
        "revision": wanted.revision,
        "startedAt": job.started,
        "sources": [{"model": model, "identity": identity} for model, identity in result.sources],
        "why": wanted.why,
        "parts": dict(wanted.parts),
    }
    if began is not None and ended is not None:
        status["seconds"] = max(0, round((ended - began).total_seconds()))
    kept = {key: value for key, value in status.items() if value not in ("", [], {})}
    return BuildState(Phase.READY, result.image, kept)


def _failure(wanted: Wanted, job: BuildJob, pod: BuildPod | None, attempts: int) -> str:
    """Return why a Job has failed for good."""
    reason, message, _ = job.failed or ("", "", "")
    if reason == "DeadlineExceeded":
        last = None if pod is None else _trouble(pod)
        return f"spec.build.timeoutSeconds: not done within {wanted.timeout_seconds} s" + (f": {last}" if last else "")
    words = None if pod is None else _last_words(pod, wanted.repository)
    if words is None:
        words = f"the build's Job failed: {message or reason}"
    return words + (f" ({attempts} attempts)" if attempts > 1 and reason == "BackoffLimitExceeded" else "")


def _last_words(pod: BuildPod, repository: str) -> str | None:
    """Return what a pod died of, in the words of whoever knows best."""
    for name, container in (("pip", pod.requirements), ("the builder", pod.builder)):
        ended = None if container is None else container.ended
        if container is None or ended is None or ended.exit_code == 0:
            continue
        said = parse_termination(ended.message, repository)
        if isinstance(said, Failure):
            return str(said)
        if ended.reason == "OOMKilled":
            limit = f"its memory limit of {container.memory_limit}" if container.memory_limit else "the node's memory"
            return f"spec.build.resources: {name} was killed at {limit}; raise spec.build.resources.limits.memory"
        if pod.failed:
            break
        if name == "pip" and _no_python(ended.message):
            return f"spec.build.baseImage: {container.image} has no python on its PATH; name an image with TorchServe"
        lines = ended.message.strip().splitlines() or [f"exit code {ended.exit_code} ({ended.reason})"]
        return f"{name} ended: {lines[-1]}"
    if pod.failed:
        hint = "; raise spec.build.spoolLimit" if "emptydir" in pod.failed.lower() else ""
        return f"the build's pod was stopped: {pod.failed.rstrip('. ')}{hint}"
    return None


def _trouble(pod: BuildPod) -> str | None:
    """Return what keeps a pod from starting, or None."""
    if pod.unschedulable:
        return f"no node takes the build's pod: {pod.unschedulable}"
    for field_name, container in (("the base image", pod.requirements), ("the builder's image", pod.builder)):
        if container is None or container.waiting is None:
            continue
        reason, message = container.waiting
        if reason in PULL_REASONS:
            return f"{field_name} {container.image} cannot be pulled: {pull_error(message) or reason}"
        if reason in _CONFIG_REASONS:
            return f"the build's pod cannot start: {message or reason}"
    return None


def _stage(pod: BuildPod | None, read: Read[Progress] | None) -> str:
    if pod is None:
        return "waiting for the build's pod"
    if pod.requirements is not None and pod.requirements.running:
        return "installing the requirements"
    if not pod.running:
        return "starting the build's pod"
    if read is None or (read.report is None and read.failures < _UNREACHABLE):
        return "starting the builder"
    if read.failures >= _UNREACHABLE:
        return (
            f"building; the builder's port does not answer the operator ({read.failure}): does a network policy stand "
            "between them?"
        )
    return str(read.report)


def _no_python(message: str) -> bool:
    return "executable file not found" in message or ("no such file or directory" in message and "exec" in message)


def _time(text: object) -> dt.datetime | None:
    try:
        return dt.datetime.fromisoformat(str(text))
    except ValueError:
        return None
