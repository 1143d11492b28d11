"""From a resource as users write it to its model, or to every error with its field path."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from torchserve_operator.api.errors import FieldError, InvalidResourceError, did_you_mean
from torchserve_operator.api.explain import field_errors, shown
from torchserve_operator.api.models import TYPED_MODEL_KEYS
from torchserve_operator.api.names import API_VERSION, KIND, NAME_MAX_LENGTH
from torchserve_operator.api.shape import shape_errors
from torchserve_operator.api.spec import TorchServeModelSpec


def parse_spec(spec: object) -> TorchServeModelSpec:
    """Return the spec's model.

    Raises:
        InvalidResourceError: With every error found in it.
    """
    if spec is None:
        raise InvalidResourceError([FieldError("spec", "is missing; it needs at least models, and image or build")])
    errors = list(shape_errors(spec))
    try:
        parsed = TorchServeModelSpec.model_validate(spec)
    except ValidationError as error:
        named = {found.path for found in errors}
        errors += [
            found
            for detail in error.errors(include_url=False)
            for found in field_errors(detail)
            if found.path not in named
        ]
        raise InvalidResourceError(errors) from None
    errors += _typed_parameters(parsed)
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


_ROOT = ("apiVersion", "kind", "metadata", "spec", "status")


def _head_errors(body: Mapping[str, Any]) -> list[FieldError]:
    errors = []
    for field, expected in (("apiVersion", API_VERSION), ("kind", KIND)):
        given = body.get(field)
        if given != expected:
            errors.append(FieldError(field, f"is {shown(given)}, expected {expected}"))
    errors += [
        FieldError(str(key), f"is not a field{did_you_mean(str(key), _ROOT)}") for key in body if key not in _ROOT
    ]
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
                f'"{name}": a {KIND}\'s name is a DNS label that starts with a letter (a-z, 0-9 and -), '
                "because it names a Service",
            )
        )
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
