"""Why something does not work, in the words of the operator's conditions (api/conditions.py has the same reasons)."""

from __future__ import annotations

from typing import NamedTuple

LOAD_FAILED = "LoadFailed"
ARCHIVE_MISSING = "ArchiveMissing"
ARCHIVE_BROKEN = "ArchiveBroken"
OUT_OF_MEMORY = "OutOfMemory"
WORKER_DIED = "WorkerDied"
SERVER_FAILED = "ServerFailed"
IMAGE_UNSUITABLE = "ImageUnsuitable"
DRAIN_DEGRADED = "DrainDegraded"
POLICY_INVALID = "PolicyInvalid"


class Problem(NamedTuple):
    """A cause for people: `reason` is one of the words above, `message` is one line without times or counters."""

    reason: str
    message: str


class ProblemError(Exception):
    """Raised where a problem ends what was being done."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(reason, message)
