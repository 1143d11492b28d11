"""A proxy before a real API server that misbehaves as told: refusals, lost answers, hangs, cut and expired watches.

The client under test gets the proxy's kubeconfig (plain HTTP on the loopback); what no fault matches goes through
unchanged, so a test breaks one thing in an otherwise real conversation::

    with FaultProxy(apiserver) as proxy, proxy.fault(Refuse(409), method="PATCH", path="/deployments/") as fault:
        ...
        assert fault.hits == 1
"""

import asyncio
import json
import re
import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import aiohttp
import yaml
from aiohttp import web

from testbed.apiserver import ApiServer
from testbed.errors import TestbedError

_REASONS = {
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}

_NOT_FORWARDED = {"host", "connection", "transfer-encoding", "content-length", "content-encoding", "keep-alive"}


@dataclass(frozen=True)
class Refuse:
    """Answer with this status and a Kubernetes Status body; the API server never sees the request."""

    status: int
    message: str = "a fault that the test asked for"
    retry_after: int | None = None
    """Seconds for the Retry-After header."""


@dataclass(frozen=True)
class LoseAnswer:
    """Let the API server do it, then close the connection without an answer."""


@dataclass(frozen=True)
class Hang:
    """Do not answer until the fault is lifted; then the request goes through, unless the client gave it up."""


@dataclass(frozen=True)
class CutWatch:
    """Close a watch's stream after so many events (0: at once, with an empty stream)."""

    after_events: int = 0


@dataclass(frozen=True)
class ExpireWatch:
    """Send a watch an ERROR event and end it: 410 Expired is what a client must answer with a new list."""

    code: int = 410


Action = Refuse | LoseAnswer | Hang | CutWatch | ExpireWatch


@dataclass
class Fault:
    """An action, what it applies to, and how often it has happened.

    Attributes:
        action: what goes wrong.
        method: the HTTP method, None for any.
        path: a regular expression that the path has to contain.
        times: how often at most, None for always.
        hits: how often it has happened.
    """

    action: Action
    method: str | None = None
    path: str = ""
    times: int | None = None
    hits: int = 0
    lifted: threading.Event = field(default_factory=threading.Event)
    _hit: threading.Event = field(default_factory=threading.Event)

    def wait(self, timeout: float = 30) -> None:
        """Wait until it has happened once; raises TestbedError when it does not."""
        if not self._hit.wait(timeout):
            raise TestbedError(f"{self.action} on {self.method or 'any'} {self.path!r} did not happen in {timeout} s")

    def _takes(self, request: web.Request) -> bool:
        only_watches = isinstance(self.action, CutWatch | ExpireWatch)
        taken = (
            not self.lifted.is_set()
            and self.method in {None, request.method}
            and re.search(self.path, request.path) is not None
            and (_is_watch(request) or not only_watches)
            and (self.times is None or self.hits < self.times)
        )
        if taken:
            self.hits += 1
            self._hit.set()
        return taken


@dataclass(frozen=True)
class Request:
    """One request that came through: monotonic seconds, method, path with query, status (0: no answer)."""

    time: float
    method: str
    path: str
    status: int


class FaultProxy:
    """The proxy while the ``with`` block lasts, in a thread of its own: tests may be synchronous or not.

    Attributes:
        url: ``http://127.0.0.1:PORT``.
        kubeconfig: a kubeconfig for the client under test.
        requests: what came through, in order of their ends.
    """

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._faults: list[Fault] = []
        self._watches: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._finish = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)
        self.requests: list[Request] = []

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._started.wait(10):
            raise TestbedError("the fault proxy did not start")
        config = yaml.safe_load(self._server.kubeconfig.read_text())
        config["clusters"][0]["cluster"] = {"server": self.url}
        self.kubeconfig = self._server.kubeconfig.with_name(f"kubeconfig-{self._port}")
        self.kubeconfig.write_text(yaml.safe_dump(config))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for fault in self._faults:
            fault.lifted.set()
        self._loop.call_soon_threadsafe(self._finish.set)
        self._thread.join(10)
        self.kubeconfig.unlink(missing_ok=True)

    @property
    def url(self) -> str:
        """Where the proxy listens."""
        return f"http://127.0.0.1:{self._port}"

    @contextmanager
    def fault(
        self, action: Action, *, method: str | None = None, path: str = "", times: int | None = None
    ) -> Iterator[Fault]:
        """Let ``action`` happen to matching requests while the block lasts; the newest matching fault wins."""
        fault = Fault(action, method, path, times)
        self._faults.insert(0, fault)
        try:
            yield fault
        finally:
            fault.lifted.set()
            self._faults.remove(fault)

    def cut_watches(self) -> int:
        """Close every watch that is open now; return how many there were."""

        async def cut() -> int:
            watches = list(self._watches)
            for watch in watches:
                watch.cancel()
            return len(watches)

        return asyncio.run_coroutine_threadsafe(cut(), self._loop).result(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.close()

    async def _serve(self) -> None:
        context = ssl.create_default_context(cafile=str(self._server.ca))
        connector = aiohttp.TCPConnector(ssl=context, limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as self._session:
            application = web.Application(client_max_size=1 << 26)
            application.router.add_route("*", "/{path:.*}", self._answer)
            # what the client has given up ends here, too; a watch would go on for ever
            runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self._port = int(runner.addresses[0][1])
            self._started.set()
            await self._finish.wait()
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        fault = next((each for each in list(self._faults) if each._takes(request)), None)  # noqa: SLF001  its own
        status = 0
        try:
            response = await self._act(request, fault)
            status = response.status
            return response
        finally:
            self.requests.append(Request(time.monotonic(), request.method, request.path_qs, status))

    async def _act(self, request: web.Request, fault: Fault | None) -> web.StreamResponse:
        match fault.action if fault else None:
            case Refuse() as refusal:
                return _refusal(refusal)
            case ExpireWatch(code=code):
                message = "too old resource version" if code == 410 else "a fault that the test asked for"
                expired = {"type": "ERROR", "object": _status(code, message)}
                return web.Response(text=json.dumps(expired) + "\n", content_type="application/json")
            case CutWatch(after_events=0):
                return web.Response(text="", content_type="application/json")
            case CutWatch(after_events=events):
                return await self._forward(request, events)
            case LoseAnswer():
                async with self._upstream(request) as answer:
                    await answer.read()
                return _closed(request)
            case Hang():
                assert fault is not None
                while not fault.lifted.is_set():  # noqa: ASYNC110  lifted by another thread, which has no loop
                    await asyncio.sleep(0.02)
        return await self._forward(request)

    async def _forward(self, request: web.Request, events: int | None = None) -> web.StreamResponse:
        try:
            async with self._upstream(request) as answer:
                response = web.StreamResponse(status=answer.status, headers=_forwarded(answer.headers))
                await response.prepare(request)
                if _is_watch(request):
                    await self._stream(response, answer, events)
                else:
                    async for chunk in answer.content.iter_any():
                        await response.write(chunk)
                await response.write_eof()
                return response
        except aiohttp.ClientConnectionError:
            # The API server itself is away: the client sees what it would see without us.
            return _closed(request)

    async def _stream(self, response: web.StreamResponse, answer: aiohttp.ClientResponse, events: int | None) -> None:
        """Pass a watch on, event by event, in a task that ``cut_watches`` may cancel."""

        async def pump() -> None:
            async for number, line in _numbered(answer.content):
                await response.write(line)
                if number == events:
                    return

        task = asyncio.create_task(pump())
        self._watches.add(task)
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()
            self._watches.discard(task)

    def _upstream(self, request: web.Request) -> Any:
        return self._session.request(
            request.method,
            f"{self._server.url}{request.path_qs}",
            headers=_forwarded(request.headers),
            data=request.content if request.body_exists else None,
        )


async def _numbered(stream: aiohttp.StreamReader) -> AsyncIterator[tuple[int, bytes]]:
    """Whole lines, counted from 1; a line may be longer than the reader's buffer."""
    pending, number = b"", 0
    async for chunk in stream.iter_any():
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            number += 1
            yield number, line + b"\n"


def _is_watch(request: web.Request) -> bool:
    return request.method == "GET" and request.query.get("watch", "").lower() in {"true", "1"}


def _forwarded(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _NOT_FORWARDED}


def _status(code: int, message: str) -> dict[str, Any]:
    reason = _REASONS.get(code, "")
    kind = {"kind": "Status", "apiVersion": "v1", "metadata": {}}
    return kind | {"status": "Failure", "message": message, "reason": reason, "code": code}


def _refusal(refusal: Refuse) -> web.Response:
    headers = {"Retry-After": str(refusal.retry_after)} if refusal.retry_after is not None else {}
    body = json.dumps(_status(refusal.status, refusal.message))
    return web.Response(status=refusal.status, text=body, content_type="application/json", headers=headers)


def _closed(request: web.Request) -> web.StreamResponse:
    """Close the connection instead of answering."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)
