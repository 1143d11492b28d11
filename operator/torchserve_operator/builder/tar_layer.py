"""A deterministic tar of files, as a stream whose size is known beforehand.

Same files, same bytes: sorted by path, owner 0:0, time 0, modes 0644, 0755 and 0755 for folders. Headers are ustar;
a path or a size that ustar cannot hold gets a pax header before it (POSIX.1-2001).
"""

import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.files import File

_BLOCK = tarfile.BLOCKSIZE
_END = bytes(tarfile.RECORDSIZE)
"""Two empty blocks end an archive; a whole record of them is what every reader is content with."""
_SMALL = 64 << 10
"""Pieces below this are put together: a system call for each 512 bytes of header would be dear."""
_GATHERED = 256 << 10


@dataclass(frozen=True)
class TarLayer:
    """Files below a folder of the image.

    Attributes:
        root: The folder, relative and normalised, such as `home/model-server/model-store/digits`.
        files: Sorted by path and unique (`files.checked`).
        field: Where in the resource they come from, for errors.
    """

    root: str
    files: Sequence[File]
    field: str = ""

    @cached_property
    def size(self) -> int:
        """Bytes of the whole tar."""
        total = len(_END)
        for entry in self._entries():
            total += len(entry) if isinstance(entry, bytes) else _padded(entry.size)
        return total

    def chunks(self, written: Callable[[int], None] | None = None) -> Iterator[bytes]:
        """Yield the tar in pieces of at most 1 MiB.

        Args:
            written: Called with the length of each piece that goes out, for progress.

        Raises:
            BuildError: A file gave more or fewer bytes than it said.
        """
        for piece in _gathered(self._pieces()):
            if written is not None:
                written(len(piece))
            yield piece

    def _pieces(self) -> Iterator[bytes]:
        for entry in self._entries():
            if isinstance(entry, bytes):
                yield entry
            else:
                yield from self._content(entry)
        yield _END

    def _content(self, file: File) -> Iterator[bytes]:
        seen = 0
        for piece in file.chunks():
            seen += len(piece)
            if seen > file.size:
                break
            yield piece
        if seen != file.size:
            relation = "more" if seen > file.size else "fewer"
            message = f"{file.path} has {relation} bytes than the {file.size:,} that it began with"
            raise BuildError(self.field, message, "it changed while it was read: build again when it is whole")
        if file.size % _BLOCK:
            yield bytes(_BLOCK - file.size % _BLOCK)

    def _entries(self) -> Iterator[bytes | File]:
        """Yield each header, and after a file's header the file."""
        folders: set[str] = set()
        for file in self.files:
            path = f"{self.root}/{file.path}" if self.root else file.path
            for end, character in enumerate(path):
                if character == "/" and path[:end] not in folders:
                    folders.add(path[:end])
                    yield _header(path[:end], tarfile.DIRTYPE, 0o755, 0)
            yield _header(path, tarfile.REGTYPE, 0o755 if file.executable else 0o644, file.size)
            yield file


def _header(path: str, kind: bytes, mode: int, size: int) -> bytes:
    entry = tarfile.TarInfo(path)
    entry.type, entry.mode, entry.size = kind, mode, size
    return entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    small: list[bytes] = []
    length = 0
    for piece in pieces:
        large = len(piece) >= _SMALL
        if not large:
            small.append(piece)
            length += len(piece)
        if small and (large or length >= _GATHERED):
            yield b"".join(small)
            small, length = [], 0
        if large:
            yield piece
    if small:
        yield b"".join(small)
