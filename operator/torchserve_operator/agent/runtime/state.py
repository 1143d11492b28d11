"""What the agent believes of its models, and how one round of observation changes it. Pure: no I/O, no clock.

Startup, readiness and errors follow design.md's definitions: a model has started when it reached its minWorkers once;
a pod is ready while every model that shall have workers has one.
"""

from __future__ import annotations

from typing import Dict, FrozenSet, List, NamedTuple, Optional, Set

from .config import Bounds
from .loaderrors import LoadError
from .management import ModelView, Observation
from .memory import Memory, human
from .problem import LOAD_FAILED, OUT_OF_MEMORY, WORKER_DIED, Problem

STALE = 15.0
"""Seconds for which the last known state counts when the server does not answer: a busy JVM is slow, not unready."""
SETTLE = 5.0
"""Seconds a model must be whole again before a worker's death is forgotten: a message must not flap."""
OOM_WINDOW = 3.0
"""Seconds within which a killed process and a worker's disappearance are the same event."""


SILENCE = 5.0
"""Seconds in which a worker that failed to load may still say why: its last words come by another stream, and on a busy
machine more than two seconds after the word of its end (seen once)."""


class ModelState(NamedTuple):
    """One model."""

    view: Optional[ModelView] = None
    started: bool = False
    error: Optional[Problem] = None
    generic: bool = False
    """The error says only that a worker ended: a cause may take its place."""
    concerned: FrozenSet[str] = frozenset()
    """The workers that the error is about; empty: the model as a whole."""
    error_at: float = 0.0
    silent: Optional[LoadError] = None
    """A load that failed without a word so far."""
    silent_at: float = 0.0


class State(NamedTuple):
    """Everything; made anew by every round."""

    models: Dict[str, ModelState]
    seen_at: Optional[float] = None
    """When the server last answered."""
    oom_kills: Optional[int] = None
    oom_at: Optional[float] = None
    """When the kernel's count last rose; None once a worker's death has been laid to it."""
    draining: bool = False
    fatal: Optional[Problem] = None
    """The server does not run, and will not."""


class Round(NamedTuple):
    """What one round of the loop has seen."""

    now: float
    """Seconds of a monotonic clock."""
    observation: Optional[Observation]
    """None: the server did not answer."""
    errors: List[LoadError]
    memory: Memory
    memory_limit: Optional[int]
    bounds: Dict[str, Bounds]
    versions: Dict[str, str]


def advance(state: State, seen: Round) -> State:
    """The state after one round."""
    oom_at = state.oom_at
    kills = seen.memory.oom_kills
    if kills is not None and state.oom_kills is not None and kills > state.oom_kills:
        oom_at = seen.now
    if oom_at is not None and seen.now - oom_at > OOM_WINDOW:
        oom_at = None

    models = {}
    died: Set[str] = set()
    for name, old in state.models.items():
        model = _with_silence(_with_errors(name, old, seen), seen.now)
        if seen.observation is not None:
            view = seen.observation.models.get(name)
            gone = _died(old.view, view)
            if gone:
                died.add(name)
                model = _with_death(model, gone, seen.now)
            model = _settled(_started(model._replace(view=view), seen.bounds.get(name)), seen.now)
        models[name] = model

    if oom_at is not None:
        victims = died or {name for name, model in models.items() if _incomplete(model)}
        if victims:
            oom_at = None
            for name in victims:
                models[name] = _with_oom(models[name], seen)

    return state._replace(
        models=models,
        seen_at=seen.now if seen.observation is not None else state.seen_at,
        oom_kills=kills if kills is not None else state.oom_kills,
        oom_at=oom_at,
    )


def started(state: State) -> bool:
    """Every model has reached its minWorkers once: what the startup probe asks."""
    return state.fatal is None and state.seen_at is not None and all(model.started for model in state.models.values())


def ready(state: State, bounds: Dict[str, Bounds], now: float) -> bool:
    """The readiness probe's answer: fewer workers than minWorkers is a condition, not unreadiness."""
    if state.draining or not started(state) or state.seen_at is None or now - state.seen_at > STALE:
        return False
    return all(
        model.view is not None and (model.view.ready > 0 or minimum(model, bounds.get(name)) == 0)
        for name, model in state.models.items()
    )


def minimum(model: ModelState, bounds: Optional[Bounds]) -> int:
    """The workers a model must reach; without a policy, what the server itself was told."""
    if bounds is not None:
        return bounds.minimum
    return model.view.minimum if model.view is not None else 1


def _with_errors(name: str, model: ModelState, seen: Round) -> ModelState:
    known = (name, "%s_%s" % (name, seen.versions.get(name, "")))
    for error in seen.errors:
        if error.model not in known or (error.generic and model.error is not None and not model.generic):
            continue
        if error.silent:
            if model.error is None:
                model = model._replace(silent=error, silent_at=seen.now if model.silent is None else model.silent_at)
            continue
        model = model._replace(silent=None)
        problem = error.problem
        if problem.reason == WORKER_DIED and not model.started:
            problem = Problem(LOAD_FAILED, problem.message)
        workers = frozenset([error.worker]) if error.worker is not None else frozenset()
        if model.error == problem:
            workers |= model.concerned
        model = model._replace(error=problem, generic=error.generic, concerned=workers, error_at=seen.now)
    return model


def _with_silence(model: ModelState, now: float) -> ModelState:
    """Takes silence for the answer when it has lasted."""
    if model.silent is None or now - model.silent_at < SILENCE:
        return model
    reason = WORKER_DIED if model.started else LOAD_FAILED
    workers = frozenset([model.silent.worker]) if model.silent.worker is not None else frozenset()
    return model._replace(
        error=Problem(reason, model.silent.problem.message),
        generic=True,
        concerned=workers,
        error_at=now,
        silent=None,
    )


def _died(old: Optional[ModelView], new: Optional[ModelView]) -> FrozenSet[str]:
    """The workers that answered before and do not now, or are other processes; not those that were scaled away."""
    if old is None or new is None:
        return frozenset()
    now = {worker.id: worker for worker in new.workers}
    return frozenset(
        worker.id
        for worker in old.workers
        if worker.status == "READY"
        and worker.id in now
        and (now[worker.id].status != "READY" or now[worker.id].pid != worker.pid)
    )


def _with_death(model: ModelState, workers: FrozenSet[str], now: float) -> ModelState:
    if model.error is not None and not model.generic:
        return model._replace(concerned=model.concerned | workers, error_at=now)
    message = model.error.message if model.error else "a worker's process ended; TorchServe starts another"
    return model._replace(error=Problem(WORKER_DIED, message), generic=True, concerned=workers, error_at=now)


def _with_oom(model: ModelState, seen: Round) -> ModelState:
    limit = seen.memory_limit if seen.memory_limit is not None else seen.memory.limit
    message = "a worker was killed: out of memory, the container's limit is %s" % human(limit)
    workers: FrozenSet[str] = frozenset()
    if model.view is not None:
        workers = frozenset(worker.id for worker in model.view.workers if worker.status != "READY")
    return model._replace(
        error=Problem(OUT_OF_MEMORY, message), generic=False, concerned=workers or model.concerned, error_at=seen.now
    )


def _started(model: ModelState, bounds: Optional[Bounds]) -> ModelState:
    if model.view is not None and model.view.ready >= minimum(model, bounds):
        return model._replace(started=True)
    return model


def _settled(model: ModelState, now: float) -> ModelState:
    """Drops an error once the workers it is about answer again, or are no more."""
    if model.view is not None and model.view.workers and not _incomplete(model):
        model = model._replace(silent=None)
    if model.error is None or model.view is None:
        return model
    waiting = {worker.id for worker in model.view.workers if worker.status != "READY"}
    if model.concerned & waiting or (not model.concerned and (waiting or not model.view.workers)):
        return model
    if model.error.reason != LOAD_FAILED and now - model.error_at < SETTLE:
        return model
    return model._replace(error=None, generic=False, concerned=frozenset())


def _incomplete(model: ModelState) -> bool:
    return model.view is not None and any(worker.status != "READY" for worker in model.view.workers)
