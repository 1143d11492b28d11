"""The agent's read-only HTTP server: one thread, many connections, no more memory than it needs.

Anybody on the pod network can reach it: so GET only, few bytes read, a bound on connections and on their age. Not
http.server, which takes a thread per connection and imports half the standard library.

A path may hold its bad answers back for a moment: the kubelet asks the startup probe once a second, and a probe that is
under way when the last model has loaded is answered at that moment instead of at the next one.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from typing import Callable, Dict, NamedTuple, Optional, Sequence, Tuple

MAX_CONNECTIONS = 64
MAX_REQUEST = 16384
MAX_AGE = 10.0
"""Seconds for which a connection may be open without a whole request."""
HOLD = 0.9
"""Seconds for which a bad answer is held back: less than the second between two probes."""


class Answer(NamedTuple):
    """What a path answers."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


Handler = Callable[[str], Optional[Answer]]
"""From the path (without query) to the answer; None: there is no such path."""

_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class _Connection:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received = b""
        self.sending = b""
        self.close = False
        self.held: Optional[bytes] = None
        """The request whose bad answer is held back."""
        self.since = time.monotonic()


class WebServer:
    """Serves `handler` in a thread of its own; by default on all addresses, IPv6 and IPv4."""

    def __init__(
        self, port: int, handler: Handler, hosts: Sequence[str] = ("::", ""), holding: Sequence[str] = ()
    ) -> None:
        """Listens on the first of `hosts` that this kernel can; raises OSError when it can none.

        `holding` are the paths whose bad answers are held back until they turn good, or for `HOLD` seconds.
        """
        self._handler = handler
        self._holding = frozenset(holding)
        self._news, self._poke = socket.socketpair()
        self._listener = _listen(hosts, port)
        self.port: int = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._connections: Dict[int, _Connection] = {}
        self._stopping = False

    def start(self) -> None:
        """Begins to answer."""
        self._selector.register(self._listener, selectors.EVENT_READ)
        for end in (self._news, self._poke):
            end.setblocking(False)
        self._selector.register(self._news, selectors.EVENT_READ)
        threading.Thread(target=self._run, name="web", daemon=True).start()

    def changed(self) -> None:
        """Tells that answers may be others now. Called on any thread."""
        with contextlib.suppress(BlockingIOError):  # it has not read the last one yet
            self._poke.send(b"!")

    def stop(self) -> None:
        """Ends the thread at its next turn, and lets go of the port."""
        self._stopping = True
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread

    def _run(self) -> None:
        while not self._stopping:
            for key, events in self._selector.select(timeout=self._pause()):
                if key.fileobj is self._listener:
                    self._accept()
                    continue
                if key.fileobj is self._news:
                    self._news.recv(MAX_REQUEST)
                    continue
                connection = key.data
                try:
                    if events & selectors.EVENT_READ:
                        self._read(connection)
                    self._write(connection)
                except OSError:
                    self._drop(connection)
            self._look_again()
            self._drop_old()
        for connection in list(self._connections.values()):
            self._drop(connection)
        self._selector.close()
        for end in (self._listener, self._news, self._poke):
            end.close()

    def _pause(self) -> float:
        held = [connection.since for connection in self._connections.values() if connection.held is not None]
        return max(0.0, min(held) + HOLD - time.monotonic()) if held else MAX_AGE

    def _look_again(self) -> None:
        for connection in [connection for connection in self._connections.values() if connection.held is not None]:
            try:
                self._serve(connection)
                self._write(connection)
            except OSError:
                self._drop(connection)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        if len(self._connections) >= MAX_CONNECTIONS:
            self._drop(min(self._connections.values(), key=lambda connection: connection.since))
        sock.setblocking(False)
        connection = _Connection(sock)
        self._connections[sock.fileno()] = connection
        self._selector.register(sock, selectors.EVENT_READ, connection)

    def _read(self, connection: _Connection) -> None:
        data = connection.sock.recv(MAX_REQUEST)
        if not data:
            raise ConnectionError
        connection.received += data
        self._serve(connection)
        if len(connection.received) > MAX_REQUEST:
            connection.sending += _render(Answer(400, b"request too long\n"), close=True, body=True)
            connection.close = True

    def _serve(self, connection: _Connection) -> None:
        while not connection.close and (connection.held is not None or b"\r\n\r\n" in connection.received):
            head = connection.held
            if head is None:
                head, _, connection.received = connection.received.partition(b"\r\n\r\n")
                connection.since = time.monotonic()
            patient = time.monotonic() < connection.since + HOLD
            found = self._answer(head, patient=patient)
            if found is None:
                connection.held = head
                return
            connection.held = None
            answer, connection.close = found
            connection.sending += answer

    def _answer(self, head: bytes, *, patient: bool) -> Optional[Tuple[bytes, bool]]:
        """The answer, and whether the connection ends with it; None: later, a patient asker may get a better one."""
        lines = head.split(b"\r\n")
        words = lines[0].split()
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _render(Answer(400, b"not HTTP/1\n"), close=True, body=True), True
        headers = {
            key.strip().lower(): value.strip().lower() for key, _, value in (line.partition(b":") for line in lines[1:])
        }
        if words[0] not in (b"GET", b"HEAD"):
            # A body may follow that we do not read: the connection ends here.
            return _render(Answer(405, b"read-only: GET\n"), close=True, body=True), True
        close = headers.get(b"connection") == b"close" or words[2] == b"HTTP/1.0"
        path = words[1].split(b"?")[0].decode("latin-1")
        try:
            answer = self._handler(path) or Answer(404, b"not found\n")
        except Exception as error:  # noqa: BLE001 - one bad answer must not end the thread that answers probes
            answer = Answer(500, b"%s\n" % repr(error).encode("utf-8", "replace"))
        if patient and answer.status == 503 and path in self._holding:
            return None
        return _render(answer, close=close, body=words[0] == b"GET"), close

    def _write(self, connection: _Connection) -> None:
        if connection.sending:
            try:
                sent = connection.sock.send(connection.sending)
            except BlockingIOError:
                sent = 0
            connection.sending = connection.sending[sent:]
        if not connection.sending and connection.close:
            raise ConnectionError
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.sending else 0)
        self._selector.modify(connection.sock, events, connection)

    def _drop(self, connection: _Connection) -> None:
        if self._connections.pop(connection.sock.fileno(), None) is not None:
            self._selector.unregister(connection.sock)
        connection.sock.close()

    def _drop_old(self) -> None:
        oldest = time.monotonic() - MAX_AGE
        for connection in [c for c in self._connections.values() if c.since < oldest]:
            self._drop(connection)


def _render(answer: Answer, *, close: bool, body: bool) -> bytes:
    head = "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n%s\r\n" % (
        answer.status,
        _REASONS.get(answer.status, "Unknown"),
        answer.content_type,
        len(answer.body),
        "Connection: close\r\n" if close else "",
    )
    return head.encode("ascii") + (answer.body if body else b"")


def _listen(hosts: Sequence[str], port: int) -> socket.socket:
    """`::` takes IPv4 connections too; a kernel or pod without IPv6 refuses it, and "" is IPv4 alone."""
    refused = OSError("no address to listen on")
    for host in hosts:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            listener = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            refused = error
            continue
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind((host, port))
            listener.listen(128)
        except OSError as error:
            refused = error
            listener.close()
            continue
        listener.setblocking(False)
        return listener
    raise refused
