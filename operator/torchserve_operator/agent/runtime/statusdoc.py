"""The document at /status, which the operator reads. Pure."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional

from .config import Bounds, Model
from .memory import Memory
from .problem import Problem
from .state import STALE, ModelState, State, minimum, ready, started
from .tls import Certificate

SCHEMA = 1


class Facts(NamedTuple):
    """What is not in the State."""

    agent_version: str
    torchserve_version: str
    policy_hash: str
    graceful: bool
    pid: Optional[int]
    """The JVM's; None when it does not run."""
    memory: Memory
    memory_limit: Optional[int]
    worker_bytes: Dict[int, int]
    """Memory by pid."""
    certificate: Optional[Certificate]
    """None without TLS."""
    warnings: List[Problem]


def build(state: State, models: List[Model], bounds: Dict[str, Bounds], facts: Facts, now: float) -> Dict[str, Any]:
    """The document, with every key always present."""
    limit = facts.memory_limit if facts.memory_limit is not None else facts.memory.limit
    return {
        "schema": SCHEMA,
        "agentVersion": facts.agent_version,
        "policyHash": facts.policy_hash,
        "state": phase(state),
        "started": started(state),
        "ready": ready(state, bounds, now),
        "server": {
            "torchserveVersion": facts.torchserve_version,
            "graceful": facts.graceful,
            "pid": facts.pid,
            "message": _server_message(state, now),
        },
        "models": [_model(model, state.models[model.name], bounds.get(model.name), facts) for model in models],
        "memory": {"limitBytes": limit, "usageBytes": facts.memory.usage, "oomKills": facts.memory.oom_kills},
        "tls": _tls(facts.certificate),
        "warnings": [_problem(warning) for warning in facts.warnings],
    }


def _server_message(state: State, now: float) -> str:
    if state.fatal is not None:
        return state.fatal.message
    if state.seen_at is not None and now - state.seen_at > STALE:
        return "TorchServe does not answer on its management port"
    return ""


def phase(state: State) -> str:
    """Failed, Draining, Running or Starting."""
    if state.fatal is not None:
        return "Failed"
    if state.draining:
        return "Draining"
    return "Running" if started(state) else "Starting"


def _model(model: Model, known: ModelState, bounds: Optional[Bounds], facts: Facts) -> Dict[str, Any]:
    view = known.view
    low = minimum(known, bounds)
    return {
        "name": model.name,
        "version": model.version,
        "minWorkers": low,
        "maxWorkers": bounds.maximum if bounds is not None else max(low, view.maximum if view is not None else 1),
        "workers": [
            {
                "id": worker.id,
                "status": worker.status,
                "pid": worker.pid,
                "memoryBytes": facts.worker_bytes.get(worker.pid),
            }
            for worker in (view.workers if view is not None else ())
        ],
        "readyWorkers": view.ready if view is not None else 0,
        "queued": view.queued if view is not None else 0,
        "inFlight": view.in_flight if view is not None else 0,
        "error": _problem(known.error),
    }


def _tls(certificate: Optional[Certificate]) -> Optional[Dict[str, Any]]:
    if certificate is None:
        return None
    return {"certificateChanged": certificate.changed, "mountedHash": certificate.mounted}


def _problem(problem: Optional[Problem]) -> Optional[Dict[str, str]]:
    return None if problem is None else {"reason": problem.reason, "message": problem.message}
