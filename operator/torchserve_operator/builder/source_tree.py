"""The files of a package's source, found by the paths and patterns that a resource names."""

import fnmatch
import posixpath
import re
from collections.abc import Iterable, Iterator

from torchserve_operator.api.errors import nearest
from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.files import File

_LISTED = 8
"""How many names a message has at most."""
_WILDCARD = re.compile(r"[*?]|\[.*\]")
_UNWANTED = {"__pycache__", "__MACOSX"}


class SourceTree:
    """A folder of files; paths are relative to it, `tokenizer/` and `./tokenizer` are the same."""

    def __init__(self, files: Iterable[File]) -> None:
        self._files = {file.path: file for file in files}
        self._folders = {""}
        for path in self._files:
            while path := posixpath.dirname(path):
                self._folders.add(path)

    def file(self, path: str, field: str) -> File:
        """Return the one file at the path.

        Raises:
            BuildError: There is none; the message has the nearest name, or what there is.
        """
        wanted = _normalised(path, field)
        if wanted in self._folders:
            raise BuildError(field, f"{path} is a folder; expected a file")
        if wanted not in self._files:
            self._refuse_missing(path, wanted, field)
        return self._files[wanted]

    def extras(self, pattern: str, field: str) -> Iterator[tuple[str, File]]:
        """Yield what an extra file, folder or pattern of such brings, and where it lies in the model's folder.

        As torch-model-archiver: files lie at the top, a folder's content too, and folders in it keep their names;
        hidden folders and `__pycache__` are left out. A pattern is a shell's: `*` leaves out hidden names and stays in
        its folder.

        Raises:
            BuildError: There is nothing.
        """
        wanted = _normalised(pattern, field)
        found = self._matches(wanted) if _WILDCARD.search(wanted) else [wanted]
        files = [path for path in found if path in self._files]
        folders = [path for path in found if path in self._folders]
        if not files and not folders:
            self._refuse_missing(pattern, wanted, field)
        for path in files:
            yield posixpath.basename(path), self._files[path]
        for folder in folders:
            yield from without_hidden(self._below(folder))

    def _below(self, folder: str) -> Iterator[tuple[str, File]]:
        start = f"{folder}/" if folder else ""
        return ((path.removeprefix(start), file) for path, file in self._files.items() if path.startswith(start))

    def _matches(self, pattern: str) -> list[str]:
        parts = pattern.split("/")
        return sorted(path for path in (*self._files, *self._folders) if _fits(path.split("/"), parts))

    def _refuse_missing(self, given: str, wanted: str, field: str) -> None:
        if not self._files:
            raise BuildError(field, f"there is no {given}: the source is empty", "a folder's URL ends with /")
        name = posixpath.basename(wanted)
        same_name = [path for path in sorted(self._files) if posixpath.basename(path) == name]
        near = same_name[0] if same_name else nearest(wanted, (*self._files, *sorted(self._folders - {""})))
        if near is not None:
            raise BuildError(field, f"there is no {given} in the source", f'did you mean "{near}"?')
        listed = sorted(self._files)
        more = f" and {len(listed) - _LISTED:,} more" if len(listed) > _LISTED else ""
        raise BuildError(field, f"there is no {given} in the source", f"it has {', '.join(listed[:_LISTED])}{more}")


def without_hidden(files: Iterable[tuple[str, File]]) -> Iterator[tuple[str, File]]:
    """Leave out what lies in hidden folders and in those that Python and macOS leave behind."""
    for path, file in files:
        folders = path.split("/")[:-1]
        if not any(folder.startswith(".") or folder in _UNWANTED for folder in folders):
            yield path, file


def _normalised(path: str, field: str) -> str:
    wanted = posixpath.normpath(path.strip() or ".")
    if wanted.startswith(("/", "../")) or wanted == "..":
        raise BuildError(field, f"{path} leaves the source; expected a path below it")
    return "" if wanted == "." else wanted


def _fits(path: list[str], pattern: list[str]) -> bool:
    return len(path) == len(pattern) and all(
        fnmatch.fnmatchcase(name, part) and (part.startswith(".") or not name.startswith("."))
        for name, part in zip(path, pattern, strict=True)
    )
