"""The operator as people run it: a process of its own; and a bare kopf beside it as the control."""

import asyncio
import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import aiohttp

from bench.machine import cpu_seconds, memory_mib
from testbed.apiserver import ApiServer

_START = 60.0
_STOP = 15.0


class Program:
    """A Python program against an API server, while the block lasts.

    It dies with the bench, even if that is killed.

    Args:
        api: The API server.
        words: What follows ``python`` in its command line.
        environment: Variables beside KUBECONFIG.
    """

    def __init__(self, api: ApiServer, words: tuple[str, ...], environment: Mapping[str, str]) -> None:
        self._words = words
        self._environment = {**os.environ, "KUBECONFIG": str(api.kubeconfig), **environment}
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._log = tempfile.NamedTemporaryFile(prefix="bench-", suffix=".log")  # noqa: SIM115  # closed at the exit
        command = ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, *self._words]
        self._process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env=self._environment,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), _STOP)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        self._log.close()

    @property
    def pid(self) -> int:
        """Its process ID."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has written."""
        return Path(self._log.name).read_text(encoding="utf-8", errors="replace")

    def cpu(self) -> float:
        """The CPU time that it has used, in seconds."""
        return cpu_seconds(self.pid)

    async def memory(self, samples: int = 5, pause: float = 0.5) -> list[dict[str, float]]:
        """Its memory in MiB, several times."""
        found = []
        for _ in range(samples):
            await asyncio.sleep(pause)
            found.append(memory_mib(self.pid))
        return found

    def alive(self) -> None:
        """Make sure that it runs.

        Raises:
            RuntimeError: It has ended; the message has the end of its log.
        """
        assert self._process is not None
        if self._process.returncode is not None:
            raise RuntimeError(f"{self._words} exited with {self._process.returncode}:\n{self.log[-3000:]}")


class OperatorProcess(Program):
    """The operator, from its start to its readiness and its end.

    Args:
        api: The API server.
        namespace: The namespace to serve; None for all of them.
        settings: More of its settings, by the variables' names without the prefix.
    """

    def __init__(self, api: ApiServer, namespace: str | None = None, **settings: object) -> None:
        self._port = _free_port()
        values = {"http_host": "127.0.0.1", "http_port": self._port, "namespaces": namespace or "", **settings}
        environment = {f"TORCHSERVE_OPERATOR_{key.upper()}": str(value) for key, value in values.items()}
        super().__init__(api, ("-m", "torchserve_operator.app", "run"), environment)

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._http = aiohttp.ClientSession(f"http://127.0.0.1:{self._port}")
        deadline = time.monotonic() + _START
        while not await self._ready():
            self.alive()
            if time.monotonic() > deadline:
                raise RuntimeError(f"the operator is not ready after {_START:.0f} s:\n{self.log[-3000:]}")
            await asyncio.sleep(0.1)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._http.close()
        await super().__aexit__(*exc)

    async def metrics(self) -> dict[str, float]:
        """Its metrics by name and labels, as in the text form."""
        async with self._http.get("/metrics") as answer:
            lines = (await answer.text()).splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {key: float(value) for key, _, value in pairs}

    async def events(self) -> int:
        """How many watch events it has taken over."""
        return int((await self.metrics())["torchserve_operator_watch_events_total"])

    async def reconciles(self) -> int:
        """How many reconciles it has done, however they ended."""
        found = await self.metrics()
        return int(sum(v for k, v in found.items() if k.startswith("torchserve_operator_reconciles_total")))

    async def at_rest(self, seconds: float = 1.5, within: float = 300.0) -> None:
        """Wait until it has done nothing for some time."""
        deadline = time.monotonic() + within
        last, since = (-1, -1), time.monotonic()
        while time.monotonic() - since < seconds:
            now = (await self.events(), await self.reconciles())
            if now != last:
                last, since = now, time.monotonic()
            if time.monotonic() > deadline:
                raise RuntimeError(f"the operator does not come to rest within {within:.0f} s")
            await asyncio.sleep(0.1)

    def complaints(self) -> list[str]:
        """What it has logged that a person would have to look into."""
        lines = (json.loads(line) for line in self.log.splitlines() if line.startswith("{"))
        return [line["message"] for line in lines if line["level"] in {"WARNING", "ERROR", "CRITICAL"}]

    async def _ready(self) -> bool:
        try:
            async with self._http.get("/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False


class BareKopf(Program):
    """kopf alone, with one handler that does nothing: what watching costs before the operator spends anything.

    Args:
        api: The API server.
        namespace: The namespace whose Deployments it watches.
    """

    def __init__(self, api: ApiServer, namespace: str) -> None:
        super().__init__(api, ("-m", "bench.bare_kopf", namespace), {})

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        deadline = time.monotonic() + _START
        while "watching" not in self.log:
            self.alive()
            if time.monotonic() > deadline:
                raise RuntimeError(f"kopf does not start:\n{self.log[-3000:]}")
            await asyncio.sleep(0.1)
        return self

    async def events(self) -> int:
        """How many events it has been given."""
        told = self.log.count("events ")
        os.kill(self.pid, signal.SIGUSR1)
        while self.log.count("events ") == told:
            self.alive()
            await asyncio.sleep(0.01)
        return int(self.log.rpartition("events ")[2].split()[0])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
