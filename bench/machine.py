"""What the figures were measured on: absolute times mean nothing without it."""

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from testbed.gotools import KUBERNETES

MIB = 1024 * 1024
_TICKS = os.sysconf("SC_CLK_TCK")


def facts() -> dict[str, Any]:
    """The machine, what runs on it, and how busy it is."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memoryMiB": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // MIB,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "kubernetes": KUBERNETES,
        "kopf": metadata.version("kopf"),
        "load": [round(value, 2) for value in os.getloadavg()],
    }


def cpu_seconds(pid: int) -> float:
    """The CPU time that a process has used, its threads included, in seconds (to 10 ms)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory_mib(pid: int) -> dict[str, float]:
    """A process's memory in MiB: proportional, private and resident."""
    sizes: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]:
        key, _, rest = line.partition(":")
        sizes[key] = int(rest.split()[0])
    private = sizes["Private_Clean"] + sizes["Private_Dirty"]
    return {"pss": sizes["Pss"] / 1024, "private": private / 1024, "rss": sizes["Rss"] / 1024}


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
