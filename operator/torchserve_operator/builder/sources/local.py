"""Files of this machine: volumes, mounted ConfigMaps, folders of a laptop. The standard library is all they need.

Who writes to a volume is not who reads the build's Secrets, and both lie in the build's pod: no link and no race leads
out of the volume, because what was opened is looked at and not what was asked for.
"""

import difflib
import hashlib
import io
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import unquote

from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.files import CHUNK, MAX_FILES, File, checked
from torchserve_operator.builder.sources.access import Access, names_in
from torchserve_operator.builder.sources.objects import Limits, SeekableObject
from torchserve_operator.builder.sources.place import split, tied

_DESCRIPTORS: Final = Path("/proc/self/fd")
_DEEPEST: Final = 64
_BUFFER: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class Volume:
    """A folder that nothing leads out of.

    Attributes:
        root: Its real path.
        name: For people, such as `pvc://models`.
        field: Where in the resource it is named.
    """

    root: Path
    name: str
    field: str

    def open(self, path: str) -> int:
        """Return a descriptor of a file.

        Raises:
            BuildError: There is none, or it leads out of the volume.
        """
        try:
            # NONBLOCK: a pipe would be waited for
            descriptor = os.open(self.root / path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            raise self._missing(path) from None
        except OSError as error:
            raise self._unreadable(path, error) from None
        try:
            self._check_inside(path, _real_path(descriptor, self.root / path))
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def file(self, path: str) -> "LocalFile":
        """Return a file as it is now.

        Raises:
            BuildError: It is none, or cannot be read.
        """
        descriptor = self.open(path)
        try:
            found = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise BuildError(self.field, f"{self.name}/{path} is a folder, expected a file", "name the file in it")
        if not stat.S_ISREG(found.st_mode):
            raise BuildError(self.field, f"{self.name}/{path} is no file but a pipe, a socket or a device")
        return LocalFile(self, path, _State.of(found))

    def walk(self, folder: str) -> Iterator[str]:
        """Yield the paths of all files below a folder, hidden ones too, sorted within each folder.

        Raises:
            BuildError: It is no folder, or has links that lead out of the volume or in circles.
        """
        top = self.root / folder
        if not top.exists():
            raise self._missing(folder)
        self._check_inside(folder, Path(os.path.realpath(top)))
        if not top.is_dir():
            raise BuildError(
                self.field, f"{self.name}/{folder} is a file, expected a folder", "name the folder it is in"
            )
        yield from self._walk(folder, "", (os.path.realpath(top),))

    def _walk(self, top: str, below: str, parents: tuple[str, ...]) -> Iterator[str]:
        try:
            with os.scandir(self.root / top / below) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise self._unreadable(f"{top}/{below}".strip("/"), error) from None
        for entry in found:
            if entry.name == "lost+found" and not (top or below):
                continue  # of the file system, at the top of a block device's volume, and root's alone
            inner = f"{below}/{entry.name}" if below else entry.name
            if not entry.is_dir():
                yield inner
                continue
            real = os.path.realpath(entry.path)
            self._check_inside(f"{top}/{inner}".strip("/"), Path(real))
            if real in parents or len(parents) > _DEEPEST:
                raise BuildError(self.field, f"{self.name}/{top}/{inner} is a link to a folder that it is in")
            yield from self._walk(top, inner, (*parents, real))

    def _check_inside(self, path: str, real: Path) -> None:
        if not real.is_relative_to(self.root):
            hint = "copy the file into the volume; links inside it are followed"
            raise BuildError(self.field, f"{self.name}/{path} is a link that leads out of the volume", hint)

    def _missing(self, path: str) -> BuildError:
        there: Path = self.root
        wanted = ""
        for part in Path(path).parts:
            # Not a step out of the volume: what lies there is nobody's business.
            if not (there / part).exists() or not Path(os.path.realpath(there / part)).is_relative_to(self.root):
                wanted = part
                break
            there /= part
        if not there.is_dir():
            above = there.relative_to(self.root)
            return BuildError(self.field, f"{self.name}/{path} does not exist: {above} is a file")
        try:
            names = sorted(child.name for child in there.iterdir())
        except OSError:
            names = []
        near = difflib.get_close_matches(wanted, names, 1) or names[:3]
        place = f"{self.name}/{there.relative_to(self.root)}".removesuffix("/.")
        hint = f"{place} has {', '.join(near)}" if near else f"{place} is empty"
        return BuildError(self.field, f"{self.name}/{path} does not exist", hint)

    def _unreadable(self, path: str, error: OSError) -> BuildError:
        hint = ""
        if isinstance(error, PermissionError):
            hint = f"the build runs as user {os.geteuid()}: make it readable for everybody, or for the pod's fsGroup"
        return BuildError(self.field, f"{self.name}/{path} cannot be read ({error.strerror})", hint)


@dataclass(frozen=True, slots=True)
class _State:
    """What tells that a file is not what it was."""

    size: int
    mtime_ns: int
    inode: int
    executable: bool

    @classmethod
    def of(cls, found: os.stat_result) -> "_State":
        return cls(found.st_size, found.st_mtime_ns, found.st_ino, bool(found.st_mode & stat.S_IXUSR))


class LocalFile:
    """A file of a volume, as it was when it was first seen.

    Attributes:
        size: Bytes.
        shown: Where it is, for people.
        field: Where in the resource it is named.
        path: In its volume.
        was: What it was.
    """

    def __init__(self, volume: Volume, path: str, was: _State) -> None:
        self.size = was.size
        self.shown = f"{volume.name}/{path}"
        self.field = volume.field
        self.path = path
        self.was = was
        self._volume = volume

    def open(self) -> io.FileIO:
        """Return a new handle, unbuffered; it raises BuildError when the file is not what it was."""
        handle = _Handle(self._volume.open(self.path), self)
        try:
            handle.check()
        except BaseException:
            handle.close()
            raise
        return handle

    def chunks(self) -> Iterator[bytes]:
        """Yield its content."""
        with self.open() as handle:
            left = self.size
            while left:
                piece = handle.read(min(CHUNK, left))
                if not piece:
                    raise self.changed()
                left -= len(piece)
                yield piece

    def get(self, start: int, end: int) -> io.FileIO:
        """Return its bytes from `start` on."""
        del end  # the reader stops there
        handle = self.open()
        handle.seek(start)
        return handle

    def changed(self) -> BuildError:
        """Return the error for a file that is not what it was."""
        hint = "build again when the copying is done"
        return BuildError(self.field, f"{self.shown} changed while it was read", hint)

    def digest(self) -> str:
        """Return the SHA-256 of its content, in hex."""
        digest = hashlib.sha256()
        for piece in self.chunks():
            digest.update(piece)
        return digest.hexdigest()


class _Handle(io.FileIO):
    def __init__(self, descriptor: int, file: LocalFile) -> None:
        super().__init__(descriptor)
        self._file = file

    def check(self) -> None:
        if _State.of(os.fstat(self.fileno())) != self._file.was:
            raise self._file.changed()

    def readall(self) -> bytes:
        content = super().readall()
        self.check()
        return content or b""

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # any writable buffer
        count = super().readinto(buffer)
        self.check()
        return count or 0

    def read(self, count: int | None = -1, /) -> bytes:
        piece = super().read(-1 if count is None else count)
        self.check()
        return piece or b""


class _PlainObject:
    """A file of a volume that nobody gave a checksum for: the system's own handles do."""

    random_access = True

    def __init__(self, file: LocalFile, identity: str, limits: Limits) -> None:
        limits.check_size(file.size)
        self.name = file.path.rpartition("/")[2]
        self.size: int | None = file.size
        self.identity = identity
        self._file = file

    def open(self) -> BinaryIO:
        """Return a new handle."""
        return io.BufferedReader(self._file.open(), _BUFFER)


class LocalFolder:
    """A folder of a volume, or a mounted ConfigMap.

    Args:
        paths: Of the files in the folder, with what they are.
        place: What the times belong to.
        by_content: Whether the identity is of the files' content.
        field: The source's place in the resource.
    """

    def __init__(self, paths: dict[str, LocalFile], place: str, by_content: bool, field: str) -> None:
        self._paths = paths
        self._field = field
        digest = hashlib.sha256()
        for path, file in sorted(paths.items()):
            known = file.digest() if by_content else f"{file.size} {file.was.mtime_ns}"
            digest.update(f"{path}\0{known}\0{int(file.was.executable)}\n".encode(errors="surrogateescape"))
        found = digest.hexdigest()
        self.identity = f"sha256:{found}" if by_content else tied("mtime", found, place)

    def files(self) -> tuple[File, ...]:
        """Return the files."""
        return checked(
            (File(path, file.size, file.chunks, file.was.executable) for path, file in self._paths.items()),
            self._field,
        )


def open_file(
    volume: Volume, path: str, limits: Limits, access: Access, *, by_content: bool
) -> SeekableObject | _PlainObject:
    """Open a file of a volume.

    Its identity is its time of modification, in nanoseconds, and its size, as for make and rsync. What that misses is
    a file of the same size that was given the old one's time on purpose (`cp -p` gives its own). The inode's change
    time would see it, but the kubelet's change of ownership moves it at every mount.

    Raises:
        BuildError: It cannot be had.
    """
    file = volume.file(path)
    if limits.sha256 or by_content:
        return SeekableObject(path.rpartition("/")[2], file, "", limits=limits, access=access, changed=file.changed)
    identity = tied("mtime", f"{file.was.mtime_ns}-{file.size}", f"{volume.name}/{path}")
    return _PlainObject(file, identity, limits)


def open_tree(volume: Volume, folder: str, limits: Limits, access: Access) -> LocalFolder:
    """Open a folder of a volume.

    Raises:
        BuildError: It cannot be had, or is empty.
    """
    found: dict[str, LocalFile] = {}
    size = 0
    for path in volume.walk(folder):
        found[path] = volume.file(f"{folder}/{path}" if folder else path)
        size += found[path].size
        limits.check_size(size)
        if len(found) > MAX_FILES:
            raise BuildError(
                volume.field, f"{limits.shown} has more than {MAX_FILES:,} files", "name a folder below it"
            )
    if not found:
        raise BuildError(volume.field, f"{limits.shown} has no files", "expected a folder with the model's parts")
    return LocalFolder(found, f"{volume.name}/{folder}", access.by_content, volume.field)


def claim_and_path(url: str, access: Access, field: str) -> tuple[Volume, str]:
    """Return the volume of a `pvc://CLAIM/PATH` and the path in it.

    Raises:
        BuildError: The claim is not mounted, or the path climbs.
    """
    claim, path = split(url, field)
    parts = [part for part in unquote(path).split("/") if part not in {"", "."}]
    if ".." in parts or "\0" in path or "%00" in path:
        raise BuildError(field, f"pvc://{claim} is given a path with .. or NUL", "write the path as it is")
    root = Path(os.path.realpath(access.claim(claim, field)))
    return Volume(root, f"pvc://{claim}", field), "/".join(parts)


def config_map(name: str, access: Access, field: str) -> tuple[Volume, list[str]]:
    """Return a mounted ConfigMap and its keys.

    Raises:
        BuildError: It is not there.
    """
    folder = access.config_map(name, field)
    return Volume(Path(os.path.realpath(folder)), f"ConfigMap {name}", field), names_in(folder)


def _real_path(descriptor: int, asked: Path) -> Path:
    """Return where an open file really is; without /proc, where its path leads now."""
    try:
        return (_DESCRIPTORS / str(descriptor)).readlink()
    except OSError:
        return Path(os.path.realpath(asked))
