"""Tar archives, mostly `.tar.gz`: one pass finds the entries, later ones read them, without scratch.

Entries are asked for in the order of their paths, which is hardly ever the order in the archive, and gzip can only be
read forwards. So the first pass leaves marks between the entries, at most 128; a file is read from the mark
before it, or from where the last one ended. An archive in order is inflated twice (found, read). One out of order costs
at most its length divided by 128 for each file more: 100 small files beside a model of 1 GiB inflate 100 MiB
at worst, 1,000 files of 1 MiB in any order about four times the archive. The alternative, to inflate all of it to a
spool, costs as much disk as the model has bytes.
"""

import io
import tarfile
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

from torchserve_operator.builder.archive_rules import Rules, shown
from torchserve_operator.builder.files import CHUNK, File
from torchserve_operator.builder.gzip_stream import GzipStream, Marks

MAX_HEADER = 1 << 20
"""The most bytes of one header: long names and PAX records."""
MAX_HEADERS = 256 << 20
"""The most bytes of all headers."""
MAX_PADDING = 16 << 20
"""The most bytes behind the archive's end: tar fills its last record."""

_BLOCK = 512


def list_tar(open_archive: Callable[[], BinaryIO], rules: Rules, *, gzipped: bool) -> list[File]:
    """Return the files of a tar archive, in its own order. Reads all of it once.

    Raises:
        BuildError: It is none, or has what the rules do not allow.
    """
    archive = _Archive(open_archive, rules, gzipped=gzipped)
    return [
        File(path, entry.size, archive.reader(entry.offset_data, entry.size), bool(entry.mode & 0o100))
        for path, entry in archive.entries()
    ]


class _Stream(Protocol):
    """The tar's own bytes, from some position on."""

    file: BinaryIO
    position: int

    def read(self, count: int) -> bytes: ...


class _PlainStream:
    """A tar that is not compressed."""

    def __init__(self, file: BinaryIO, position: int = 0) -> None:
        self.file = file
        self.position = position
        file.seek(position)

    def read(self, count: int) -> bytes:
        data = self.file.read(count)
        self.position += len(data)
        return data


class _Headers:
    """What `tarfile` reads through: forwards only, and no more at once than a header is large."""

    def __init__(self, stream: _Stream, rules: Rules) -> None:
        self._stream = stream
        self._rules = rules
        self._read = 0
        self.last = b""

    def tell(self) -> int:
        return self._stream.position

    def seek(self, position: int) -> None:
        if position < self._stream.position:
            self._rules.damaged("a header points backwards")
        _skip(self._stream, position)

    def read(self, count: int) -> bytes:
        self._read += count
        if not 0 <= count <= MAX_HEADER or self._read > MAX_HEADERS:
            self._rules.refuse(f"has headers of {max(count, self._read):,} bytes; a model's are far smaller")
        self.last = self._stream.read(count)
        return self.last


class _Archive:
    """An archive, its marks, and the stream that the last file was read from."""

    def __init__(self, open_archive: Callable[[], BinaryIO], rules: Rules, *, gzipped: bool) -> None:
        self._open_archive = open_archive
        self._rules = rules
        self._gzipped = gzipped
        self._marks = Marks()
        self._lock = threading.Lock()
        self._idle: _Stream | None = None

    def __del__(self) -> None:
        if self._idle is not None:
            self._idle.file.close()

    def entries(self) -> Iterator[tuple[str, tarfile.TarInfo]]:
        """Yield path and entry of each file, checked; then see that the archive has its end."""
        with self._open_archive() as file:
            stream = self._enter(file, 0)
            headers = _Headers(stream, self._rules)
            try:
                yield from self._entries(stream, headers)
                self._check_end(stream, headers)
            except (tarfile.TarError, zlib.error, EOFError, RecursionError) as error:
                self._rules.damaged(_reason(error))
            self._rules.ratio(file.seek(0, io.SEEK_END))

    def _entries(self, stream: _Stream, headers: _Headers) -> Iterator[tuple[str, tarfile.TarInfo]]:
        # tarfile asks for read, seek and tell only
        with tarfile.open(fileobj=headers, mode="r:", encoding="utf-8") as archive:  # type: ignore[call-overload]
            while (entry := archive.next()) is not None:
                archive.members.clear()  # it would keep them all
                path = self._rules.path(_name(entry, self._rules))
                if _is_folder(entry, self._rules):
                    continue
                self._rules.file(entry.name, entry.size)
                if isinstance(stream, GzipStream):
                    self._marks.offer(stream)
                yield path, entry

    def _check_end(self, stream: _Stream, headers: _Headers) -> None:
        # tarfile takes whatever is no header for the end
        if headers.last.strip(b"\0") or len(headers.last) not in {0, _BLOCK}:
            self._rules.damaged("it has something else where a header or its end should be")
        end = stream.position
        while stream.read(CHUNK):  # to its end, where gzip has its checksum
            if stream.position - end > MAX_PADDING:
                self._rules.refuse("goes on behind its end")

    def _enter(self, file: BinaryIO, position: int) -> _Stream:
        """Return a stream at or before the position."""
        return GzipStream(file, self._marks.before(position)) if self._gzipped else _PlainStream(file, position)

    def reader(self, position: int, size: int) -> Callable[[], Iterator[bytes]]:
        return lambda: self._chunks(position, size)

    def _chunks(self, position: int, size: int) -> Iterator[bytes]:
        stream = self._stream_for(position)
        end = position + size
        try:
            _skip(stream, position)
            while stream.position < end:
                yield _read(stream, end)
        except (zlib.error, EOFError) as error:
            stream.file.close()
            self._rules.damaged(f"{_reason(error)}; it was whole when its entries were listed")
        except BaseException:
            stream.file.close()
            raise
        self._leave(stream)

    def _stream_for(self, position: int) -> _Stream:
        """Take the stream where the last file ended, or enter another one nearer by."""
        with self._lock:
            stream, self._idle = self._idle, None
        if stream is None:
            return self._enter(self._open_archive(), position)
        mark = self._marks.before(position)
        if not (mark.position if mark else 0) <= stream.position <= position:
            return self._enter(stream.file, position)
        return stream

    def _leave(self, stream: _Stream) -> None:
        with self._lock:
            earlier, self._idle = self._idle, stream
        if earlier is not None:
            earlier.file.close()


def _read(stream: _Stream, end: int) -> bytes:
    """Return the next piece of what ends at `end`."""
    piece = stream.read(min(CHUNK, end - stream.position))
    if not piece:
        raise EOFError
    return piece


def _skip(stream: _Stream, position: int) -> None:
    while stream.position < position:
        _read(stream, position)


def _name(entry: tarfile.TarInfo, rules: Rules) -> str:
    try:
        entry.name.encode()
    except UnicodeEncodeError:  # tarfile's surrogates
        rules.refuse(f'has an entry whose name is not UTF-8: "{shown(entry.name)}"', "pack it with names in UTF-8")
    return entry.name


def _is_folder(entry: tarfile.TarInfo, rules: Rules) -> bool:
    name = shown(entry.name)
    if entry.issym() or entry.islnk():
        kind = "symbolic" if entry.issym() else "hard"
        rules.refuse(
            f'has a {kind} link: "{name}"; links are refused, those inside the archive too',
            "pack the files themselves (tar does so with --dereference --hard-dereference)",
        )
    if entry.issparse():
        rules.refuse(f'has a sparse file: "{name}"', "pack it without --sparse")
    if entry.isdir():
        return True
    if not entry.isreg():
        rules.refuse(f'has an entry that is neither file nor folder: "{name}"')
    if entry.size < 0:
        rules.damaged(f"{name}: its size is below zero")
    return False


def _reason(error: Exception) -> str:
    if isinstance(error, EOFError):
        return "it is cut off"
    if isinstance(error, RecursionError):
        return "its headers never end"
    text = str(error)
    if "incorrect data check" in text or "incorrect length check" in text:
        return "its checksum (CRC-32) is wrong"
    return text[:1].lower() + text[1:]
