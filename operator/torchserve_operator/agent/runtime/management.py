"""TorchServe's management API on loopback, and our own statistics beside it. No http.client: it imports ssl."""

from __future__ import annotations

import json
import socket
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

STATS = "/torchserve-operator/stats"
_MAX_ANSWER = 8 << 20


class Worker(NamedTuple):
    """One worker process of a model."""

    id: str
    status: str
    """READY, LOADING or STOPPED; UNLOADING (not ready, either way) when TorchServe's own API says it."""
    pid: int
    """-1 before it has started."""


class ModelView(NamedTuple):
    """One model as the server has it."""

    minimum: int
    maximum: int
    """TorchServe's own idea of its bounds."""
    workers: Tuple[Worker, ...]
    queued: int
    in_flight: int = 0

    @property
    def ready(self) -> int:
        """How many workers answer."""
        return sum(1 for worker in self.workers if worker.status == "READY")


class Observation(NamedTuple):
    """What the server says at one moment."""

    models: Dict[str, Optional[ModelView]]
    """By name; None: the server does not have it."""
    stats: Optional[Dict[str, Any]]
    """StatsHandler's document; None without our classes."""


class ManagementError(Exception):
    """The server did not answer, or not as expected. Says nothing on the models' state: it is unknown."""


class Client:
    """Talks to one server. Each call opens a connection: once a second on loopback, that is nothing."""

    def __init__(self, port: int, timeout: float = 2.0) -> None:
        self._port = port
        self._timeout = timeout

    def observe(self, names: List[str], *, graceful: bool) -> Observation:
        """The state of the named models. Raises ManagementError."""
        if graceful:
            try:
                stats = self._json("GET", STATS)
                return Observation({name: _from_stats(stats["models"].get(name) or {}) for name in names}, stats)
            except (ManagementError, KeyError, TypeError, AttributeError):
                pass  # not up yet, which the next call will say, or a server that our classes read only in part
        return Observation({name: self.describe(name) for name in names}, None)

    def describe(self, name: str) -> Optional[ModelView]:
        """`GET /models/NAME`: None when it is not registered. Dear on GPUs: runs nvidia-smi for each worker."""
        status, body = self.call("GET", "/models/%s" % _quoted(name))
        if status == 404:
            return None
        try:
            return _from_description(json.loads(body)[0])
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise ManagementError("GET /models/%s answered %d: %r" % (name, status, error)) from error

    def scale(self, name: str, workers: int) -> None:
        """Sets both bounds to `workers`: with others, TorchServe scales down to the upper one only.

        Returns at once, while workers load. Raises ManagementError when the server refuses.
        """
        path = "/models/%s?min_worker=%d&max_worker=%d" % (_quoted(name), workers, workers)
        status, body = self.call("PUT", path)
        if status >= 300:
            raise ManagementError("PUT %s answered %d: %s" % (path, status, body[:200].decode("utf-8", "replace")))

    def _json(self, method: str, path: str) -> Dict[str, Any]:
        status, body = self.call(method, path)
        try:
            document = json.loads(body)
        except ValueError:
            document = None
        if status != 200 or not isinstance(document, dict):
            raise ManagementError("%s %s answered %d" % (method, path, status))
        return document

    def call(self, method: str, path: str) -> Tuple[int, bytes]:
        """One request without a body: status and body of the answer. Raises ManagementError."""
        request = "%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n" % (method, path)
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=self._timeout) as connection:
                connection.sendall(request.encode("ascii"))
                return _read_answer(connection)
        except (OSError, ValueError, IndexError) as error:
            raise ManagementError("%s %s: %s" % (method, path, error)) from error


def _quoted(name: str) -> str:
    """A path segment; urllib.parse would be the largest module of this process."""
    safe = b"-._~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return "".join(chr(byte) if byte in safe else "%%%02X" % byte for byte in name.encode("utf-8"))


def _read_answer(connection: socket.socket) -> Tuple[int, bytes]:
    """Status and body. TorchServe always sends a Content-Length."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _receive(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    status = int(lines[0].split()[1])
    length = 0
    for line in lines[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == b"content-length":
            length = int(value)
    if length > _MAX_ANSWER:
        raise ValueError("an answer of %d bytes" % length)
    while len(body) < length:
        body += _receive(connection)
    return status, body


def _receive(connection: socket.socket) -> bytes:
    block = connection.recv(1 << 16)
    if not block:
        raise OSError("the server closed the connection")
    return block


def _from_stats(model: Dict[str, Any]) -> Optional[ModelView]:
    if not model.get("registered"):
        return None
    return ModelView(
        model["minWorkers"],
        model["maxWorkers"],
        tuple(Worker(worker["id"], worker["status"], worker["pid"]) for worker in model["workers"]),
        model["queued"],
        model["inFlight"],
    )


def _from_description(model: Dict[str, Any]) -> ModelView:
    queue = model.get("jobQueueStatus") or {}
    return ModelView(
        model["minWorkers"],
        model["maxWorkers"],
        tuple(Worker(str(worker["id"]), worker["status"], worker["pid"]) for worker in model.get("workers") or []),
        queue.get("pendingRequests", 0),
    )
