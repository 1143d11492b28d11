"""MAR-INF/MANIFEST.json: what a model archive says of itself, as TorchServe 0.12 reads it."""

import json
import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.files import File, of_bytes

PATH: Final = "MAR-INF/MANIFEST.json"
MAX_SIZE: Final = 1 << 20

_CREATED: Final = "01/01/1970 00:00:00"
"""torch-model-archiver writes the present time, and no two archives are the same."""
_ARCHIVER: Final = "0.12.0"
"""The torch-model-archiver whose format it is. TorchServe refuses a manifest without one."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A model's manifest. Names of files are relative to the model's folder; None: there is none.

    Attributes:
        model_name: TorchServe serves it by the name that it is loaded under, not by this one.
        model_version: As text, such as "1.0".
        handler: A file (`handler.py`, `handler.py:function`), a module, or one of TorchServe's own by name.
        serialized_file: The weights, or the TorchScript or ONNX file.
        model_file: The Python file with the model's class.
        requirements_file: For TorchServe's own pip at start, which the operator leaves off.
        config_file: The model-config.yaml.
        runtime: python, python3 or LSP.
    """

    model_name: str
    model_version: str
    handler: str
    serialized_file: str | None = None
    model_file: str | None = None
    requirements_file: str | None = None
    config_file: str | None = None
    runtime: str = "python"

    def file(self) -> File:
        """Return the manifest's file: the same bytes for the same manifest."""
        model = {
            "modelName": self.model_name,
            "serializedFile": self.serialized_file,
            "handler": self.handler,
            "modelFile": self.model_file,
            "modelVersion": self.model_version,
            "requirementsFile": self.requirements_file,
            "configFile": self.config_file,
        }
        document = {
            "createdOn": _CREATED,
            "runtime": self.runtime,
            "model": {key: value for key, value in model.items() if value},
            "archiverVersion": _ARCHIVER,
        }
        return of_bytes(PATH, f"{json.dumps(document, indent=2)}\n".encode())


def parse(file: File, archive: str, field: str) -> Manifest:
    """Read a manifest that somebody else wrote.

    A name, a version and a runtime may be absent: the agent gives them. Of what is there beyond, nothing is asked.

    Args:
        file: The manifest.
        archive: The archive's name, for messages.
        field: Where in the resource the archive is given.

    Raises:
        BuildError: It is not JSON, or names no handler.
    """

    def refuse(message: str) -> NoReturn:
        raise BuildError(field, f"{archive}: {PATH} {message}", "pack it with torch-model-archiver")

    def text(values: dict[str, Any], key: str, prefix: str = "model.") -> str | None:
        value = values.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)  # TorchServe's reader takes 1.0 for "1.0"
        if value is not None and not isinstance(value, str):
            refuse(f'has a "{prefix}{key}" that is not text')
        return value or None

    document = _document(file, refuse)
    model = document.get("model")
    if not isinstance(model, dict):
        refuse('has no object "model"')
    handler = text(model, "handler")
    if handler is None:
        refuse('has no "model.handler"; TorchServe would not know what to run')
    return Manifest(
        model_name=text(model, "modelName") or "",
        model_version=text(model, "modelVersion") or "",
        handler=handler,
        serialized_file=text(model, "serializedFile"),
        model_file=text(model, "modelFile"),
        requirements_file=text(model, "requirementsFile"),
        config_file=text(model, "configFile"),
        runtime=text(document, "runtime", "") or "python",
    )


def _document(file: File, refuse: Callable[[str], NoReturn]) -> dict[str, Any]:
    if file.size > MAX_SIZE:
        refuse(f"has {file.size:,} bytes; a manifest has a few hundred")
    try:
        document = json.loads(b"".join(file.chunks()).decode("utf-8-sig"))
    except UnicodeDecodeError:
        refuse("is not UTF-8")
    except json.JSONDecodeError as error:
        refuse(f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}")
    except RecursionError:
        refuse("is not a manifest: it is nested too deeply")
    if not isinstance(document, dict):
        refuse("is not a JSON object")
    return document


def files_named(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Yield key and path of the files without which the model cannot load.

    A handler without `.py` is a module, which may be TorchServe's own or installed in the image. An absent configFile
    or requirementsFile is no fault: TorchServe goes on without.
    """
    handler = manifest.handler.partition(":")[0]
    if handler.endswith(".py"):
        yield "handler", handler.rpartition("/")[2]  # as TorchServe imports it
    if manifest.serialized_file:
        yield "serializedFile", posixpath.normpath(manifest.serialized_file)
    if manifest.model_file:
        yield "modelFile", posixpath.normpath(manifest.model_file)
