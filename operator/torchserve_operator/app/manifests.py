"""Finds the TorchServeModels in what a user names: a file, a folder, or standard input."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torchserve_operator.api.errors import nearest
from torchserve_operator.api.names import GROUP, KIND
from torchserve_operator.app.yaml_reader import YamlError, documents

SUFFIXES: Final = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class Resource:
    """One TorchServeModel, as written; nothing in it is checked but that it is an object.

    Attributes:
        where: The file, the document's number and the resource's name, for messages.
        body: The resource.
    """

    where: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file or a document that is no manifest."""

    where: str
    message: str


@dataclass(frozen=True, slots=True)
class Other:
    """An object of another kind."""

    where: str
    kind: str


Found = Resource | Unreadable | Other


def find(source: str) -> Iterator[Found]:
    """Yield what stands in a file, in a folder's manifests (by name, at any depth), or in standard input (``-``).

    Raises:
        FileNotFoundError: There is no such file or folder, or no manifest in the folder.
    """
    if source == "-":
        yield from _read("standard input", sys.stdin.buffer.read())
        return
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"{source} does not exist")
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())
        if not files:
            raise FileNotFoundError(f"{source} has no manifest: no {', no '.join(SUFFIXES)} file")
    for file in files:
        yield from _read(str(file), file.read_bytes())


def _read(name: str, data: bytes) -> Iterator[Found]:
    number = 0
    try:
        for number, document in enumerate(documents(data.decode("utf-8-sig")), start=1):
            if document.value is not None:
                yield from _objects(f"{name}, document {number} (line {document.line})", document.value)
    except UnicodeDecodeError as error:
        yield Unreadable(name, f"is not UTF-8: byte {error.start} is {data[error.start]:#04x}")
    except YamlError as error:
        yield Unreadable(f"{name}, document {number + 1}", str(error))


def _objects(where: str, value: Any) -> Iterator[Found]:
    if not isinstance(value, dict):
        yield Unreadable(where, f"is {'a list' if isinstance(value, list) else 'a plain value'}; expected an object")
        return
    kind, items = str(value.get("kind", "")), value.get("items")
    if kind.endswith("List") and isinstance(items, list):
        for index, item in enumerate(items):
            yield from _objects(f"{where}, items[{index}]", item)
    elif _is_ours(value, kind):
        metadata = value.get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else None
        yield Resource(f"{where}, {name}" if isinstance(name, str) and name else where, value)
    else:
        yield Other(where, kind or "nothing that has a kind")


def _is_ours(value: dict[str, Any], kind: str) -> bool:
    """Tell ours from others' generously: a misspelled kind is to be an error, not a document that is skipped."""
    return str(value.get("apiVersion", "")).split("/")[0] == GROUP or nearest(kind, [KIND]) is not None
