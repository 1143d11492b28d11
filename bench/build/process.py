"""A program, measured from outside: how long it took, what memory it had at most, what it wrote to disk."""

import contextlib
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from testbed.errors import TestbedError

_LOOKS = 0.02
"""Seconds between two looks at the memory: the kernel keeps the peak, so that only the last moment can be missed."""


@dataclass(frozen=True)
class Run:
    """What one run took.

    Attributes:
        seconds: From before its start until it was gone.
        memory_bytes: The most resident memory that it had (VmHWM; of the process itself, not of its children).
        written_bytes: What it had written to file systems on disks, whether it is still there or not.
    """

    seconds: float
    memory_bytes: int
    written_bytes: int

    def raw(self) -> dict[str, Any]:
        """The numbers by name."""
        return asdict(self)


def run(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> Run:
    """Run a program to its end.

    Raises:
        TestbedError: It failed; the message has the end of its output.
    """
    words = [str(word) for word in command]
    with tempfile.TemporaryFile() as output:
        began = time.perf_counter()
        with subprocess.Popen(
            words,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process:
            try:
                memory = _watched(process.pid)
                seconds = time.perf_counter() - began
                # It is gone, but nobody has asked for its status: the kernel still knows.
                written = _number(Path(f"/proc/{process.pid}/io"), "write_bytes") or 0
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            output.seek(0)
            tail = output.read()[-3000:].decode(errors="replace").strip()
            raise TestbedError(f"`{' '.join(words[:8])}` exited with {process.returncode}:\n{tail}")
    return Run(seconds, memory, written)


def _watched(pid: int) -> int:
    """Wait until a process has ended, but not for its status; return its peak of memory, in bytes."""
    status, peak = Path(f"/proc/{pid}/status"), 0
    descriptor = os.pidfd_open(pid)
    try:
        # Not Popen.wait: it sleeps up to 50 ms at a time, which would be a sixth of the shortest build.
        while not select.select([descriptor], [], [], _LOOKS)[0]:
            peak = (_number(status, "VmHWM") or 0) << 10 or peak
    finally:
        os.close(descriptor)
    return peak


def _number(path: Path, name: str) -> int | None:
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            key, _, value = line.partition(":")
            if key == name:
                return int(value.split()[0])
    return None
