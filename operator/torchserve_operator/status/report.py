"""What a pod's agent says on /status. Pure; tolerant of an older or newer agent, which may leave fields out.

A pod runs its users' code: nothing that it says is taken for more than words.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

Words = TypeVar("Words")
"""What a pod says: an agent its report, a builder its progress."""

_WORKERS: Final = 1_000_000
"""More workers than any pod has."""
_TEXT: Final = 4096
"""The most that is kept of a message, in characters."""
_NAME: Final = 128
"""The most that is kept of a name or a hash, in characters."""


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
class Read(Generic[Words]):
    """The last attempt to read one pod.

    Attributes:
        report: The last report, kept when a later attempt fails: what is not known is not bad.
        failure: Why the last attempt failed, or None.
        failures: How many attempts failed in a row.
    """

    report: Words | None
    failure: str | None = None
    failures: int = 0


def parse_report(body: Any) -> Report:
    """Return the report of a /status answer, whatever JSON it is.

    Raises:
        ValueError: It is not one.
    """
    try:
        return _report(body)
    except (AttributeError, KeyError, OverflowError, TypeError) as error:
        raise ValueError("the answer is no status document") from error


def _report(body: Mapping[str, Any]) -> Report:
    if body.get("schema") != 1:
        raise ValueError("the answer is no status document of schema 1")
    tls = body.get("tls") or {}
    return Report(
        state=_name(body.get("state", "Starting")),
        ready=bool(body.get("ready")),
        started=bool(body.get("started")),
        policy_hash=_name(body.get("policyHash", "")),
        message=text((body.get("server") or {}).get("message") or ""),
        models=tuple(_model(model) for model in body.get("models") or ()),
        certificate=_name(tls.get("mountedHash") or "renewed") if tls.get("certificateChanged") else None,
        warnings=tuple(_pair(warning) for warning in body.get("warnings") or ()),
    )


def _model(body: Mapping[str, Any]) -> ModelReport:
    return ModelReport(
        name=_name(body["name"]),
        version=_name(body.get("version", "")),
        min_workers=_workers(body.get("minWorkers")),
        ready_workers=_workers(body.get("readyWorkers")),
        error=_pair(body["error"]) if body.get("error") else None,
    )


def _pair(body: Mapping[str, Any]) -> tuple[str, str]:
    return _name(body.get("reason", "Unknown")), text(body.get("message", ""))


def _name(value: object) -> str:
    return text(value, _NAME)


def text(value: object, most: int = _TEXT) -> str:
    """Return the value as text that every JSON parser reads alike: no lone surrogates."""
    return str(value)[:most].encode("utf-8", "replace").decode()


def _workers(value: Any) -> int:
    count = int(value or 0)
    if not 0 <= count <= _WORKERS:
        raise ValueError("the answer's count of workers is none")
    return count
