"""The API server's audit log, read back: who wrote what, counted rather than guessed."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True)
class Mark:
    """A place in the audit log to read on from."""

    offset: int


class AuditLog:
    """An audit log in JSON lines that is still being written.

    Rotation is not followed: the servers here rotate after 200 MB, some hundred thousand requests.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def mark(self) -> Mark:
        """Where the log ends now."""
        return Mark(self.path.stat().st_size if self.path.exists() else 0)

    def events(self, since: Mark | None = None) -> Iterator[dict[str, Any]]:
        """Whole events (audit.k8s.io/v1 Event) after ``since``, oldest first."""
        if not self.path.exists():
            return
        with self.path.open("rb") as log:
            log.seek(since.offset if since else 0)
            for line in log:
                if line.endswith(b"\n"):
                    yield json.loads(line)

    def writes(self, since: Mark | None = None, *, user: str | None = None) -> list[str]:
        """Successful changes after ``since`` as ``patch apps/deployments ns/name``, subresources included.

        Args:
            since: the place to begin at.
            user: only what this user did (``system:serviceaccount:NAMESPACE:NAME``).
        """
        return [
            _describe(event)
            for event in self.events(since)
            if event["verb"] in WRITES
            and event.get("responseStatus", {}).get("code", 0) < 400
            and user in {None, event["user"].get("username")}
            and "dryRun=" not in event["requestURI"]
        ]


def _describe(event: dict[str, Any]) -> str:
    target = event.get("objectRef", {})
    group = f"{target['apiGroup']}/" if target.get("apiGroup") else ""
    subresource = f"/{target['subresource']}" if target.get("subresource") else ""
    namespace = f"{target['namespace']}/" if target.get("namespace") else ""
    return f"{event['verb']} {group}{target.get('resource', '?')}{subresource} {namespace}{target.get('name', '')}"
