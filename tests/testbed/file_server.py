"""A web server on the loopback that has files and habits: with ranges or without, with credentials, over TLS, broken.

with FileServer({"/digits.mar": content}, ranges=False) as server:
    ... server.url("/digits.mar") ...
"""

import base64
import hashlib
import re
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

USER = "robot"
PASSWORD = "correct horse battery"
TOKEN = "tok-3f9a77c1"
_PIECE = 1 << 16


@dataclass
class Habits:
    """How the server is; tests change it while it runs.

    Attributes:
        ranges: Whether it gives parts.
        etag: Makes the ETag of a content; None: there is none.
        modified: The Last-Modified header; empty: there is none.
        length: Whether it says how long an answer is (it closes the connection at the end otherwise).
        auth: `basic`, `bearer`, or nothing asked.
        redirects: Path → where it points.
        cuts: Bytes of the body after which a connection is closed, one a request, while there are any.
        refusals: Status and headers that are answered instead, one a request, while there are any.
        pause: Called before each piece of a body.
    """

    ranges: bool = True
    etag: Callable[[bytes], str] | None = lambda content: f'"{hashlib.md5(content).hexdigest()}"'  # noqa: S324
    modified: str = ""
    length: bool = True
    auth: str = ""
    redirects: dict[str, str] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    refusals: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    pause: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Request:
    """One request as it came; header names in lower case."""

    path: str
    headers: dict[str, str]


class FileServer:
    """Serves while the `with` block lasts.

    Args:
        files: Path → content.
        certificate: Files of a certificate for `localhost` and of its key, for TLS; None: plain HTTP.
        habits: As of `Habits`.

    Attributes:
        files: May be changed while it serves.
        habits: The same.
        requests: What came, in order.
        sent: Bytes of bodies that were given to the connections.
    """

    def __init__(
        self, files: Mapping[str, bytes], *, certificate: tuple[Path, Path] | None = None, habits: Habits | None = None
    ) -> None:
        self.files = dict(files)
        self.habits = habits or Habits()
        self.requests: list[Request] = []
        self.sent = 0
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"server_": self}))
        self._tls = certificate is not None
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            # The handshake is the connection's own thread's: one client that breaks it off keeps no other waiting.
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def host(self) -> str:
        """`localhost:PORT` with TLS, `127.0.0.1:PORT` without."""
        return f"{'localhost' if self._tls else '127.0.0.1'}:{self._server.server_port}"

    def url(self, path: str) -> str:
        """A file's URL."""
        return f"{'https' if self._tls else 'http'}://{self.host}{path}"

    def ranges_asked(self) -> list[str]:
        """The Range headers of the requests so far, empty where there was none."""
        return [request.headers.get("range", "") for request in self.requests]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that go away in the middle are what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server_: FileServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server, habits = self.server_, self.server_.habits
        server.requests.append(Request(self.path, {name.lower(): value for name, value in self.headers.items()}))
        path = urlsplit(self.path).path
        if habits.refusals:
            status, headers = habits.refusals.pop(0)
            self._answer(status, b"<html>secret of the server</html>", headers)
        elif path in habits.redirects:
            self._answer(302, b"", {"Location": habits.redirects[path]})
        elif habits.auth and self.headers.get("Authorization") != _expected(habits.auth):
            self._answer(401, b"", {"WWW-Authenticate": 'Basic realm="files"'})
        elif path not in server.files:
            self._answer(404, b"no such thing", {})
        else:
            self._file(server.files[path])

    def _file(self, content: bytes) -> None:
        habits = self.server_.habits
        headers = {"ETag": habits.etag(content)} if habits.etag else {}
        if habits.modified:
            headers["Last-Modified"] = habits.modified
        if habits.etag and self.headers.get("If-Match", habits.etag(content)) != habits.etag(content):
            self._answer(412, b"", headers)
            return
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not (habits.ranges and asked):
            self._answer(200, content, headers)
            return
        start, end = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
        if start >= len(content):
            self._answer(416, b"", {**headers, "Content-Range": f"bytes */{len(content)}"})
            return
        self._answer(
            206,
            memoryview(content)[start : end + 1],
            {**headers, "Content-Range": f"bytes {start}-{end}/{len(content)}"},
        )

    def _answer(self, status: int, body: bytes | memoryview, headers: Mapping[str, str]) -> None:
        habits = self.server_.habits
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if habits.length:
            self.send_header("Content-Length", str(len(body)))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        # the first byte only tells what the file is: cuts are for what is read
        cut = habits.cuts.pop(0) if habits.cuts and len(body) > 1 and status in {200, 206} else None
        for start in range(0, len(body), _PIECE):
            habits.pause()
            piece = body[start : min(start + _PIECE, len(body) if cut is None else cut)]
            self.server_.sent += len(piece)
            try:
                self.wfile.write(piece)
            except OSError:
                self.close_connection = True
                return
            if cut is not None and start + _PIECE >= cut:
                self.close_connection = True
                return

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  the base's name
        """Say nothing: the tests read `requests`."""


def _expected(auth: str) -> str:
    if auth == "bearer":
        return f"Bearer {TOKEN}"
    return f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"
