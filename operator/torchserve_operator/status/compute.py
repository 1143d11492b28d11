"""From what is observed to the status that is written. Pure: times are the caller's."""

from collections.abc import Mapping, Sequence
from typing import Any

from torchserve_operator.api.conditions import BY_NAME, ConditionType, Reason
from torchserve_operator.api.names import LABEL_MODEL
from torchserve_operator.status.causes import STALLING, Cause, cause
from torchserve_operator.status.observed import Observed

Object = dict[str, Any]
Verdict = tuple[str, Reason, str]
"""A condition's status, reason and message."""


def compute_status(observed: Observed, now: str) -> Object:
    """Return the whole status.

    Args:
        observed: The resource and what belongs to it.
        now: The time for conditions whose status changes, as RFC 3339.
    """
    resource = observed.resource
    name, namespace = resource["metadata"]["name"], resource["metadata"]["namespace"]
    previous = resource.get("status") or {}
    generation = resource["metadata"].get("generation", 0)
    verdicts = _verdicts(observed)
    status: Object = {
        "observedGeneration": generation,
        "replicas": len(observed.staying),
        "readyReplicas": sum(pod.ready for pod in observed.staying),
        "selector": f"{LABEL_MODEL}={name}",
        "conditions": _conditions(verdicts, previous.get("conditions") or (), generation, now),
    }
    image = next((pod.image for pod in observed.current if pod.image), None) or previous.get("image")
    if image:
        status["image"] = image
    spec = observed.spec
    if observed.build is not None and observed.build.status:
        status["build"] = observed.build.status
    if spec is None:
        # What ran before goes on: its figures stay.
        for key in ("url", "version", "workers", "models", "build"):
            if key in previous:
                status[key] = previous[key]
        return status
    tls = spec.server.tls is not None
    port = spec.service.port
    status["url"] = f"{'https' if tls else 'http'}://{name}.{namespace}.svc" + (f":{port}" if port else "")
    status["version"] = ",".join(dict.fromkeys(model.version for model in spec.models))
    models = _models(observed)
    status["models"] = models
    ready, wanted = (sum(model[key] for model in models) for key in ("readyWorkers", "desiredWorkers"))
    status["workers"] = f"{ready}/{wanted}"
    return status


def settled(status: Mapping[str, Any]) -> bool:
    """Return whether nothing is expected to change: agents need not be read often."""
    values = {condition["type"]: condition["status"] for condition in status.get("conditions") or ()}
    return (
        values.get(ConditionType.READY) == "True"
        and values.get(ConditionType.MODELS_READY) == "True"
        and values.get(ConditionType.RECONCILING) == "False"
    )


def _verdicts(observed: Observed) -> dict[ConditionType, Verdict]:
    found = cause(observed)
    ready = _ready(observed, found)
    stalled = found is not None and found.reason in STALLING and ready[0] != "True"
    return {
        ConditionType.READY: ready,
        ConditionType.AVAILABLE: _available(observed, ready),
        ConditionType.IMAGE_READY: _image_ready(observed, found),
        ConditionType.MODELS_READY: _models_ready(observed, found),
        ConditionType.RECONCILING: _reconciling(observed, ready, stalled=stalled),
        ConditionType.STALLED: ("True", found.reason, found.message)
        if stalled and found
        else ("False", ready[1], "nothing needs to be mended"),
    }


def _ready(observed: Observed, found: Cause | None) -> Verdict:
    spec = observed.spec
    if "deletionTimestamp" in observed.resource["metadata"]:
        return "False", Reason.DELETING, "the resource is being deleted"
    if found is not None and found.reason in {Reason.INVALID_SPEC, Reason.CONFLICT, Reason.WRITE_REFUSED}:
        return "False", found.reason, found.message
    if spec is None:
        return "Unknown", Reason.UNKNOWN, "not observed yet"
    answering = sum(observed.answers(pod) for pod in observed.current)
    complete = observed.rolled_out and answering >= spec.replicas
    if spec.paused:
        state = "what runs is what is wanted" if complete else "what runs is not what is wanted"
        return "True" if complete else "False", Reason.PAUSED, f"paused is true: nothing is written; {state}"
    if complete and spec.replicas == 0:
        return "True", Reason.SCALED_TO_ZERO, "replicas is 0"
    warning = _warning(observed)
    if complete and warning is not None:
        return "True", *warning
    if complete:
        return "True", Reason.ANSWERING, f"every model answers on {_count(spec.replicas, 'replica')}"
    if found is not None:
        return "False", found.reason, found.message
    return "False", Reason.PROGRESSING, f"{answering} of {_count(spec.replicas, 'replica')} of this generation answer"


def _available(observed: Observed, ready: Verdict) -> Verdict:
    count = sum(pod.ready for pod in observed.staying)
    if count == 0:
        return "False", ready[1] if ready[0] != "True" else Reason.SCALED_TO_ZERO, "no replica answers"
    if any(pod.ready for pod in observed.current):
        return "True", Reason.ANSWERING, "the current generation answers"
    return "True", Reason.ANSWERING, "an earlier generation answers"


def _image_ready(observed: Observed, found: Cause | None) -> Verdict:
    if found is not None and found.reason in {Reason.IMAGE_PULL_FAILED, Reason.IMAGE_UNSUITABLE}:
        return "False", found.reason, found.message
    if found is not None and _no_image(observed):
        return "Unknown" if found.reason == Reason.BUILDING else "False", found.reason, found.message
    if any(pod.image for pod in observed.current):
        return "True", Reason.ANSWERING, "the image is on its node"
    if observed.build is not None and observed.build.image is not None:
        return "True", Reason.BUILT, "the image is built and pushed"
    return "Unknown", Reason.UNKNOWN, "no pod of this generation has pulled the image yet"


def _models_ready(observed: Observed, found: Cause | None) -> Verdict:
    spec = observed.spec
    if spec is None:
        return "Unknown", Reason.UNKNOWN, "the spec is invalid"
    if spec.replicas == 0:
        return "True", Reason.SCALED_TO_ZERO, "replicas is 0"
    if found is not None and (_no_image(observed) or any(not observed.answers(pod) for pod in observed.current)):
        return "False", found.reason, found.message
    unread = missing = 0
    for pod in observed.current:
        read = observed.reads.get(pod.uid)
        if read is None or read.report is None:
            unread += 1
    lacking = [
        f"{model['name']} has {model['readyWorkers']} of {_count(model['desiredWorkers'], 'worker')}"
        for model in _models(observed)
        if model["readyWorkers"] < model["desiredWorkers"]
    ]
    missing = spec.replicas - len(observed.current)
    if unread:
        return "Unknown", Reason.UNKNOWN, f"{_count(unread, 'agent')} not read yet"
    if lacking:
        error = _last_error(observed)
        return "False", Reason.WORKERS_MISSING, "; ".join(lacking) + (f": {error}" if error else "")
    if missing > 0:
        return "False", Reason.PROGRESSING, f"{_count(missing, 'replica')} of this generation missing"
    return "True", Reason.ANSWERING, "every model has its minWorkers"


def _reconciling(observed: Observed, ready: Verdict, *, stalled: bool) -> Verdict:
    spec = observed.spec
    if stalled or (spec is not None and spec.paused):
        return "False", ready[1], "no work is going on"
    leftover = [pod for pod in observed.staying if pod.revision != observed.revision]
    if ready[0] == "True" and leftover:
        return "True", Reason.PROGRESSING, f"{_count(len(leftover), 'pod')} of an earlier generation to stop"
    if ready[0] == "True":
        return "False", ready[1], "no work is going on"
    return "True", ready[1], ready[2]


def _no_image(observed: Observed) -> bool:
    """Return whether the current generation waits for its image."""
    return observed.build is not None and observed.build.image is None


def _models(observed: Observed) -> list[Object]:
    spec = observed.spec
    if spec is None:
        return []
    ready: dict[str, int] = {}
    for pod in observed.current:
        read = observed.reads.get(pod.uid)
        for model in read.report.models if read is not None and read.report is not None and pod.running else ():
            ready[model.name] = ready.get(model.name, 0) + model.ready_workers
    return [
        {
            "name": model.name,
            "version": model.version,
            "readyWorkers": ready.get(model.name, 0),
            "desiredWorkers": observed.bounds.get(model.name, 1) * spec.replicas,
        }
        for model in spec.models
    ]


def _warning(observed: Observed) -> tuple[Reason, str] | None:
    """Return what works less well than it could, in the agents' words; the resource answers all the same."""
    for pod in observed.current:
        read = observed.reads.get(pod.uid)
        for reason, message in read.report.warnings if read is not None and read.report is not None else ():
            if reason in BY_NAME:
                return BY_NAME[reason], f"every model answers; {message}"
    return None


def _last_error(observed: Observed) -> str | None:
    for pod in observed.current:
        read = observed.reads.get(pod.uid)
        for model in read.report.models if read is not None and read.report is not None else ():
            if model.error is not None:
                return model.error[1]
    return None


def _conditions(
    verdicts: Mapping[ConditionType, Verdict], previous: Sequence[Mapping[str, Any]], generation: int, now: str
) -> list[Object]:
    before = {condition["type"]: condition for condition in previous}
    conditions = []
    for kind, (status, reason, message) in verdicts.items():
        known = before.get(kind)
        unchanged = known is not None and known.get("status") == status and known.get("lastTransitionTime")
        conditions.append(
            {
                "type": str(kind),
                "status": status,
                "reason": str(reason),
                "message": message[:2000],
                "lastTransitionTime": known["lastTransitionTime"] if known is not None and unchanged else now,
                "observedGeneration": generation,
            }
        )
    return conditions


def _count(amount: int, noun: str) -> str:
    return f"{amount} {noun}" + ("" if amount == 1 else "s")
