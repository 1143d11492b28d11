"""This machine: what it has, what it lacks, and how the testbed puts it there.

On a Debian-like machine, as root, missing packages are installed, and said; elsewhere the error names
the package and the line that installs it.
"""

import functools
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from testbed import cache
from testbed.errors import TestbedError
from testbed.progress import say, step

CAP_SYS_RESOURCE = 24
"""The bit's number in a capability set (linux/capability.h)."""


def run(
    command: Sequence[str | Path],
    *,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bytes | None = None,
    timeout: float | None = None,
) -> str:
    """Run ``command`` and return its standard output.

    Raises:
        TestbedError: it failed; the message has the command, its status and the end of its output.
    """
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        env={**os.environ, **(env or {})},
        cwd=cwd,
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode:
        tail = (done.stdout[-2000:] + done.stderr[-4000:]).decode(errors="replace").strip()
        raise TestbedError(f"`{' '.join(words[:12])}` exited with {done.returncode}:\n{tail}")
    return done.stdout.decode(errors="replace")


def succeeds(command: Sequence[str | Path], *, timeout: float = 30) -> bool:
    """Whether ``command`` exists and exits with 0 in time."""
    try:
        done = subprocess.run(
            [str(word) for word in command], capture_output=True, stdin=subprocess.DEVNULL, timeout=timeout, check=False
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def os_release() -> dict[str, str]:
    """The fields of os-release(5), unquoted; empty where there is none."""
    path = Path("/etc/os-release")
    lines = path.read_text().splitlines() if path.exists() else []
    return {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines) if key}


def debian_like() -> bool:
    """Whether packages come from apt here."""
    return shutil.which("apt-get") is not None


def is_root() -> bool:
    """Whether this process may install packages and start daemons."""
    return os.geteuid() == 0


def ensure_programs(packages: dict[str, str]) -> None:
    """Make sure that programs are there: ``{"debootstrap": "debootstrap"}`` is program -> Debian package.

    Raises:
        TestbedError: something is missing on a machine where it cannot be installed from here.
    """
    missing = {name: package for name, package in packages.items() if shutil.which(name) is None}
    if not missing:
        return
    wanted = sorted(set(missing.values()))
    line = f"apt-get install --no-install-recommends {' '.join(wanted)}"
    if not debian_like():
        raise TestbedError(f"missing: {', '.join(sorted(missing))}. On Debian and its like: `sudo {line}`")
    if not is_root():
        raise TestbedError(f"missing: {', '.join(sorted(missing))}. Install with: `sudo {line}`")
    with cache.lock("apt"), step(f"installing {' '.join(wanted)} (missing: {', '.join(sorted(missing))})"):
        env = {"DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "update", "-q"], env=env)
        # policy-rc.d is not touched: where services start by themselves that is the administrator's wish
        run(["apt-get", "install", "-q", "-y", "--no-install-recommends", *wanted], env=env)


def capability_in_bounding_set(bit: int) -> bool:
    """Whether the Docker daemon's processes could have this capability.

    The daemon's own bounding set decides; where its process cannot be seen, ours stands for it.
    """
    status = Path("/proc/self/status")
    try:
        pid = Path("/run/docker.pid").read_text().strip()
        status = Path(f"/proc/{int(pid)}/status")
        text = status.read_text()
    except (OSError, ValueError):
        text = Path("/proc/self/status").read_text()
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return bool(int(fields["CapBnd"], 16) >> bit & 1)


@functools.cache
def image_registry_answers() -> bool:
    """Whether Docker reaches the registry that it takes short names from: it is asked for a manifest, no image."""
    if os.environ.get("TESTBED_OFFLINE"):
        say("TESTBED_OFFLINE is set: behaving as if no image registry answered")
        return False
    try:
        asked = subprocess.run(
            ["docker", "manifest", "inspect", "debian:trixie-slim"],
            env=os.environ | {"DOCKER_CLI_EXPERIMENTAL": "enabled"},  # the engine of some distributions is old
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0


def apt_mirror() -> str:
    """The Debian mirror of this machine's own apt sources (or ``$TESTBED_DEBIAN_MIRROR``).

    Raises:
        TestbedError: none is configured.
    """
    given = os.environ.get("TESTBED_DEBIAN_MIRROR")
    if given:
        return given
    codename = os_release().get("VERSION_CODENAME", "")
    if os_release().get("ID") == "debian" and codename:
        for uri, suites in _apt_sources():
            if codename in suites:
                return uri
    raise TestbedError(
        "no Debian mirror in this machine's apt sources; set TESTBED_DEBIAN_MIRROR to the address of one"
    )


def _apt_sources() -> list[tuple[str, list[str]]]:
    """(address, suites) of every binary package source: sources.list(5), both formats."""
    etc = Path("/etc/apt")
    found: list[tuple[str, list[str]]] = []
    for path in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*.list"))]:
        for line in path.read_text().splitlines() if path.exists() else []:
            words = line.split("#")[0].split()
            if words[:1] == ["deb"]:
                rest = [word for word in words[1:] if "=" not in word and not word.startswith(("[", "]"))]
                found.append((rest[0], rest[1:2]))
    for path in sorted((etc / "sources.list.d").glob("*.sources")):
        for stanza in path.read_text().split("\n\n"):
            lines = [line for line in stanza.splitlines() if not line.startswith("#")]
            fields = {key.strip(): value.split() for key, _, value in (line.partition(":") for line in lines)}
            if "deb" in fields.get("Types", []):
                found.extend((uri, fields.get("Suites", [])) for uri in fields.get("URIs", []))
    return found
