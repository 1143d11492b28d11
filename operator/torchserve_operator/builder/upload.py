"""A blob on its way into a repository: one pass, its digest computed on the way, begun anew when it breaks.

POST opens a session, one PATCH carries everything, PUT closes with the digest. A session that will not be closed is
deleted, so that the registry keeps no half blobs.
"""

import contextlib
import dataclasses
import hashlib
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlencode, urlsplit

from urllib3 import BaseHTTPResponse

from torchserve_operator.builder.cancel import Cancellation
from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.patience import TryFailedError
from torchserve_operator.builder.registry import Call, Repository, discard

COMMIT_TIMEOUT = 600.0
"""Seconds that a registry may take to close a large upload: some read it all once more."""
_DELETIONS = 4
_SETTLES = 0.05
"""Seconds until a registry has noticed that a connection was closed."""
_AHEAD = 4
"""Pieces that may wait for being hashed."""

Sent = Callable[[int], None]
"""Told how many bytes went out; negative where they go out once more."""


@dataclass(frozen=True, slots=True)
class Blob:
    """What is uploaded.

    Attributes:
        name: For errors, such as `the layer of model digits`.
        size: Exactly how many bytes `chunks` yields.
        chunks: A new iterator at each call.
        digest: `sha256:…` if it is known beforehand; empty if the upload shall compute it.
    """

    name: str
    size: int
    chunks: Callable[[], Iterator[bytes]]
    digest: str = ""


def of_bytes(name: str, content: bytes) -> Blob:
    """Make a blob of what is in memory."""
    return Blob(name, len(content), lambda: iter((content,)), f"sha256:{hashlib.sha256(content).hexdigest()}")


class _SourceFailedError(Exception):
    """The source of the bytes failed, not the registry: urllib3 takes an OSError for the connection's."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class _Hash:
    """SHA-256 in a thread beside the one that sends: hashlib lets go of the interpreter's lock."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._pending: deque[Future[None]] = deque()
        self._pool = ThreadPoolExecutor(1, "sha256")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def update(self, piece: bytes) -> None:
        while len(self._pending) >= _AHEAD:
            self._pending.popleft().result()
        self._pending.append(self._pool.submit(self._hash.update, piece))

    def digest(self) -> str:
        while self._pending:
            self._pending.popleft().result()
        return f"sha256:{self._hash.hexdigest()}"


def mount(target: Repository, digest: str, source: str) -> bool:
    """Take a blob over from another repository of the same registry; False if that is not possible.

    Raises:
        BuildError: The target cannot be written to.
    """
    query = urlencode({"mount": digest, "from": source})
    call = target.call(
        "POST",
        f"/v2/{target.path}/blobs/uploads/?{query}",
        f"push to {target.path}",
        {201, 202},
        headers={"Content-Length": "0"},
        also_read=source,
    )
    response = target.registry.request(call)
    if response.status == 202:
        _delete(target, _location(target, response, call))
    discard(response)
    return response.status == 201


def upload(target: Repository, blob: Blob, sent: Sent | None = None) -> str:
    """Upload a blob and return its digest.

    Args:
        target: Where to.
        blob: What.
        sent: Told of progress.

    Raises:
        BuildError: The registry refuses it or breaks off again and again, or the source of the bytes fails.
    """
    registry = target.registry
    return registry.patience.persist(lambda: _once(target, blob, sent or (lambda _: None)), registry.cancellation)


def _once(target: Repository, blob: Blob, sent: Sent) -> str:
    doing = f"push {blob.name} to {target.path}"
    opening = target.call("POST", f"/v2/{target.path}/blobs/uploads/", doing, {202}, headers={"Content-Length": "0"})
    response = target.registry.attempt(opening)
    session = _location(target, response, opening)
    discard(response)
    stream = _Stream(blob, sent, target.registry.cancellation)
    try:
        session = _patch(target, stream, session, doing)
        url = session + ("&" if "?" in session else "?") + urlencode({"digest": stream.digest})
        closing = target.call(
            "PUT", url, doing, {201, 204}, headers={"Content-Length": "0"}, read_timeout=COMMIT_TIMEOUT
        )
        discard(target.registry.attempt(closing))
    except BaseException:
        stream.take_back()
        _delete(target, session)
        raise
    return stream.digest


def _patch(target: Repository, stream: "_Stream", session: str, doing: str) -> str:
    """Send the content; return where to close the session."""
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(stream.size)}
    call = target.call("PATCH", session, doing, {202, 204}, headers=headers, body=stream.begin)
    try:
        response = target.registry.attempt(call)
    except _SourceFailedError as failure:
        raise failure.cause from failure
    finally:
        stream.close()
    session = _location(target, response, call)
    discard(response)
    if stream.count != stream.size:
        raise TryFailedError(
            BuildError(target.field, f"cannot {doing}: {target.registry.name} took only a part of it"), transient=True
        )
    return session


class _Stream:
    """One blob's bytes as they go out, as often as the request is repeated."""

    def __init__(self, blob: Blob, sent: Sent, cancellation: Cancellation) -> None:
        self._blob = blob
        self._sent = sent
        self._cancellation = cancellation
        self._current: Generator[bytes] | None = None
        self.count = 0
        self.size = blob.size
        self.digest = blob.digest

    def begin(self) -> Iterator[bytes]:
        self.close()
        self.take_back()
        self._current = self._pieces()
        return self._current

    def take_back(self) -> None:
        """Say that what went out does not count."""
        self._sent(-self.count)
        self.count = 0

    def close(self) -> None:
        if self._current is not None:
            self._current.close()

    def _pieces(self) -> Generator[bytes]:
        with contextlib.ExitStack() as stack:
            hashing = None if self._blob.digest else stack.enter_context(_Hash())
            try:
                for piece in self._blob.chunks():
                    self._cancellation.check()
                    if hashing is not None:
                        hashing.update(piece)
                    yield piece
                    self.count += len(piece)
                    self._sent(len(piece))
            except Exception as error:
                raise _SourceFailedError(error) from error
            if hashing is not None:
                self.digest = hashing.digest()


def _location(target: Repository, response: BaseHTTPResponse, call: Call) -> str:
    location = response.headers.get("Location", "")
    if not location:
        message = f"cannot {call.doing}: {target.registry.name} does not say where to"
        raise TryFailedError(BuildError(target.field, message), transient=False)
    url = target.registry.resolve(location, target.registry.resolve(call.url))
    if target.registry.origin.startswith("https:") and urlsplit(url).scheme != "https":
        message = f"cannot {call.doing}: {target.registry.name} sends this builder on to a place without TLS"
        raise TryFailedError(BuildError(target.field, message), transient=False)
    return url


def _delete(target: Repository, session: str) -> None:
    """End a session that will not be used; a registry that does not know how forgets it by itself."""
    known = {200, 202, 204, 400, 404, 405, 416}
    ending = target.call("DELETE", session, "end an upload", known, read_timeout=3.0)
    asking = target.call("GET", session, "end an upload", {200, 202, 204}, read_timeout=3.0)
    with contextlib.suppress(TryFailedError):
        for _ in range(_DELETIONS):
            response = target.registry.attempt(ending)
            discard(response)
            if response.status not in {400, 416}:
                return
            # Broken off in the middle, it has another state by now, until the registry has read what was on its way.
            time.sleep(_SETTLES)
            response = target.registry.attempt(asking)
            discard(response)
            ending = dataclasses.replace(ending, url=_location(target, response, asking))
