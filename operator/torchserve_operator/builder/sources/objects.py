"""Single objects, opened: known by an identity at once, read when they are wanted, never more than was allowed."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from typing import BinaryIO

from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.files import CHUNK
from torchserve_operator.builder.patience import TryFailedError
from torchserve_operator.builder.sources.access import Access
from torchserve_operator.builder.sources.reading import Body, Digests, Reader, Remote, buffered, pieces
from torchserve_operator.builder.sources.spool import SpoolFile


class Limits:
    """What an object must be.

    Attributes:
        field: Its source's place in the resource, such as `spec.models[0].archive`.
        shown: The object, for people.
        most: The most bytes.
        sha256: In hex; empty if it was not given.
    """

    def __init__(self, field: str, shown: str, most: int, sha256: str) -> None:
        self.field = field
        self.shown = shown
        self.most = most
        self.sha256 = sha256

    def check_size(self, size: int) -> None:
        """Raise BuildError for more bytes than are allowed."""
        if size > self.most:
            hint = "raise maxSize if that is meant"
            raise BuildError(f"{self.field}.maxSize", f"{self.shown} has more than {self.most:,} bytes", hint)

    def check_digest(self, found: str) -> None:
        """Raise BuildError for another digest than the one that was given."""
        if self.sha256 and found != self.sha256:
            message = f"{self.shown} has the SHA-256 {found}, expected was {self.sha256}"
            raise BuildError(f"{self.field}.sha256", message, "was it replaced, or cut off when it was uploaded?")


class SeekableObject:
    """An object of which parts can be asked for, where it lies.

    With a checksum, or where nothing tells whether the object changes, it is read once before anything is made of
    it, and whatever is read later is compared with that.

    Args:
        name: For people.
        remote: The object.
        identity: What it is known by; empty: by its content.
        limits: What it must be.
        access: How to read.
        changed: Makes the error for an object that is another when it is read again.
    """

    random_access = True

    def __init__(
        self,
        name: str,
        remote: Remote,
        identity: str,
        *,
        limits: Limits,
        access: Access,
        changed: Callable[[], BuildError],
    ) -> None:
        limits.check_size(remote.size)
        self.name = name
        self.size: int | None = remote.size
        self._remote = remote
        self._limits = limits
        self._access = access
        self._changed = changed
        self._digests: Digests | None = None
        self._lock = threading.Lock()
        self._verified = not limits.sha256
        if limits.sha256:
            self.identity = f"sha256:{limits.sha256}"
        else:
            self.identity = identity or f"sha256:{self._seen().hexdigest}"

    def open(self) -> BinaryIO:
        """Return a new handle; its content is verified when this returns, and again as it is read.

        Raises:
            BuildError: The object is not what it must be.
        """
        if not self._verified:
            self._limits.check_digest(self._seen().hexdigest)
            self._verified = True
        access = self._access
        return buffered(Reader(self._remote, access.patience, access.cancellation, self._digests, self._changed))

    def _seen(self) -> Digests:
        with self._lock:
            if self._digests is None:
                self._digests = Digests(pieces(self._remote, self._access.patience, self._access.cancellation))
            return self._digests


class SpooledObject:
    """An object that is to be had as a whole only: it is copied to scratch space when it is opened.

    Args:
        name: For people.
        size: In bytes, if the server says it.
        identity: What it is known by; empty: by its content, for which it is fetched at once.
        fetch: Asks once for all of it.
        limits: What it must be.
        access: How to read, and the scratch space.
    """

    random_access = False

    def __init__(
        self, name: str, size: int | None, identity: str, fetch: Callable[[], Body], *, limits: Limits, access: Access
    ) -> None:
        limits.check_size(size or 0)
        self.name = name
        self.size = size
        self._fetch = fetch
        self._limits = limits
        self._access = access
        self._file: SpoolFile | None = None
        self._digest = ""
        self._lock = threading.Lock()
        if limits.sha256:
            self.identity = f"sha256:{limits.sha256}"
        elif identity:
            self.identity = identity
        else:
            self._spooled()
            self.identity = f"sha256:{self._digest}"

    def open(self) -> BinaryIO:
        """Return a new handle of the copy, which is verified.

        Raises:
            BuildError: It does not fit, or is not what it must be.
        """
        return self._spooled().open()

    def _spooled(self) -> SpoolFile:
        with self._lock:
            if self._file is None:
                file = self._access.spool.file(self._limits.shown)
                self._access.patience.persist(lambda: self._copy(file), self._access.cancellation)
                self._limits.check_digest(self._digest)
                self.size, self._file = file.size, file
            return self._file

    def _copy(self, file: SpoolFile) -> None:
        file.clear()
        digest = hashlib.sha256()
        body = self._fetch()
        try:
            while piece := body.read(CHUNK):
                self._access.cancellation.check()
                self._limits.check_size(file.size + len(piece))
                digest.update(piece)
                file.write(piece)
        finally:
            body.close()
        if self.size is not None and file.size != self.size:
            error = BuildError(f"{self._limits.field}.url", f"{self._limits.shown} ended early")
            raise TryFailedError(error, transient=True)
        self._digest = digest.hexdigest()


def streamed(remote: Remote, access: Access) -> Callable[[], Iterator[bytes]]:
    """Return what yields all of an object, with one request each time: a file of a layer."""
    return lambda: pieces(remote, access.patience, access.cancellation)
