"""A proxy before a real registry that misbehaves as told: refuses, drops connections in the middle, hangs.

What no fault matches goes through unchanged, so a test breaks one thing in an otherwise real conversation; and what
went through is written down::

    with RegistryProxy(registry.host) as proxy, proxy.fault(Drop(after=1_000_000), method="PATCH", times=1) as fault:
        ...
        assert fault.hits == 1
"""

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Self

from testbed.errors import TestbedError

_PIECE = 1 << 16


@dataclass(frozen=True)
class Refuse:
    """Answer with this status; the registry never sees the request. The body of the request is read or not."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    read_first: bool = True


@dataclass(frozen=True)
class Drop:
    """Pass on so many bytes of the request's body, then close the connections; with 0 not even its head."""

    after: int = 0


@dataclass(frozen=True)
class DropAnswer:
    """Pass on so many bytes of the answer, head included, then close the connections."""

    after: int = 0


@dataclass(frozen=True)
class Hang:
    """Take so many bytes of the request's body, and then neither read nor answer until the fault is lifted."""

    after: int = 0


Action = Refuse | Drop | DropAnswer | Hang


@dataclass
class Fault:
    """An action, what it applies to, and how often it has happened.

    Attributes:
        action: What goes wrong.
        method: The HTTP method, None for any.
        path: A regular expression that path and query have to contain.
        times: How often at most, None for always.
        hits: How often it has happened.
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

    def takes(self, method: str, path: str) -> bool:
        """Whether it happens to this request; then it is counted."""
        taken = (
            not self.lifted.is_set()
            and self.method in {None, method}
            and re.search(self.path, path) is not None
            and (self.times is None or self.hits < self.times)
        )
        if taken:
            self.hits += 1
            self._hit.set()
        return taken


@dataclass(frozen=True)
class Request:
    """One request as it came.

    Attributes:
        method: Of HTTP.
        path: With its query.
        headers: With names in lower case.
    """

    method: str
    path: str
    headers: dict[str, str]


class RegistryProxy:
    """The proxy while the `with` block lasts; plain HTTP, one request a connection.

    Args:
        upstream: `HOST:PORT` of the registry.

    Attributes:
        host: Where it listens, `127.0.0.1:PORT`.
        requests: What came, in order.
    """

    def __init__(self, upstream: str) -> None:
        host, _, port = upstream.rpartition(":")
        self._upstream = (host, int(port))
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests: list[Request] = []
        self._thread = threading.Thread(target=self._accept, name="registry-proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for fault in self._faults:
            fault.lifted.set()
        # close() alone does not wake the thread that waits in accept()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    @property
    def url(self) -> str:
        """Where it listens, with the scheme."""
        return f"http://{self.host}"

    @contextmanager
    def fault(
        self, action: Action, *, method: str | None = None, path: str = "", times: int | None = None
    ) -> Iterator[Fault]:
        """Let `action` happen to matching requests while the block lasts; the newest matching fault wins."""
        fault = Fault(action, method, path, times)
        self._faults.insert(0, fault)
        try:
            yield fault
        finally:
            fault.lifted.set()
            self._faults.remove(fault)

    def asked(self, *methods: str) -> list[str]:
        """`METHOD path` of the requests so far with one of these methods; of all if none is given."""
        return [f"{r.method} {r.path}" for r in list(self.requests) if not methods or r.method in methods]

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            head, rest = _read_head(client)
            if not head:
                return
            request = _parse(head)
            with self._lock:
                self.requests.append(request)
                fault = next((each for each in self._faults if each.takes(request.method, request.path)), None)
            body = _body(client, rest, int(request.headers.get("content-length", "0")))
            action = fault.action if fault else None
            if isinstance(action, Refuse):
                for _ in body if action.read_first else ():
                    pass
                client.sendall(_answer(action))
            elif isinstance(action, Hang):
                assert fault is not None
                _take(body, action.after)
                fault.lifted.wait()
            else:
                self._forward(client, head, body, action)

    def _forward(
        self, client: socket.socket, head: bytes, body: Iterator[bytes], action: Drop | DropAnswer | None
    ) -> None:
        left = action.after if isinstance(action, Drop) else None
        if left == 0:
            return
        with socket.create_connection(self._upstream) as upstream:
            upstream.sendall(re.sub(rb"\r\n\r\n$", b"\r\nConnection: close\r\n\r\n", head))
            for piece in body:
                if left is not None and len(piece) >= left:
                    upstream.sendall(piece[:left])
                    return
                left = left - len(piece) if left is not None else None
                upstream.sendall(piece)
            if left is not None:
                return
            left = action.after if isinstance(action, DropAnswer) else None
            while piece := upstream.recv(_PIECE):
                if left is not None and len(piece) >= left:
                    client.sendall(piece[:left])
                    return
                left = left - len(piece) if left is not None else None
                client.sendall(piece)


def _read_head(client: socket.socket) -> tuple[bytes, bytes]:
    buffer = b""
    while b"\r\n\r\n" not in buffer:
        piece = client.recv(_PIECE)
        if not piece:
            return b"", b""
        buffer += piece
    head, end, rest = buffer.partition(b"\r\n\r\n")
    return head + end, rest


def _parse(head: bytes) -> Request:
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return Request(method, path, headers)


def _body(client: socket.socket, begun: bytes, length: int) -> Iterator[bytes]:
    if begun:
        yield begun
    left = length - len(begun)
    while left > 0:
        piece = client.recv(min(_PIECE, left))
        if not piece:
            return
        left -= len(piece)
        yield piece


def _take(body: Iterator[bytes], count: int) -> None:
    while count > 0:
        piece = next(body, b"")
        if not piece:
            return
        count -= len(piece)


def _answer(refusal: Refuse) -> bytes:
    lines = [
        f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}",
        f"Content-Length: {len(refusal.body)}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in refusal.headers),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + refusal.body
