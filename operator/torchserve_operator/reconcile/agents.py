"""Reads the agents and the builders: often while something is going on, seldom at rest, a bounded number at once."""

import asyncio
import contextlib
import heapq
import itertools
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, Protocol, TypeVar

import aiohttp

from torchserve_operator.api.names import AGENT_PORT
from torchserve_operator.kube.cache import Key
from torchserve_operator.status.report import Read

_LIMIT: Final = 1 << 20
"""The most that is read of an agent's answer, in bytes: a pod may answer anything, without an end."""
_WORDS: Final = 200
"""The most that is told of why a read failed, in characters."""


Words = TypeVar("Words")


class Speaker(Protocol):
    """A pod that answers GET /status."""

    @property
    def uid(self) -> str:
        """The pod's uid."""

    @property
    def address(self) -> str:
        """The pod's IP, or nothing."""

    @property
    def ready(self) -> bool:
        """Whether the kubelet has it ready."""

    @property
    def running(self) -> bool:
        """Whether somebody in it can answer."""


@dataclass(slots=True)
class _Target(Generic[Words]):
    key: Key
    address: str
    ready: bool
    interval: float
    due: float
    read: Read[Words]
    latest: int = 0


class AgentReader(Generic[Words]):
    """Keeps the last word of every agent.

    Args:
        enqueue: Called with the resource's key when an agent says something new.
        parse: Makes words of an answer's JSON; raises ValueError where it is none.
        unsettled: Seconds between reads of an unsettled resource's agents.
        settled: Seconds between reads of a settled resource's agents.
        concurrency: How many agents are read at once.
        timeout: The most that one read may take, in seconds.
    """

    def __init__(
        self,
        enqueue: Callable[[Key], None],
        parse: Callable[[Any], Words],
        *,
        unsettled: float = 5.0,
        settled: float = 60.0,
        concurrency: int = 32,
        timeout: float = 3.0,
    ) -> None:
        self._enqueue = enqueue
        self._parse = parse
        self._unsettled = unsettled
        self._settled = settled
        self.concurrency = concurrency
        self._seconds = timeout
        self._targets: dict[str, _Target[Words]] = {}
        self._pods: dict[Key, set[str]] = {}
        self._heap: list[tuple[float, int, str]] = []
        self._order = itertools.count()
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()
        self.reads = 0
        self.failures = 0

    def reads_of(self, key: Key) -> Mapping[str, Read[Words]]:
        """Return the last read of each of a resource's pods, by uid."""
        return {uid: self._targets[uid].read for uid in self._pods.get(key, ())}

    def awaiting(self, key: Key) -> bool:
        """Return whether some agent of a resource was not tried yet; `enqueue` is called once it was."""
        return any(read.report is None and read.failure is None for read in self.reads_of(key).values())

    def track(self, key: Key, pods: Iterable[Speaker], *, settled: bool) -> None:
        """Read exactly these pods of a resource from now on; one that is new or changed its readiness, at once."""
        now = asyncio.get_running_loop().time()
        interval = self._settled if settled else self._unsettled
        wanted = {pod.uid: pod for pod in pods if pod.address and pod.running}
        for uid in self._pods.get(key, set()) - wanted.keys():
            self._targets.pop(uid, None)
        if wanted:
            self._pods[key] = set(wanted)
        else:
            self._pods.pop(key, None)
        for uid, pod in wanted.items():
            target = self._targets.get(uid)
            if target is None:
                self._targets[uid] = target = _Target(key, pod.address, pod.ready, interval, now, Read(None))
                self._push(uid, target)
                continue
            if target.ready != pod.ready or target.due > now + interval:
                target.due = now if target.ready != pod.ready else now + interval
                self._push(uid, target)
            target.address, target.ready, target.interval = pod.address, pod.ready, interval

    def soon(self, key: Key, delay: float = 0.0) -> None:
        """Read a resource's agents after `delay` seconds, whatever their turn."""
        now = asyncio.get_running_loop().time()
        for uid in self._pods.get(key, ()):
            target = self._targets[uid]
            if target.due > now + delay:
                target.due = now + delay
                self._push(uid, target)

    async def run(self) -> None:
        """Read for ever, one agent at a time; run `concurrency` of these, cancel them to stop."""
        connector = aiohttp.TCPConnector(limit=1, force_close=True)
        # not decompressed: a few bytes can become gigabytes
        async with aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=self._seconds),
            headers={"Accept-Encoding": "identity"},
            auto_decompress=False,
        ) as session:
            while True:
                async with self._turn:
                    uid = await self._next()
                await self._read(session, uid)

    async def _next(self) -> str:
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            due = None
            while self._heap:
                due, _, uid = self._heap[0]
                target = self._targets.get(uid)
                if target is not None and target.due == due:
                    break
                heapq.heappop(self._heap)  # gone, or moved to another time
                due = None
            if due is not None and due <= loop.time():
                heapq.heappop(self._heap)
                return uid
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._wake.wait()

    async def _read(self, session: aiohttp.ClientSession, uid: str) -> None:
        target = self._targets.get(uid)
        if target is None:
            return
        due, number = target.due, next(self._order)
        self.reads += 1
        try:
            read = Read(self._parse(await _status(session, target.address)))
        except (aiohttp.ClientError, OSError, ValueError, RecursionError) as error:
            self.failures += 1
            read = replace(target.read, failure=self._words(error), failures=target.read.failures + 1)
        if number < target.latest:
            return  # a read that began later has ended before
        now = asyncio.get_running_loop().time()
        news = read.report != target.read.report or min(read.failures, 3) != min(target.read.failures, 3)
        target.read, target.latest = read, number
        if target.due == due:  # nobody asked for another read meanwhile
            target.due = now + (min(self._unsettled, target.interval) if read.failure else target.interval)
            self._push(uid, target)
        if news:
            self._enqueue(target.key)

    def _words(self, error: Exception) -> str:
        """Return why a read failed, without what differs from pod to pod: it goes into a condition."""
        if isinstance(error, TimeoutError):
            return f"no answer within {self._seconds:g} s"
        if isinstance(error, OSError) and error.errno:
            return os.strerror(error.errno)
        return (str(error) or type(error).__name__)[:_WORDS]

    def _push(self, uid: str, target: _Target[Words]) -> None:
        heapq.heappush(self._heap, (target.due, next(self._order), uid))
        self._wake.set()


async def _status(session: aiohttp.ClientSession, address: str) -> Any:
    """Return an agent's answer as JSON.

    Raises:
        aiohttp.ClientError: None came.
        OSError: None came, or none in time.
        ValueError: It is not what an agent answers.
        RecursionError: The same, made with care.
    """
    host = f"[{address}]" if ":" in address else address
    # a redirect would send the operator where a pod wants it to go
    async with session.get(f"http://{host}:{AGENT_PORT}/status", allow_redirects=False) as response:
        if response.status != 200:
            raise ValueError(f"HTTP status {response.status}")
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > _LIMIT:
                raise ValueError(f"the answer is longer than {_LIMIT} bytes")
    return json.loads(body)
