"""How far a build is: counted by the threads that do it, shown by `GET /status` to whoever asks."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Stage = Literal["resolve", "fetch", "layers", "base", "push", "done"]

_LOOKS = 0.01
"""Seconds between two looks of the server whether it shall end: a build that finds all there waits for it."""


class Progress:
    """Stage, bytes and times of one build.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._began = self._stage_began = clock()
        self._stage: Stage = "resolve"
        self._model = ""
        self._done = self._total = 0
        self._seconds: dict[str, float] = {}

    def enter(self, stage: Stage, model: str = "") -> None:
        """Begin a stage; the time so far is the one's before."""
        with self._lock:
            now = self._clock()
            self._seconds[self._stage] = self._seconds.get(self._stage, 0.0) + now - self._stage_began
            self._stage, self._model, self._stage_began = stage, model, now

    def expect(self, count: int) -> None:
        """Say that so many bytes more will be sent."""
        with self._lock:
            self._total += count

    def sent(self, count: int) -> None:
        """Count bytes that were sent; negative where they must be sent once more."""
        with self._lock:
            self._done += count

    @property
    def bytes_sent(self) -> int:
        """Bytes that were sent and counted."""
        with self._lock:
            return self._done

    def seconds(self) -> dict[str, float]:
        """Seconds of each stage so far, and `total`."""
        with self._lock:
            now = self._clock()
            found = {**self._seconds, self._stage: self._seconds.get(self._stage, 0.0) + now - self._stage_began}
            found.pop("done", None)
            return {stage: round(took, 3) for stage, took in found.items()} | {"total": round(now - self._began, 3)}

    def snapshot(self) -> dict[str, Any]:
        """Return what `/status` answers."""
        with self._lock:
            return {
                "schema": 1,
                "stage": self._stage,
                "model": self._model,
                "bytesDone": self._done,
                "bytesTotal": self._total,
                "seconds": round(self._clock() - self._began, 1),
            }


@contextmanager
def served(progress: Progress, port: int, address: str = "") -> Iterator[int]:
    """Serve `GET /status` in a thread while the block lasts; yield the port (another one if 0 was asked for)."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 5.0

        def do_GET(self) -> None:
            known = self.path.partition("?")[0] == "/status"
            body = json.dumps(progress.snapshot() if known else {"error": "there is only /status"}).encode()
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  the base's name
            """Say nothing: it is asked every few seconds."""

    server = ThreadingHTTPServer((address, port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(_LOOKS,), name="status", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
