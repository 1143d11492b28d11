"""Zip archives (`.mar`): read where they lie, entry by entry, in constant memory and without scratch.

The directory at the end says all about an entry before a byte of it is inflated, so everything can be refused that a
reader would stumble over later. One handle is shared by all entries: opening a file of an object store costs a request,
and neighbours share the store's read-ahead. `zipfile` locks and seeks for each read.
"""

import io
import stat
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

from torchserve_operator.builder.archive_rules import Rules, shown
from torchserve_operator.builder.files import CHUNK, File

MAX_DIRECTORY = 16 << 20
"""The most bytes of an archive's directory: `zipfile` holds it in memory. 100,000 entries take some 10 MiB."""

_UTF8 = 0x800
_ENCRYPTED = 0x1 | 0x40
_PATCHED = 0x20
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_METHOD_NAMES = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "XZ", 98: "PPMd", 99: "AES encryption"}
_LOCAL_HEADER = 30
"""Bytes of the header before an entry, without its name."""


def list_zip(open_archive: Callable[[], BinaryIO], rules: Rules) -> list[File]:
    """Return the files of a zip, in the order of its directory.

    Raises:
        BuildError: It is none, or has what the rules do not allow.
    """
    archive = _Archive(open_archive, rules)
    return [
        File(path, entry.file_size, archive.reader(entry), bool(entry.external_attr >> 16 & stat.S_IXUSR))
        for path, entry in archive.entries()
    ]


class _BoundedReads:
    """A file of which nobody reads more than a directory's worth at once, whatever the archive claims."""

    def __init__(self, file: BinaryIO, rules: Rules) -> None:
        self._file = file
        self._rules = rules
        self.seek = file.seek
        self.tell = file.tell
        self.close = file.close

    def seekable(self) -> bool:
        return True

    def read(self, count: int = -1) -> bytes:
        if count < 0:  # all that follows the directory
            count = MAX_DIRECTORY
        if count > MAX_DIRECTORY:
            self._rules.refuse(f"has a directory of {count:,} bytes; at most {MAX_DIRECTORY:,} are read")
        return self._file.read(count)


class _Archive:
    """An archive that is opened when something of it is read, and again after a read that failed."""

    def __init__(self, open_archive: Callable[[], BinaryIO], rules: Rules) -> None:
        self._open_archive = open_archive
        self._rules = rules
        self._lock = threading.Lock()
        self._handle: BinaryIO | None = None
        self._size = 0
        self._zip: zipfile.ZipFile | None = None

    def __del__(self) -> None:
        if self._handle is not None:
            self._handle.close()

    def _drop(self, failed: zipfile.ZipFile) -> None:
        with self._lock:
            if self._zip is failed:  # not closed: another thread may be reading of it, and meets its own error
                self._handle, self._zip = None, None

    def _opened(self) -> zipfile.ZipFile:
        with self._lock:
            if self._zip is None:
                self._handle = self._open_archive()
                self._size = self._handle.seek(0, io.SEEK_END)
                # zipfile asks for read, seek and tell only
                self._zip = _read_directory(_BoundedReads(self._handle, self._rules), self._rules)  # type: ignore[arg-type]
            return self._zip

    def entries(self) -> Iterator[tuple[str, zipfile.ZipInfo]]:
        """Yield path and entry of each file, all of them checked by what the directory says."""
        archive = self._opened()
        entries = archive.infolist()
        _check_overlaps(entries, archive.start_dir, self._rules)
        for entry in entries:
            name = _name(entry, self._rules)
            path = self._rules.path(name)
            if _is_folder(entry, name, self._rules):
                continue
            _check_readable(entry, name, self._rules)
            self._rules.file(name, entry.file_size)
            yield path, entry
        self._rules.ratio(self._size)

    def reader(self, entry: zipfile.ZipInfo) -> Callable[[], Iterator[bytes]]:
        return lambda: self._chunks(entry)

    def _chunks(self, entry: zipfile.ZipInfo) -> Iterator[bytes]:
        archive = self._opened()
        name = shown(entry.filename)
        left = entry.file_size
        try:
            # by name would find the last of that name; zipfile compares with the entry's own header, and checks the CRC
            with archive.open(entry) as stream:
                # never more than the size it gave: zipfile cuts there, and the checksum does not fit then
                while chunk := stream.read(CHUNK):
                    left -= len(chunk)
                    yield chunk
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            self._rules.damaged(f"{name}: {_reason(error)}")
        except OSError:
            # the source's own trouble: the upload is tried again, and opens it anew
            self._drop(archive)
            raise
        if left:
            self._rules.damaged(f"{name}: has {entry.file_size - left:,} bytes instead of {entry.file_size:,}")


def _read_directory(file: BinaryIO, rules: Rules) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except UnicodeDecodeError:
        rules.refuse("has an entry whose name is not UTF-8", "pack it with names in UTF-8")
    except (zipfile.BadZipFile, NotImplementedError) as error:
        if isinstance(error.__context__, OSError):  # zipfile's words for a source that failed
            raise error.__context__ from None
        if "not a zip file" in str(error):
            rules.refuse(
                "is cut off: the directory at its end is missing",
                "upload it again; torch-model-archiver writes it last",
            )
        rules.damaged(f"its directory cannot be read ({error})")


def _check_overlaps(entries: list[zipfile.ZipInfo], end: int, rules: Rules) -> None:
    """Refuse entries that share bytes: how one inflates a small archive many times over.

    The extra fields before an entry's data are not in the directory, so this is the least that an entry takes.
    """
    ordered = sorted(entries, key=lambda entry: entry.header_offset)
    if not ordered:
        return
    if ordered[0].header_offset < 0:
        rules.damaged("its directory points outside of it")
    for entry, follower in zip(ordered, [*ordered[1:], None], strict=True):
        least = entry.header_offset + _LOCAL_HEADER + len(_raw_name(entry)) + entry.compress_size
        if least > (end if follower is None else follower.header_offset):
            other = "the directory" if follower is None else f'"{shown(follower.filename)}"'
            rules.refuse(f'has entries that overlap: "{shown(entry.filename)}" and {other}')


def _raw_name(entry: zipfile.ZipInfo) -> bytes:
    return entry.orig_filename.encode("utf-8" if entry.flag_bits & _UTF8 else "cp437")


def _name(entry: zipfile.ZipInfo, rules: Rules) -> str:
    """The entry's name as UTF-8, flagged as such or not: so does TorchServe's own reader."""
    try:
        return _raw_name(entry).decode()
    except UnicodeDecodeError:
        rules.refuse(
            f'has an entry whose name is not UTF-8: "{shown(entry.orig_filename)}"', "pack it with names in UTF-8"
        )


def _is_folder(entry: zipfile.ZipInfo, name: str, rules: Rules) -> bool:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind == stat.S_IFLNK:
        rules.refuse(
            f'has a symbolic link: "{shown(name)}"; links are refused, those inside the archive too',
            "pack the file itself (zip does so without --symlinks)",
        )
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        rules.refuse(f'has an entry that is neither file nor folder: "{shown(name)}"')
    return name.endswith("/")


def _check_readable(entry: zipfile.ZipInfo, name: str, rules: Rules) -> None:
    if entry.flag_bits & _ENCRYPTED:
        rules.refuse(f'is encrypted ("{shown(name)}")', "pack it without a password")
    if entry.compress_type not in _METHODS or entry.flag_bits & _PATCHED:
        method = _METHOD_NAMES.get(entry.compress_type, f"method {entry.compress_type}")
        rules.refuse(
            f'is compressed with {method} ("{shown(name)}"); expected stored or deflated entries, as TorchServe does',
            "pack it with torch-model-archiver",
        )


def _reason(error: Exception) -> str:
    text = str(error)
    if text.startswith("Bad CRC-32"):
        return "its checksum (CRC-32) is wrong"
    if isinstance(error, EOFError):
        return "it ends too early"
    return text[:1].lower() + text[1:]
