"""Gzip read from the middle: a stream that can be left, marked and entered again at its marks.

Gzip has no random access. A mark is a copy of zlib's state (some 48 KiB), so a file behind a mark costs what lies
between the two and not the whole archive.
"""

import bisect
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO

PIECE = 32 << 10
"""Compressed bytes that are read at once; a mark may hold as many."""

MOST_MARKS = 128
"""Some 10 MiB of memory at most."""
SPACING = 1 << 20
"""The least inflated bytes between two marks; doubled whenever there are too many."""

_GZIP = 31
"""zlib's window of 32 KiB, with gzip's header and checksum."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place to enter the stream at.

    Attributes:
        position: In the inflated stream, in bytes.
        offset: How far the compressed one was read, in bytes.
        state: zlib's, with what it was given and has not used yet; to be copied, not used.
    """

    position: int
    offset: int
    state: Any


class Marks:
    """The marks of one stream, in order: never many, however long it is."""

    def __init__(self) -> None:
        self._marks: list[Mark] = []
        self._spacing = SPACING

    def __len__(self) -> int:
        return len(self._marks)

    def offer(self, stream: "GzipStream") -> None:
        """Mark the stream's present place if the last mark is far enough behind."""
        last = self._marks[-1].position if self._marks else 0
        if stream.position - last >= self._spacing:
            self._marks.append(stream.mark())
        if len(self._marks) > MOST_MARKS:
            self._spacing *= 2
            del self._marks[::2]

    def before(self, position: int) -> Mark | None:
        """Return the last mark at or before the position; None stands for the start."""
        index = bisect.bisect_right(self._marks, position, key=lambda mark: mark.position)
        return self._marks[index - 1] if index else None


class GzipStream:
    """The inflated bytes of a gzip file, of one or several members, from the start or from a mark.

    Raises (from `read`):
        zlib.error: The bytes are no gzip, or its checksum is wrong.
        EOFError: It ends too early.
    """

    def __init__(self, file: BinaryIO, mark: Mark | None = None) -> None:
        self.file = file
        self.position = 0 if mark is None else mark.position
        self._offset = 0 if mark is None else mark.offset
        self._state = zlib.decompressobj(_GZIP) if mark is None else mark.state.copy()
        self._pending: bytes = self._state.unconsumed_tail
        file.seek(self._offset)

    def mark(self) -> Mark:
        """Return the present place."""
        return Mark(self.position, self._offset, self._state.copy())

    def read(self, count: int) -> bytes:
        """Return the next bytes: `count` of them, fewer only at the end of the stream."""
        found: list[bytes] = []
        wanted = count
        while wanted > 0:
            if self._state.eof and not self._next_member():
                break
            data = self._pending or self._more()
            if not data:
                raise EOFError
            piece = self._state.decompress(data, wanted)
            self._pending = self._state.unconsumed_tail
            self.position += len(piece)
            wanted -= len(piece)
            found.append(piece)
        return b"".join(found)

    def _more(self) -> bytes:
        data = self.file.read(PIECE)
        self._offset += len(data)
        return data

    def _next_member(self) -> bool:
        """Begin the member behind the one that ended; zeros between or behind are padding, as gzip has it."""
        rest = self._state.unused_data.lstrip(b"\0")
        while not rest:
            data = self._more()
            if not data:
                return False
            rest = data.lstrip(b"\0")
        self._state = zlib.decompressobj(_GZIP)
        self._pending = rest
        return True
