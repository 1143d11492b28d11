"""The container's memory as the kernel counts it (cgroup v1 and v2), and the workers'."""

from __future__ import annotations

import os
from typing import NamedTuple, Optional

_UNLIMITED = 1 << 60
"""cgroup v1 writes "no limit" as a number near 2^63."""


class Memory(NamedTuple):
    """Bytes; None where the kernel does not say."""

    limit: Optional[int]
    usage: Optional[int]
    oom_kills: Optional[int]
    """How many processes of the container the kernel has killed for memory."""


def read(root: str = "/sys/fs/cgroup") -> Memory:
    """Reads the container's own cgroup, which is mounted at `root`."""
    if os.path.exists(os.path.join(root, "memory.max")):  # v2
        return Memory(
            _limit(_text(root, "memory.max")),
            _number(_text(root, "memory.current")),
            _field(_text(root, "memory.events"), "oom_kill"),
        )
    v1 = os.path.join(root, "memory")
    return Memory(
        _limit(_text(v1, "memory.limit_in_bytes")),
        _number(_text(v1, "memory.usage_in_bytes")),
        _field(_text(v1, "memory.oom_control"), "oom_kill"),
    )


def process_bytes(pid: int, proc: str = "/proc") -> Optional[int]:
    """A process's proportional set size (shared pages divided among their users), or its resident size; None: gone."""
    kilobytes = _field(_text(os.path.join(proc, str(pid)), "smaps_rollup"), "Pss:")
    if kilobytes is None:
        kilobytes = _field(_text(os.path.join(proc, str(pid)), "status"), "VmRSS:")
    return None if kilobytes is None else kilobytes * 1024


def human(size: Optional[int]) -> str:
    """Bytes as a Kubernetes quantity, for messages: 512Mi."""
    if size is None:
        return "unlimited"
    for unit, name in ((1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")):
        if size >= unit and size % unit == 0:
            return "%d%s" % (size // unit, name)
    return "%d" % size


def _text(folder: str, name: str) -> str:
    try:
        with open(os.path.join(folder, name), encoding="ascii") as file:
            return file.read()
    except (OSError, ValueError):
        return ""


def _number(text: str) -> Optional[int]:
    try:
        return int(text)
    except ValueError:
        return None


def _limit(text: str) -> Optional[int]:
    number = _number(text)
    return None if number is None or number >= _UNLIMITED else number


def _field(text: str, name: str) -> Optional[int]:
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == name:
            return _number(words[1])
    return None
