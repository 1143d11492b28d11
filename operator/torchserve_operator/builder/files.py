"""Files on their way into a layer: a path, a size, and bytes that can be asked for again."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from torchserve_operator.builder.errors import BuildError

CHUNK = 1 << 20
"""The most bytes in one piece."""

MAX_FILES = 100_000
MAX_PATH_LENGTH = 1024


@dataclass(frozen=True, slots=True)
class File:
    """One file of a layer. Directories are implied by the files in them.

    Attributes:
        path: Relative, `/`-separated, normalised, without `..`.
        size: How many bytes `chunks` yields, exactly.
        chunks: A new iterator over the content at each call, pieces of at most `CHUNK` bytes: an upload that broke
            is repeated.
        executable: Whether its mode is 0755 instead of 0644.
    """

    path: str
    size: int
    chunks: Callable[[], Iterator[bytes]]
    executable: bool = False


def of_bytes(path: str, content: bytes, *, executable: bool = False) -> File:
    """Make a file of what is in memory."""
    return File(path, len(content), lambda: iter((content,) if content else ()), executable)


def checked(files: Iterable[File], field: str) -> tuple[File, ...]:
    """Return the files sorted by path.

    Args:
        files: In any order.
        field: Where in the resource they come from, for errors.

    Raises:
        BuildError: A path is unsafe, there twice, or both a file and a folder; or there are too many.
    """
    found: dict[str, File] = {}
    for file in files:
        _check_path(file.path, field)
        if file.path in found:
            raise BuildError(field, f"{file.path} is there twice")
        found[file.path] = file
        if len(found) > MAX_FILES:
            raise BuildError(field, f"has more than {MAX_FILES:,} files")
    for path in found:
        folder = path.rpartition("/")[0]
        while folder:
            if folder in found:
                raise BuildError(field, f"{folder} is a file, and {path} lies in a folder of that name")
            folder = folder.rpartition("/")[0]
    return tuple(found[path] for path in sorted(found))


def _check_path(path: str, field: str) -> None:
    shown = path if len(path) <= 100 else f"{path[:97]}..."
    if not path or path.startswith("/") or "\\" in path:
        raise BuildError(field, f'"{shown}" is not a relative path')
    if any(part in {"", ".", ".."} for part in path.split("/")):
        raise BuildError(field, f'"{shown}" leaves its folder or is not normalised')
    if any(ord(character) < 32 or ord(character) == 127 for character in path):
        raise BuildError(field, f"{shown!r} has control characters")
    if len(path.encode()) > MAX_PATH_LENGTH:
        raise BuildError(field, f'"{shown}" is longer than {MAX_PATH_LENGTH} bytes')
    if any(part.startswith(".wh.") for part in path.split("/")):
        raise BuildError(field, f'"{shown}" would delete files in the image: names must not begin with .wh.')
