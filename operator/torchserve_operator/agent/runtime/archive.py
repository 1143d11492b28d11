"""Unpacks a model archive (.mar, .tar.gz) into a directory, and nothing outside it."""

from __future__ import annotations

import os

from .problem import ARCHIVE_BROKEN, ProblemError

ZIP_SUFFIXES = (".mar", ".zip", ".model")
TAR_SUFFIXES = (".tar.gz", ".tgz")


def is_archive(path: str) -> bool:
    """By name alone, as TorchServe decides too."""
    return path.endswith(ZIP_SUFFIXES + TAR_SUFFIXES)


def unpack(path: str, target: str) -> None:
    """Unpacks `path` into the new directory `target`. Raises ProblemError (ArchiveBroken) for what is no archive."""
    try:
        if path.endswith(TAR_SUFFIXES):
            _untar(path, target)
        else:
            _unzip(path, target)
    except ProblemError:
        raise
    except Exception as error:  # zipfile and tarfile raise many kinds for broken input
        raise ProblemError(
            ARCHIVE_BROKEN, "%s cannot be unpacked: %s" % (path, error or type(error).__name__)
        ) from error


def _destination(path: str, target: str, name: str) -> str:
    """Where an entry goes. An entry that would leave `target` makes the whole archive suspect."""
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or "\0" in name:
        raise ProblemError(ARCHIVE_BROKEN, "%s has an entry that leaves the archive: %r" % (path, name))
    return os.path.join(target, *[part for part in parts if part not in ("", ".")])


def _unzip(path: str, target: str) -> None:
    from zipfile import ZipFile  # imported where it is needed: most pods have directories

    with ZipFile(path) as archive:
        for entry in archive.infolist():
            place = _destination(path, target, entry.filename)
            if entry.filename.endswith("/"):
                os.makedirs(place, exist_ok=True)
                continue
            with archive.open(entry) as source:
                _write(place, source, (entry.external_attr >> 16) & 0o100)


def _untar(path: str, target: str) -> None:
    import tarfile

    with tarfile.open(path) as archive:
        for entry in archive:
            place = _destination(path, target, entry.name)
            if entry.isdir():
                os.makedirs(place, exist_ok=True)
            elif entry.isfile():
                source = archive.extractfile(entry)
                if source is not None:
                    with source:
                        _write(place, source, entry.mode & 0o100)
            else:
                raise ProblemError(ARCHIVE_BROKEN, "%s has a link or device: %r" % (path, entry.name))


def _write(place: str, source: object, executable: int) -> None:
    os.makedirs(os.path.dirname(place), exist_ok=True)
    with open(place, "wb") as file:
        while True:
            block = source.read(1 << 20)  # type: ignore[attr-defined]
            if not block:
                break
            file.write(block)
    os.chmod(place, 0o755 if executable else 0o644)
