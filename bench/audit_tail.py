"""The API server's own clock: when it was asked for what, and when it had answered."""

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Write:
    """One request that changed something, as the API server saw it.

    Attributes:
        verb: create, update, patch or delete.
        resource: The plural, with the subresource after a slash.
        namespace: The object's namespace.
        name: The object's name; empty where the API server chose it.
        manager: The field manager.
        came: When the request came, in Unix seconds.
        done: When the answer was complete.
    """

    verb: str
    resource: str
    namespace: str
    name: str
    manager: str
    came: float
    done: float


class AuditTail:
    """Reads on in an audit log, from where it ended when this was made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size

    def writes(self) -> Iterator[Write]:
        """Yield what was written successfully since the last call, oldest first."""
        with self._path.open("rb") as log:
            log.seek(self._offset)
            for line in log:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                if b'"verb":"get"' not in line and b'"verb":"watch"' not in line:
                    event = json.loads(line)
                    if event["verb"] in {"create", "update", "patch", "delete"} and _succeeded(event):
                        yield _write(event)


def _succeeded(event: dict[str, Any]) -> bool:
    code = event.get("responseStatus", {}).get("code", 500)
    return bool(event["stage"] == "ResponseComplete" and code < 400)


def _write(event: dict[str, Any]) -> Write:
    target = event.get("objectRef", {})
    subresource = f"/{target['subresource']}" if target.get("subresource") else ""
    manager = event["requestURI"].partition("fieldManager=")[2].partition("&")[0]
    return Write(
        verb=event["verb"],
        resource=target.get("resource", "") + subresource,
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        manager=manager,
        came=_unix(event["requestReceivedTimestamp"]),
        done=_unix(event["stageTimestamp"]),
    )


def _unix(stamp: str) -> float:
    return dt.datetime.fromisoformat(stamp).timestamp()
