"""A model's parts as the files of its folder: torch-model-archiver's semantics, the same bytes each time.

Where torch-model-archiver goes on and the model fails when it is loaded, or files are silently lost, this stops: a
missing handler class, two files of one name, a pattern that fits nothing.
"""

import io
import json
import posixpath
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import BinaryIO

from torchserve_operator.api.build import HANDLERS, FunctionSpec, PackageSpec
from torchserve_operator.builder import handler_checks
from torchserve_operator.builder.archive import unpacked
from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.files import File, checked, of_bytes
from torchserve_operator.builder.handlers import FUNCTION_HANDLER, FUNCTION_SETTINGS, function_handler
from torchserve_operator.builder.manifest import PATH, Manifest
from torchserve_operator.builder.python_module import read_module
from torchserve_operator.builder.source_tree import SourceTree, without_hidden

MOST_IN_MEMORY = 8 << 20

Spool = Callable[[File], Callable[[], BinaryIO]]
"""Makes of a file one that can seek; each call of the result is a new handle."""


def in_memory(file: File) -> Callable[[], BinaryIO]:
    """Keep a small file in memory: the spool of those who have none.

    Raises:
        ValueError: It is larger than `MOST_IN_MEMORY`.
    """
    if file.size > MOST_IN_MEMORY:
        raise ValueError(f"{file.path} has {file.size:,} bytes; at most {MOST_IN_MEMORY:,} are kept in memory")
    content = b"".join(file.chunks())
    return lambda: io.BytesIO(content)


def package_files(
    source: Iterable[File],
    spec: PackageSpec,
    *,
    name: str,
    version: str,
    field: str,
    limit: int,
    spool: Spool = in_memory,
) -> tuple[File, ...]:
    """Return the files of a model's folder, its manifest included.

    Args:
        source: The files of the package's source.
        spec: What is what among them.
        name: The model's.
        version: The model's.
        field: Where in the resource the package is.
        limit: The most bytes that each archive of `unpack` may unpack to.
        spool: For the archives of `unpack`.

    Raises:
        BuildError: Something is missing, there twice, or could not be loaded.
    """
    layout = _Layout(SourceTree(source), field)
    model_file = layout.add(spec.model_file, "modelFile")
    serialized_file = layout.add(spec.serialized_file, "serializedFile")
    handler = _add_function(layout, spec.function) if spec.function else _add_handler(layout, spec)
    for index in range(len(spec.extra_files)):
        _add_extra(layout, spec, index, lambda archive, at: _unpacked(archive, at, limit, spool))
    manifest = Manifest(
        model_name=name,
        model_version=version,
        handler=handler,
        serialized_file=serialized_file,
        model_file=model_file,
        requirements_file=layout.add(spec.requirements_file, "requirementsFile"),
        config_file=layout.add(spec.config_file, "configFile"),
        runtime=spec.runtime,
    )
    return checked([*layout.files(), manifest.file()], field)


@dataclass(frozen=True, slots=True)
class _Placed:
    file: File
    source: str


class _Layout:
    """The model's folder as it fills."""

    def __init__(self, tree: SourceTree, field: str) -> None:
        self.tree = tree
        self.field = field
        self._placed: dict[str, _Placed] = {}

    def add(self, path: str | None, key: str) -> str | None:
        """Put one file of the source at the top of the folder; return its name there. None: no file, no name."""
        if path is None:
            return None
        field = f"{self.field}.{key}"
        file = self.tree.file(path, field)
        name = posixpath.basename(file.path)
        self.place(name, file, file.path, field)
        return name

    def place(self, target: str, file: File, source: str, field: str) -> None:
        """Put a file at a place of the folder; the same file may come twice."""
        if target == PATH:
            raise BuildError(field, f"brings {source}, but the builder writes {PATH}", "leave it out")
        there = self._placed.setdefault(target, _Placed(file, source))
        if there.source != source:
            raise BuildError(
                field,
                f"{there.source} and {source} would both be {target} in the model's folder",
                "files lie side by side there, without their folders: rename one",
            )

    def files(self) -> list[File]:
        return [File(path, it.file.size, it.file.chunks, it.file.executable) for path, it in self._placed.items()]


def _add_handler(layout: _Layout, spec: PackageSpec) -> str:
    """Put the handler into the folder; return what the manifest calls it."""
    handler = spec.handler or ""
    if handler in HANDLERS:
        handler_checks.check_own_handler(
            handler, model=spec.model_file is not None, serialized=spec.serialized_file, field=layout.field
        )
        _check_python(layout, spec.model_file, "modelFile", handler)
        return handler
    path, _, entry = handler.partition(":")
    name = layout.add(path, "handler")
    field = f"{layout.field}.handler"
    handler_checks.check_module_name(path, field)
    module = read_module(layout.tree.file(path, field), field)
    entry = handler_checks.handler_entry(module, entry or None, field) or ""
    _check_python(layout, spec.model_file, "modelFile", None)
    return f"{name}:{entry}" if entry else f"{name}"


def _check_python(layout: _Layout, path: str | None, key: str, own_handler: str | None) -> None:
    if path is None:
        return
    field = f"{layout.field}.{key}"
    handler_checks.check_module_name(path, field)
    module = read_module(layout.tree.file(path, field), field)
    if own_handler is not None:
        handler_checks.check_model_file(module, own_handler, field)


def _add_function(layout: _Layout, spec: FunctionSpec) -> str:
    """Put the functions, the handler that calls them and its settings into the folder; return the handler's name."""
    field = f"{layout.field}.function"
    file = layout.add(spec.file, "function.file")
    checkpoint = layout.add(spec.checkpoint, "function.checkpoint")
    handler_checks.check_module_name(spec.file, f"{field}.file")
    handler_checks.check_function(
        read_module(layout.tree.file(spec.file, f"{field}.file"), f"{field}.file"), spec, field
    )
    settings = {
        "file": file,
        "init": spec.init,
        "kwargs": spec.kwargs or None,
        "preprocess": spec.preprocess,
        "predict": spec.predict,
        "postprocess": spec.postprocess,
        "checkpoint": checkpoint,
        "maxGPUMemory": spec.max_gpu_memory,
    }
    text = json.dumps({key: value for key, value in settings.items() if value is not None}, indent=2)
    for name, content in ((FUNCTION_HANDLER, function_handler()), (FUNCTION_SETTINGS, f"{text}\n".encode())):
        layout.place(name, of_bytes(name, content), f"the builder's {name}", field)
    return FUNCTION_HANDLER


def _add_extra(layout: _Layout, spec: PackageSpec, index: int, unpack: Callable[[File, str], tuple[File, ...]]) -> None:
    """Put what one of the extra files stands for into the folder."""
    pattern = spec.extra_files[index]
    if pattern not in spec.unpack:
        field = f"{layout.field}.extraFiles[{index}]"
        for target, file in layout.tree.extras(pattern, field):
            layout.place(target, file, file.path, field)
        return
    field = f"{layout.field}.unpack[{spec.unpack.index(pattern)}]"
    archive = layout.tree.file(pattern, field)
    for target, file in without_hidden((it.path, it) for it in unpack(archive, field)):
        layout.place(target, file, f"{file.path} of {archive.path}", field)


@dataclass(frozen=True, slots=True)
class _Part:
    """An archive among the parts."""

    name: str
    open: Callable[[], BinaryIO]


def _unpacked(file: File, field: str, limit: int, spool: Spool) -> tuple[File, ...]:
    try:
        part = _Part(posixpath.basename(file.path), spool(file))
    except ValueError as error:
        raise BuildError(field, str(error)) from None
    return unpacked(part, field, limit)
