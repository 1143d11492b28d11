"""A model archive, or one among a model's parts, as the files that are in it: nothing is unpacked to a disk.

What it is says its content, not its name: an object store's key may be called anything, and a web page that was saved
as `model.mar` is told as one.
"""

from collections.abc import Callable, Mapping
from typing import BinaryIO, Final, NoReturn, Protocol

from torchserve_operator.builder import manifest
from torchserve_operator.builder.archive_rules import Rules
from torchserve_operator.builder.files import File, checked
from torchserve_operator.builder.tar_archive import list_tar
from torchserve_operator.builder.zip_archive import list_zip

_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")
_GZIP: Final = b"\x1f\x8b"
_OTHERS: Final[Mapping[bytes, str]] = {
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ\x00": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with Zstandard",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"\x80\x02": "a pickle",
    b"\x89HDF": "an HDF5 file",
    b"version https://git-lfs": "a Git LFS pointer and not the file itself",
}
_EXPECTED: Final = "expected a zip (.mar) or a gzipped tar (.tar.gz)"


class Archive(Protocol):
    """What an archive is read from; an opened source is one."""

    @property
    def name(self) -> str:
        """What people call it, for messages."""
        ...

    def open(self) -> BinaryIO:
        """Return a new handle that can seek; it is closed by whoever asked."""
        ...


def model_files(archive: Archive, field: str, limit: int) -> tuple[File, ...]:
    """Return the files of a model archive, as they lie in the model's folder: MAR-INF/MANIFEST.json and the rest.

    A single folder around all of it is left out: torch-model-archiver's `tgz` has one, named after the model. Nothing
    is changed: the agent writes the resource's name and version into a manifest of its own.

    Args:
        archive: A `.mar`, `.tar.gz` or `.tar`.
        field: Where in the resource it is given.
        limit: The most bytes of all files together.

    Raises:
        BuildError: It is damaged, unsafe, too large, or no model archive.
    """
    files = _without_folder(unpacked(archive, field, limit))
    by_path = {file.path: file for file in files}
    rules = Rules(archive.name, field, limit)
    listed = by_path.get(manifest.PATH)
    if listed is None:
        weights = any(path.endswith("/data.pkl") for path in by_path)
        rules.refuse(
            f"has no {manifest.PATH}"
            + (": this is a file of torch.save, not a model archive" if weights else ", which makes a model archive"),
            "give the weights as package.serializedFile" if weights else "pack it with torch-model-archiver",
        )
    found = manifest.parse(listed, archive.name, field)
    for key, path in manifest.files_named(found):
        if path not in by_path:
            rules.refuse(f'has no {path}, which its {manifest.PATH} names as "model.{key}"')
    return files


def unpacked(archive: Archive, field: str, limit: int) -> tuple[File, ...]:
    """Return the files of any archive as they are named in it. Empty folders are left out: no folder needs to be kept.

    Raises:
        BuildError: It is none, damaged, unsafe or too large.
    """
    rules = Rules(archive.name, field, limit)
    with archive.open() as file:
        head = _read(file, 512)
    return checked(_list(archive.open, head, rules), field)


def _read(file: BinaryIO, count: int) -> bytes:
    found = b""
    while len(found) < count and (piece := file.read(count - len(found))):
        found += piece
    return found


def _list(open_archive: Callable[[], BinaryIO], head: bytes, rules: Rules) -> list[File]:
    if head.startswith(_ZIP):
        return list_zip(open_archive, rules)
    if head.startswith(_GZIP) or head[257:262] == b"ustar":
        return list_tar(open_archive, rules, gzipped=head.startswith(_GZIP))
    return _refuse_kind(head, rules)


def _refuse_kind(head: bytes, rules: Rules) -> NoReturn:
    if not head:
        rules.refuse(f"is empty (0 bytes); {_EXPECTED}", "upload it again")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        rules.refuse(f"is a web page or an answer in XML; {_EXPECTED}", "check the URL and its credentials")
    for start, kind in _OTHERS.items():
        if head.startswith(start):
            rules.refuse(f"is {kind}; {_EXPECTED}")
    rules.refuse(f"is no archive (its first bytes are {head[:8].hex(' ')}); {_EXPECTED}")


def _without_folder(files: tuple[File, ...]) -> tuple[File, ...]:
    folders = {file.path.partition("/")[0] for file in files}
    if len(folders) != 1:
        return files
    prefix = f"{folders.pop()}/"
    if all(file.path != f"{prefix}{manifest.PATH}" for file in files):
        return files
    return tuple(File(file.path.removeprefix(prefix), file.size, file.chunks, file.executable) for file in files)
