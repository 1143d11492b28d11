"""The Docker engine: found, or installed and started; and the few calls that the testbed makes of it."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from testbed import cache, system
from testbed.errors import TestbedError
from testbed.progress import say, step

START_TIMEOUT = 60.0
"""Seconds that a freshly started dockerd has before it counts as failed (seen: 1 to 3)."""

_ENV = {"DOCKER_BUILDKIT": "0", "DOCKER_CLI_HINTS": "false"}
# The classic builder: it is in every engine from 20.10 to 28, and it takes local base images without a registry.


def docker(*arguments: str | Path, stdin: bytes | None = None, timeout: float | None = None) -> str:
    """Run the docker client and return its output, stripped; raises TestbedError with its words when it fails."""
    return system.run(["docker", *arguments], env=_ENV, stdin=stdin, timeout=timeout).strip()


def docker_pipe(arguments: Sequence[str | Path], source: Path) -> str:
    """Run the docker client with a file as its standard input (large archives do not pass through memory)."""
    with source.open("rb") as stream:
        words = ["docker", *map(str, arguments)]
        done = subprocess.run(words, env={**os.environ, **_ENV}, stdin=stream, capture_output=True, check=False)
    if done.returncode:
        tail = (done.stdout[-3000:] + done.stderr[-3000:]).decode(errors="replace").strip()
        raise TestbedError(f"`{' '.join(words[:8])}` exited with {done.returncode}:\n{tail}")
    return done.stdout.decode(errors="replace").strip()


def docker_into(arguments: Sequence[str | Path], target: Path) -> None:
    """Run the docker client with its standard output into a file."""
    with target.open("wb") as stream:
        words = ["docker", *map(str, arguments)]
        done = subprocess.run(words, env={**os.environ, **_ENV}, stdout=stream, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        tail = done.stderr[-3000:].decode(errors="replace").strip()
        raise TestbedError(f"`{' '.join(words[:8])}` exited with {done.returncode}:\n{tail}")


def inspect(kind: str, name: str) -> dict[str, Any] | None:
    """``docker KIND inspect NAME`` for kind image, container, network or volume; None when there is none."""
    done = subprocess.run(["docker", kind, "inspect", name], capture_output=True, check=False)
    if done.returncode:
        return None
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found[0]


def answers() -> bool:
    """Whether a Docker engine answers this user."""
    return system.succeeds(["docker", "version", "--format", "{{.Server.Version}}"])


def ensure() -> None:
    """Make sure that a Docker engine answers; as root on a Debian-like machine install and start it.

    Raises:
        TestbedError: there is none, and it cannot be had from here; the message has the line that helps.
    """
    system.ensure_programs({"docker": "docker.io"})
    if answers():
        return
    if os.environ.get("DOCKER_HOST"):
        raise TestbedError(f"no Docker engine answers at DOCKER_HOST={os.environ['DOCKER_HOST']}")
    if not system.is_root():
        raise TestbedError(
            "no Docker engine answers. Start it (`sudo systemctl start docker`) and see that this user may use it "
            "(`sudo usermod -aG docker $USER`, then log in again)"
        )
    system.ensure_programs({"dockerd": "docker.io", "iptables": "iptables"})
    with cache.lock("dockerd"):
        if not answers():
            _start()


def _start() -> None:
    if Path("/run/systemd/system").is_dir() and shutil.which("systemctl"):
        with step("starting the Docker engine (systemctl start docker)"):
            system.run(["systemctl", "start", "docker"])
            _wait(None, Path("/dev/null"))
        return
    log = cache.root() / "dockerd.log"
    with step(f"starting the Docker engine (dockerd, log in {log})"), log.open("ab") as out:
        # A stale pid file of a killed dockerd stops the next one; nothing answers, so nobody owns it.
        Path("/var/run/docker.pid").unlink(missing_ok=True)
        daemon = subprocess.Popen(
            ["dockerd", "--host", "unix:///var/run/docker.sock"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
        _wait(daemon, log)
    say("dockerd goes on running after this command")


def _wait(daemon: "subprocess.Popen[bytes] | None", log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not answers():
        if daemon is not None and daemon.poll() is not None:
            tail = log.read_text(errors="replace")[-2000:]
            raise TestbedError(f"dockerd exited with {daemon.returncode}:\n{tail}")
        if time.monotonic() > deadline:
            raise TestbedError(f"dockerd does not answer after {START_TIMEOUT:.0f} s; see {log}")
        time.sleep(0.2)
