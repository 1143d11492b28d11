"""Scratch space: files without a name, that go when nobody reads them any more, counted and capped."""

import contextlib
import errno
import io
import os
import tempfile
import threading
import weakref
from pathlib import Path
from typing import BinaryIO, Final, NoReturn

from torchserve_operator.builder.errors import BuildError

FIELD: Final = "spec.build.spoolLimit"
_BUFFER: Final = 1 << 18


class Spool:
    """Scratch space of one build, for several threads.

    Args:
        folder: Where the files lie; made when first needed.
        limit: The most bytes of all of them together.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit
        self._lock = threading.Lock()
        self._used = self._peak = 0

    @property
    def used(self) -> int:
        """Bytes that lie there now."""
        return self._used

    @property
    def peak(self) -> int:
        """The most bytes that lay there at once."""
        return self._peak

    def file(self, of: str) -> "SpoolFile":
        """Make an empty file.

        Args:
            of: What will lie in it, for messages.

        Raises:
            BuildError: The folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder, buffering=0) as file:
                return SpoolFile(self, os.dup(file.fileno()), of)
        except OSError as error:
            self.refuse(of, error)

    def take(self, count: int, of: str) -> None:
        """Count bytes before they are written.

        Raises:
            BuildError: That would be over the limit.
        """
        with self._lock:
            if self._used + count > self.limit:
                raise BuildError(
                    FIELD,
                    f"{of} cannot be read in any order where it lies, and does not fit into the "
                    f"{self.limit:,} bytes of scratch space",
                    "raise it, or put the file where parts can be asked for: S3, a volume, a web server with ranges",
                )
            self._used += count
            self._peak = max(self._peak, self._used)

    def give_back(self, count: int) -> None:
        """Count bytes that are gone."""
        with self._lock:
            self._used -= count

    def refuse(self, of: str, error: OSError) -> NoReturn:
        """Raise what a failed write means."""
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise BuildError(
                FIELD,
                f"the disk with the scratch space is full: {of} does not fit, {self._used:,} bytes lie there",
                "free space on the node, or put the file where parts can be asked for: S3, a volume, "
                "a web server with ranges",
            ) from None
        raise BuildError(
            FIELD, f"the scratch folder {self.folder} cannot be written ({error.strerror}), for {of}"
        ) from None


class SpoolFile:
    """One file of scratch space; it is freed with the last that refers to it."""

    def __init__(self, spool: Spool, descriptor: int, of: str) -> None:
        self._spool = spool
        self._descriptor = descriptor
        self._of = of
        self._size = [0]
        weakref.finalize(self, _free, spool, descriptor, self._size)

    @property
    def size(self) -> int:
        """Bytes written."""
        return self._size[0]

    def write(self, piece: bytes) -> None:
        """Append.

        Raises:
            BuildError: The limit is reached or the disk full.
        """
        self._spool.take(len(piece), self._of)
        self._size[0] += len(piece)
        left = memoryview(piece)
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError as error:
            self._spool.refuse(self._of, error)

    def clear(self) -> None:
        """Begin anew."""
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._spool.give_back(self._size[0])
        self._size[0] = 0

    def open(self) -> BinaryIO:
        """Return a new handle that can seek."""
        return io.BufferedReader(_Handle(self, self._descriptor), _BUFFER)


class _Handle(io.RawIOBase):
    """Reads at a position of its own; keeps the file."""

    def __init__(self, file: SpoolFile, descriptor: int) -> None:
        self._file = file
        self._descriptor = descriptor
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = positioned(offset, whence, self._position, self._file.size)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # any writable buffer
        count = os.preadv(self._descriptor, [buffer], self._position)
        self._position += count
        return count


def positioned(offset: int, whence: int, position: int, size: int) -> int:
    """Return where a `seek` goes; ValueError before the beginning, as files raise it."""
    start = {os.SEEK_SET: 0, os.SEEK_CUR: position, os.SEEK_END: size}[whence]
    if start + offset < 0:
        raise ValueError(f"negative seek position {start + offset}")
    return start + offset


def _free(spool: Spool, descriptor: int, size: list[int]) -> None:
    with contextlib.suppress(OSError):
        os.close(descriptor)
    spool.give_back(size[0])
