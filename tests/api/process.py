"""The operator as people run it: a process of its own, with settings in its environment."""

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

OPERATOR = Path(__file__).parents[2] / "operator"


class Process:
    """`python -m torchserve_operator run` while the block lasts; killed at its end if it still runs.

    Args:
        folder: Where its log goes; also its home.
        kubeconfig: The cluster, or None for none.
        settings: Settings by their lower-case names.
    """

    def __init__(self, folder: Path, kubeconfig: Path | None, **settings: object) -> None:
        self._log = folder / "log"
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(OPERATOR),
            **({"KUBECONFIG": str(kubeconfig)} if kubeconfig else {}),
            "TORCHSERVE_OPERATOR_HTTP_HOST": "127.0.0.1",
            "TORCHSERVE_OPERATOR_HTTP_PORT": "0",
            **{f"TORCHSERVE_OPERATOR_{name.upper()}": str(value) for name, value in settings.items()},
        }

    async def __aenter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "torchserve_operator", "run", env=self._environment, stdout=log, stderr=log
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        if kind is not None:
            print(self.text())

    def text(self) -> str:
        return self._log.read_text()

    def lines(self) -> list[dict[str, Any]]:
        """Return the log's lines; each must be one JSON object."""
        return [json.loads(line) for line in self.text().splitlines()]

    async def logged(self, message: str) -> dict[str, Any]:
        """Wait for a line of the JSON log and return it."""
        deadline = time.monotonic() + 30
        while True:
            text = self.text()
            whole = text[: text.rfind("\n") + 1].splitlines()
            found = next((line for line in map(json.loads, whole) if line["message"] == message), None)
            if found is not None:
                return dict(found)
            assert self._process.returncode is None, f"it ended with {self._process.returncode}"
            assert time.monotonic() < deadline, f"no {message!r} in the log"
            await asyncio.sleep(0.05)

    async def get(self, path: str) -> tuple[int, str]:
        """Return status and body of its own HTTP server."""
        port = (await self.logged("started"))["port"]
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
            return answer.status, await answer.text()

    async def ended(self) -> int:
        """Wait until it ends by itself; return its exit code."""
        return await asyncio.wait_for(self._process.wait(), 30)

    async def stop(self, signum: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Send a signal; return the exit code and the seconds until it was there."""
        began = time.monotonic()
        self._process.send_signal(signum)
        return await self.ended(), time.monotonic() - began
