"""From a resource as users write it to its model, or to every error with its field path."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from torchserve_operator.api.base import Model
from torchserve_operator.api.errors import FieldError, InvalidResourceError, did_you_mean
from torchserve_operator.api.models import TYPED_MODEL_KEYS
from torchserve_operator.api.names import API_VERSION, KIND, NAME_MAX_LENGTH
from torchserve_operator.api.spec import TorchServeModelSpec


def parse_spec(spec: object) -> TorchServeModelSpec:
    """Return the spec's model.

    Raises:
        InvalidResourceError: With every error found in it.
    """
    try:
        parsed = TorchServeModelSpec.model_validate(spec)
    except ValidationError as error:
        raise InvalidResourceError(_field_error(detail) for detail in error.errors(include_url=False)) from None
    errors = [*_duplicates(parsed), *_typed_parameters(parsed)]
    if errors:
        raise InvalidResourceError(errors)
    return parsed


def parse_resource(body: Mapping[str, Any]) -> TorchServeModelSpec:
    """Return the spec of a whole resource, as in a manifest: apiVersion, kind and name are checked too.

    Raises:
        InvalidResourceError: With every error found in it.
    """
    errors = list(_head_errors(body))
    try:
        spec = parse_spec(body.get("spec"))
    except InvalidResourceError as invalid:
        raise InvalidResourceError([*errors, *invalid.errors]) from None
    if errors:
        raise InvalidResourceError(errors)
    return spec


def _head_errors(body: Mapping[str, Any]) -> list[FieldError]:
    errors = []
    if body.get("apiVersion") != API_VERSION:
        errors.append(FieldError("apiVersion", f'is "{body.get("apiVersion")}", expected "{API_VERSION}"'))
    if body.get("kind") != KIND:
        errors.append(FieldError("kind", f'is "{body.get("kind")}", expected "{KIND}"'))
    metadata = body.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    if not isinstance(name, str) or not name:
        errors.append(FieldError("metadata.name", "is missing; a resource needs a name"))
    elif len(name) > NAME_MAX_LENGTH:
        errors.append(
            FieldError(
                "metadata.name",
                f"has {len(name)} characters; a {KIND}'s name has at most {NAME_MAX_LENGTH} characters, "
                "because its children's names are made of it",
            )
        )
    elif not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name):
        errors.append(
            FieldError(
                "metadata.name",
                f'"{name}" is not a DNS label that starts with a letter (a-z, 0-9 and -), as the name of a Service must be',
            )
        )
    return errors


def _duplicates(spec: TorchServeModelSpec) -> list[FieldError]:
    errors = []
    lists = (
        ("spec.models", [model.name for model in spec.models]),
        ("spec.pod.env", [env.name for env in spec.pod.env]),
        ("spec.pod.volumes", [volume.name for volume in spec.pod.volumes]),
    )
    for path, names in lists:
        for index, name in enumerate(names):
            if name in names[:index]:
                errors.append(FieldError(f"{path}[{index}].name", f'"{name}" appears twice; names are unique'))
    return errors


def _typed_parameters(spec: TorchServeModelSpec) -> list[FieldError]:
    return [
        FieldError(
            f"spec.models[{index}].parameters.{key}",
            f"{key} has a field of its own: set spec.models[{index}].{key}",
        )
        for index, model in enumerate(spec.models)
        for key in model.parameters
        if key in TYPED_MODEL_KEYS
    ]


def _path(location: tuple[int | str, ...]) -> str:
    path = "spec"
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path


def _field_error(detail: ErrorDetails) -> FieldError:
    # The last part is no field where pydantic names the member of a union or a key of a dict.
    location = tuple(part for part in detail["loc"] if part not in {"int", "str", "[key]"})
    kind, context, given = detail["type"], detail.get("ctx", {}), detail["input"]
    if kind == "rule":
        path = _path((*location, context["field"]) if context.get("field") else location)
        return FieldError(path, str(context["message"]))
    path = _path(location)
    if kind == "extra_forbidden":
        word = str(location[-1])
        known = _fields_at(location[:-1])
        return FieldError(
            path, f"is not a field{did_you_mean(word, known) or '; known here: ' + ', '.join(sorted(known))}"
        )
    if kind == "missing":
        return FieldError(path, "is required")
    if kind == "literal_error":
        expected = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        return FieldError(
            path, f"is {given!r}; expected one of {', '.join(expected)}{did_you_mean(str(given), expected)}"
        )
    return FieldError(
        path, f"is {given!r}: {detail['msg'][:1].lower()}{detail['msg'][1:]}" if kind not in _OWN else detail["msg"]
    )


_OWN = {"quantity", "int_or_percent"}


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """Return the camelCase fields of the model at a location."""
    model: type[Model] = TorchServeModelSpec
    for part in location:
        if isinstance(part, int):
            continue
        field = next((info for info in model.model_fields.values() if info.alias == part), None)
        inner = _model_in(field.annotation) if field else None
        if inner is None:
            return []
        model = inner
    return [info.alias or name for name, info in model.model_fields.items()]


def _model_in(annotation: Any) -> type[Model] | None:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return annotation
    for part in getattr(annotation, "__args__", ()):
        found = _model_in(part)
        if found is not None:
            return found
    return None
