"""Why a resource does not answer: a list of small questions, the most telling first. Pure.

Messages are for people, do not flap while a cause lasts, and carry neither times nor pod names.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torchserve_operator.api.conditions import BY_NAME, Reason
from torchserve_operator.status.build import Phase
from torchserve_operator.status.observed import Observed
from torchserve_operator.status.pods import PULL_REASONS, Pod, pull_error, termination
from torchserve_operator.status.report import Report


@dataclass(frozen=True, slots=True)
class Cause:
    """A reason with its message."""

    reason: Reason
    message: str


STALLING = frozenset(
    {
        Reason.INVALID_SPEC,
        Reason.CONFLICT,
        Reason.BUILD_FAILED,
        Reason.LOAD_FAILED,
        Reason.ARCHIVE_MISSING,
        Reason.ARCHIVE_BROKEN,
        Reason.OUT_OF_MEMORY,
        Reason.IMAGE_PULL_FAILED,
        Reason.IMAGE_UNSUITABLE,
        Reason.CONTAINER_CONFIG_ERROR,
    }
)
"""Causes that somebody must mend: kstatus's Failed. The others may pass by themselves."""

_CONFIG_REASONS = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}


def cause(observed: Observed) -> Cause | None:
    """Return the first cause that the questions find, or None where nothing stands in the way."""
    for question in _QUESTIONS:
        found = question(observed)
        if found is not None:
            return found
    return None


def _invalid(observed: Observed) -> Cause | None:
    if not observed.errors:
        return None
    text = "; ".join(str(error) for error in observed.errors[:5])
    more = len(observed.errors) - 5
    return Cause(Reason.INVALID_SPEC, text + (f"; and {more} more" if more > 0 else ""))


def _refused(observed: Observed) -> Cause | None:
    for refusal in observed.refusals:
        if refusal.conflict:
            return Cause(Reason.CONFLICT, f"{refusal.child}: {refusal.message}")
    for refusal in observed.refusals:
        if not refusal.transient:
            return Cause(Reason.WRITE_REFUSED, f"{refusal.child}: {refusal.message}")
    return None


def _building(observed: Observed) -> Cause | None:
    build = observed.build
    if build is None or build.image is not None:
        return None
    reason = {Phase.BLOCKED: Reason.BUILD_BLOCKED, Phase.FAILED: Reason.BUILD_FAILED}.get(build.phase, Reason.BUILDING)
    return Cause(reason, build.message)


def _rejected(observed: Observed) -> Cause | None:
    for condition in (observed.deployment or {}).get("conditions") or ():
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return Cause(Reason.POD_REJECTED, condition.get("message") or condition.get("reason", ""))
    return None


def _of_pods(question: Callable[[Observed, Pod], Cause | None]) -> Callable[[Observed], Cause | None]:
    """Ask about each pod of the current generation that does not answer; the first that has an answer gives it."""

    def ask(observed: Observed) -> Cause | None:
        for pod in observed.current:
            if not observed.answers(pod):
                found = question(observed, pod)
                if found is not None:
                    return found
        return None

    return ask


def _pull(_: Observed, pod: Pod) -> Cause | None:
    if pod.waiting is None or pod.waiting[0] not in PULL_REASONS:
        return None
    reason, message = pod.waiting
    return Cause(Reason.IMAGE_PULL_FAILED, pull_error(message) or reason)


def _container_config(_: Observed, pod: Pod) -> Cause | None:
    if pod.waiting is None or pod.waiting[0] not in _CONFIG_REASONS:
        return None
    return _start_failure(pod.waiting[1]) or Cause(Reason.CONTAINER_CONFIG_ERROR, pod.waiting[1] or pod.waiting[0])


def _unschedulable(observed: Observed, pod: Pod) -> Cause | None:
    if not pod.unschedulable:
        return None
    message = pod.unschedulable
    spec = observed.spec
    asks = {**spec.resources.requests, **spec.resources.limits} if spec else {}
    scarce = next((name for name in asks if "/" in name and f"Insufficient {name}" in message), None)
    others = any(other.revision != observed.revision for other in observed.staying)
    if spec and scarce and others and spec.rollout.strategy == "Surge":
        message += (
            f" The old pods hold {scarce} until a new one answers: set spec.rollout.strategy to Replace "
            "where there is no spare"
        )
    return Cause(Reason.UNSCHEDULABLE, message)


def _killed_by_memory(_: Observed, pod: Pod) -> Cause | None:
    if pod.ended is None or pod.ended.reason != "OOMKilled":
        return None
    limit = f"its limit of {pod.memory_limit}" if pod.memory_limit else "the node's memory"
    return Cause(
        Reason.OUT_OF_MEMORY,
        f"the container was killed at {limit}: raise resources.limits.memory or lower minWorkers",
    )


def _reported(observed: Observed, pod: Pod) -> Cause | None:
    report = _report(observed, pod)
    if report is None or not pod.running:
        return None
    for model in report.models:
        if model.error is not None:
            reason, message = model.error
            return Cause(BY_NAME.get(reason, Reason.LOAD_FAILED), f"model {model.name}: {message}")
    if report.state == "Failed":
        return Cause(Reason.SERVER_FAILED, report.message or "TorchServe ended")
    return None


def _crashed(_: Observed, pod: Pod) -> Cause | None:
    ended = pod.ended
    if ended is None or (pod.running and pod.restarts == 0):
        return None
    said = termination(ended.message)
    if said is not None:
        return Cause(BY_NAME.get(said[0], Reason.CONTAINER_CRASHED), said[1])
    if ended.exit_code == 0 and not ended.message:
        return None
    started = _start_failure(ended.message)
    if started is not None:
        return started
    words = ended.message.strip().splitlines()[-1:] or [f"exit code {ended.exit_code} ({ended.reason})"]
    return Cause(Reason.CONTAINER_CRASHED, words[0])


def _pod_failed(_: Observed, pod: Pod) -> Cause | None:
    return Cause(Reason.CONTAINER_CRASHED, pod.failed) if pod.failed else None


def _unreachable(observed: Observed, pod: Pod) -> Cause | None:
    read = observed.reads.get(pod.uid)
    if not pod.running or read is None or read.failure is None or read.failures < 3:
        return None
    return Cause(
        Reason.AGENT_UNREACHABLE,
        f"the agent's port does not answer the operator ({read.failure}): does a network policy stand between them?",
    )


def _loading(observed: Observed, pod: Pod) -> Cause | None:
    report = _report(observed, pod)
    if report is None or not pod.running or report.state not in {"Starting", "Running"}:
        return None
    waiting = [model.name for model in report.models if model.ready_workers < max(1, model.min_workers)]
    if not waiting:
        return None
    return Cause(Reason.MODELS_LOADING, f"loading {', '.join(waiting)}")


def _start_failure(message: str) -> Cause | None:
    """Return the cause where the container's command could not even start."""
    if "executable file not found" in message or ("no such file or directory" in message and "exec" in message):
        return Cause(
            Reason.IMAGE_UNSUITABLE,
            "the image has no python on its PATH, so it cannot be a TorchServe image: " + message.strip(),
        )
    return None


def _report(observed: Observed, pod: Pod) -> Report | None:
    read = observed.reads.get(pod.uid)
    return None if read is None else read.report


_QUESTIONS: tuple[Callable[[Observed], Cause | None], ...] = (
    _invalid,
    _refused,
    _building,
    _rejected,
    _of_pods(_pull),
    _of_pods(_container_config),
    _of_pods(_killed_by_memory),
    _of_pods(_reported),
    _of_pods(_crashed),
    _of_pods(_pod_failed),
    _of_pods(_unschedulable),
    _of_pods(_unreachable),
    _of_pods(_loading),
)
