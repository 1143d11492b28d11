"""A load client that checks every answer. Runs in a pod, with the standard library alone: see load.py.

``load_client.py ORDERS``: a JSON file with all of Orders' keys. Prints a line of JSON when every loop has its first
answer (``{"underway": true}``) and the summary as the last line. Ends after `seconds` or `requests`, or at SIGINT.

Nothing is sent again: whatever has not exactly the expected answer is lost.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import signal
import ssl
import sys
import threading
import time
from pathlib import Path
from typing import TypedDict
from urllib.parse import urlsplit


class Orders(TypedDict):
    """What to do."""

    url: str
    """Where to POST, http or https."""
    ca: str | None
    """The file with the certificate authority; None for http."""
    new: int
    """Loops that open a connection for each request."""
    kept: int
    """Loops that keep their connection for as long as the server lets them."""
    seconds: float
    requests: int
    """The most that all loops together send."""
    timeout: float
    """Seconds that one request may take."""
    service_seconds: float
    """How long `sleepy` is to sleep; each request has a time of its own, which its answer must name."""
    faulty_every: int
    """Every n-th request is one that the handler fails at; any status but 200 is its right answer. 0: none."""


class Load:
    """The loops and what they have seen."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._target = urlsplit(orders["url"])
        self._context = ssl.create_default_context(cafile=orders["ca"]) if orders["ca"] else None
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._began = time.monotonic()
        self._answered: set[int] = set()
        self._numbers = iter(range(1, orders["requests"] + 1))
        self.seen: dict[str, dict[str, int]] = {
            mode: {"sent": 0, "ok": 0, "connections": 0, "dismissed": 0} for mode in ("new", "kept")
        }
        self.codes: dict[str, int] = {}
        self.lost: list[dict[str, object]] = []
        self.slowest = 0.0
        self.certificates: list[str] = []

    def run(self) -> dict[str, object]:
        """Runs all loops to their end; the summary."""
        modes = ["new"] * self._orders["new"] + ["kept"] * self._orders["kept"]
        threads = [threading.Thread(target=self._loop, args=(number, mode)) for number, mode in enumerate(modes)]
        for thread in threads:
            thread.start()
        while not self._over.wait(timeout=0.2) and any(thread.is_alive() for thread in threads):
            if self._since() > self._orders["seconds"]:
                self._over.set()
        for thread in threads:
            thread.join()
        return {
            "sent": sum(mode["sent"] for mode in self.seen.values()),
            "ok": sum(mode["ok"] for mode in self.seen.values()),
            "lost": self.lost,
            "codes": self.codes,
            "slowest": round(self.slowest, 3),
            "seconds": round(self._since(), 1),
            "certificates": self.certificates,
            **self.seen,
        }

    def stop(self, *_: object) -> None:
        """No further request; those on their way are waited for."""
        self._over.set()

    def _since(self) -> float:
        return time.monotonic() - self._began

    def _loop(self, number: int, mode: str) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self._over.is_set():
            request = self._next(mode)
            if request is None:
                break
            began = time.monotonic()
            error = None
            keep = False
            try:
                if connection is None:
                    connection = self._connect(mode)
                error, keep = self._ask(connection, request, mode)
            except (OSError, http.client.HTTPException, ValueError) as raised:
                error = repr(raised)
            self._note(number, mode, request, error, began)
            if connection is not None and not keep:
                connection.close()
                connection = None
            if error is not None:
                self._over.wait(0.1)
        if connection is not None:
            connection.close()

    def _next(self, mode: str) -> int | None:
        with self._lock:
            request = next(self._numbers, None)
            if request is not None:
                self.seen[mode]["sent"] += 1
            return request

    def _connect(self, mode: str) -> http.client.HTTPConnection:
        host, timeout = str(self._target.hostname), self._orders["timeout"]
        connection = (
            http.client.HTTPConnection(host, self._target.port, timeout=timeout)
            if self._context is None
            else http.client.HTTPSConnection(host, self._target.port, timeout=timeout, context=self._context)
        )
        connection.connect()
        with self._lock:
            self.seen[mode]["connections"] += 1
            if isinstance(connection.sock, ssl.SSLSocket):
                served = hashlib.sha256(connection.sock.getpeercert(binary_form=True) or b"").hexdigest()
                if self.certificates[-1:] != [served]:
                    self.certificates.append(served)
        return connection

    def _ask(self, connection: http.client.HTTPConnection, request: int, mode: str) -> tuple[str | None, bool]:
        """Sends one request; what is wrong with the answer, and whether the connection may be used again."""
        every = self._orders["faulty_every"]
        faulty = every > 0 and request % every == 0
        seconds = round(self._orders["service_seconds"] + request * 1e-6, 6)
        body = json.dumps({"seconds": "soon" if faulty else seconds})
        connection.request("POST", self._target.path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        content = response.read()
        # A server that closes without having said so is what costs a client its next request.
        keep = mode == "kept" and not response.will_close
        with self._lock:
            code = str(response.status)
            self.codes[code] = self.codes.get(code, 0) + 1
            self.seen[mode]["dismissed"] += mode == "kept" and not keep
        if faulty:
            return (f"200: {content[:300]!r}" if response.status == 200 else None), keep
        if response.status != 200:
            return f"{response.status}: {content[:300]!r}", keep
        answer = json.loads(content)
        if not isinstance(answer, dict) or answer.get("seconds") != seconds:
            return f"another request's answer: {content[:300]!r}", keep
        return None, keep

    def _note(self, number: int, mode: str, request: int, error: str | None, began: float) -> None:
        took = time.monotonic() - began
        with self._lock:
            self.slowest = max(self.slowest, took)
            if error is None:
                self.seen[mode]["ok"] += 1
                loops = self._orders["new"] + self._orders["kept"]
                if len(self._answered) < loops:
                    self._answered.add(number)
                    if len(self._answered) == loops:
                        print(json.dumps({"underway": True}), flush=True)
            else:
                self.lost.append(
                    {
                        "request": request,
                        "mode": mode,
                        "at": round(time.time(), 2),
                        "took": round(took, 2),
                        "error": error,
                    }
                )


def main() -> None:
    """Reads the orders, runs, and prints the summary."""
    orders: Orders = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    load = Load(orders)
    signal.signal(signal.SIGINT, load.stop)
    signal.signal(signal.SIGTERM, load.stop)
    print(json.dumps(load.run()), flush=True)


if __name__ == "__main__":
    main()
