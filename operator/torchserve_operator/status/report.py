"""What a pod's agent says on /status. Pure; tolerant of an older or newer agent, which may leave fields out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ModelReport:
    """One model in one pod.

    Attributes:
        error: The reason and message of its last failure to load, or None.
    """

    name: str
    version: str
    min_workers: int
    ready_workers: int
    error: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class Report:
    """One agent's account of its server.

    Attributes:
        state: Starting, Running, Draining or Failed.
        message: The server's last error, if it failed.
        certificate: The hash of a renewed certificate that the server does not use yet, or None.
        warnings: Reason and message of what works less well than it could.
    """

    state: str
    ready: bool
    started: bool
    policy_hash: str
    message: str
    models: tuple[ModelReport, ...]
    certificate: str | None
    warnings: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Read:
    """The last attempt to read one agent.

    Attributes:
        report: The last report, kept when a later attempt fails: what is not known is not bad.
        failure: Why the last attempt failed, or None.
        failures: How many attempts failed in a row.
    """

    report: Report | None
    failure: str | None = None
    failures: int = 0


def parse_report(body: Mapping[str, Any]) -> Report:
    """Return the report of a /status answer.

    Raises:
        ValueError: It is not one.
    """
    if body.get("schema") != 1:
        raise ValueError(f"unknown schema {body.get('schema')!r}")
    tls = body.get("tls") or {}
    return Report(
        state=str(body.get("state", "Starting")),
        ready=bool(body.get("ready")),
        started=bool(body.get("started")),
        policy_hash=str(body.get("policyHash", "")),
        message=str((body.get("server") or {}).get("message") or ""),
        models=tuple(_model(model) for model in body.get("models") or ()),
        certificate=str(tls.get("mountedHash") or "renewed") if tls.get("certificateChanged") else None,
        warnings=tuple(_pair(warning) for warning in body.get("warnings") or ()),
    )


def _model(body: Mapping[str, Any]) -> ModelReport:
    return ModelReport(
        name=str(body["name"]),
        version=str(body.get("version", "")),
        min_workers=int(body.get("minWorkers") or 0),
        ready_workers=int(body.get("readyWorkers") or 0),
        error=_pair(body["error"]) if body.get("error") else None,
    )


def _pair(body: Mapping[str, Any]) -> tuple[str, str]:
    return str(body.get("reason", "Unknown")), str(body.get("message", ""))
