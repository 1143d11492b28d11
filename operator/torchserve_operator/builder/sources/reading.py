"""Objects that lie elsewhere, read as files: in order with one request, in any order in blocks, in constant memory.

A reader asks for one block (1 MiB) where it lands; when the next one is wanted too, everything from there on is asked
for at once and read as it comes. So a zip's directory costs one small request, and a whole archive two.
"""

import hashlib
import io
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, Protocol

from torchserve_operator.builder.cancel import Cancellation
from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.files import CHUNK
from torchserve_operator.builder.patience import Patience, TryFailedError
from torchserve_operator.builder.sources.spool import positioned

BLOCK: Final = 1 << 20
BLOCKS: Final = 4
"""How many a handle keeps: 4 MiB, and one more on its way."""
_SKIP: Final = 4 * BLOCK
"""Bytes that are rather read and dropped than left out by a new request."""


class Body(Protocol):
    """The bytes of one answer."""

    def read(self, count: int, /) -> bytes:
        """Return at most `count` bytes, none at the end; TryFailedError if the connection breaks."""
        ...

    def close(self) -> None:
        """Leave the rest."""
        ...


class Remote(Protocol):
    """An object of which parts can be asked for."""

    @property
    def shown(self) -> str:
        """Where it is, for people."""
        ...

    @property
    def field(self) -> str:
        """Where in the resource it is named."""
        ...

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def get(self, start: int, end: int) -> Body:
        """Ask once for bytes `start` to `end` (not included).

        Raises:
            TryFailedError: It did not go.
        """
        ...


class Stream:
    """Part of an object, in order; a connection that breaks is taken up again where it broke.

    Args:
        remote: The object.
        start: The first byte.
        end: The byte behind the last.
        patience: How often without any progress.
        cancellation: Ends waits.
    """

    def __init__(self, remote: Remote, start: int, end: int, patience: Patience, cancellation: Cancellation) -> None:
        self.position = start
        self._remote = remote
        self._end = end
        self._patience = patience
        self._cancellation = cancellation
        self._body: Body | None = None
        self._failed = 0
        self._good_until = start

    def read(self, count: int) -> bytes:
        """Return exactly `count` bytes, fewer only at the end.

        Raises:
            BuildError: It cannot be read.
        """
        count = min(count, self._end - self.position)
        pieces: list[bytes] = []
        while count:
            self._cancellation.check()
            try:
                piece = self._opened().read(count)
                if not piece:
                    ended = BuildError(self._remote.field, f"{self._remote.shown} ended early")
                    self._again(TryFailedError(ended, transient=True))
                    continue
            except TryFailedError as error:
                self._again(error)
                continue
            pieces.append(piece)
            self.position += len(piece)
            count -= len(piece)
        if self.position >= self._end:
            self.close()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """Ask for nothing more."""
        if self._body is not None:
            self._body.close()
            self._body = None

    def _opened(self) -> Body:
        if self._body is None:
            self._body = self._remote.get(self.position, self._end)
        return self._body

    def _again(self, error: TryFailedError) -> None:
        self.close()
        if self.position - self._good_until >= BLOCK:
            self._failed = 0  # a server that cuts every connection after a while is still one that gets there
            self._good_until = self.position
        self._failed += 1
        if not error.transient or self._failed >= self._patience.tries:
            raise error.final from error
        self._cancellation.wait(self._patience.delay(self._failed, error.retry_after))


def pieces(remote: Remote, patience: Patience, cancellation: Cancellation) -> Iterator[bytes]:
    """Yield all of an object in pieces of at most `CHUNK` bytes, asked for once."""
    stream = Stream(remote, 0, remote.size, patience, cancellation)
    try:
        while piece := stream.read(CHUNK):
            yield piece
    finally:
        stream.close()


class Digests:
    """The SHA-256 of an object and of each of its blocks: what is read later is compared with what was seen.

    So an object that may be read in any order, many times and without a copy is still the one whose checksum was
    compared: 32 bytes a block are kept.
    """

    def __init__(self, parts: Iterator[bytes]) -> None:
        whole = hashlib.sha256()
        self._blocks: list[bytes] = []
        block, room, self.size = hashlib.sha256(), BLOCK, 0
        for part in parts:
            whole.update(part)
            self.size += len(part)
            left = memoryview(part)
            while left:
                taken = left[:room]
                block.update(taken)
                room -= len(taken)
                left = left[len(taken) :]
                if not room:
                    self._blocks.append(block.digest())
                    block, room = hashlib.sha256(), BLOCK
        if room < BLOCK:
            self._blocks.append(block.digest())
        self.hexdigest = whole.hexdigest()

    def right(self, number: int, content: bytes) -> bool:
        """Return whether a block is what it was."""
        return number < len(self._blocks) and hashlib.sha256(content).digest() == self._blocks[number]


class Reader(io.RawIOBase):
    """A handle of an object.

    Args:
        remote: The object.
        patience: How often a request is tried.
        cancellation: Ends waits.
        digests: What its blocks must be; None: nothing is known.
        changed: Makes the error for a block that is another.
    """

    def __init__(
        self,
        remote: Remote,
        patience: Patience,
        cancellation: Cancellation,
        digests: Digests | None = None,
        changed: Callable[[], BuildError] | None = None,
    ) -> None:
        self._remote = remote
        self._patience = patience
        self._cancellation = cancellation
        self._digests = digests
        self._changed = changed
        self._position = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._stream: Stream | None = None
        self._last = -2

    def readable(self) -> bool:
        """Return that it is."""
        return True

    def seekable(self) -> bool:
        """Return that it is."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position; nothing is asked for."""
        self._position = positioned(offset, whence, self._position, self._remote.size)
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # any writable buffer
        """Read what is left of one block, at most."""
        wanted = min(len(buffer), self._remote.size - self._position)
        if wanted <= 0:
            return 0
        number, offset = divmod(self._position, BLOCK)
        found = memoryview(self._block(number))[offset : offset + wanted]
        buffer[: len(found)] = found
        self._position += len(found)
        return len(found)

    def close(self) -> None:
        """Ask for nothing more."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        self._blocks.clear()
        super().close()

    def _block(self, number: int) -> bytes:
        found = self._blocks.get(number)
        if found is not None:
            self._blocks.move_to_end(number)
            self._last = number
            return found
        if len(self._blocks) >= BLOCKS:
            self._blocks.popitem(last=False)
        found = self._fetch(number * BLOCK, number == self._last + 1)
        if self._digests is not None and not self._digests.right(number, found) and self._changed is not None:
            raise self._changed()
        self._blocks[number] = found
        self._last = number
        return found

    def _fetch(self, start: int, in_order: bool) -> bytes:
        size = self._remote.size
        if self._stream is not None and 0 <= start - self._stream.position <= _SKIP:
            while self._stream.position < start:
                self._stream.read(min(BLOCK, start - self._stream.position))
            return self._stream.read(BLOCK)
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        if in_order:
            self._stream = Stream(self._remote, start, size, self._patience, self._cancellation)
            return self._stream.read(BLOCK)
        block = Stream(self._remote, start, min(start + BLOCK, size), self._patience, self._cancellation)
        try:
            return block.read(BLOCK)
        finally:
            block.close()


def buffered(reader: io.RawIOBase) -> BinaryIO:
    """Return a handle whose `read` gives all that was asked for."""
    return io.BufferedReader(reader, 1 << 16)
