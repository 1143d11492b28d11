"""What the CRD's schema refuses and pydantic has no word for: nulls, and two elements of a list with the same key."""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from torchserve_operator.api.errors import FieldError
from torchserve_operator.api.explain import path_of
from torchserve_operator.api.spec import TorchServeModelSpec
from torchserve_operator.api.structural import Schema, structural


def shape_errors(spec: object) -> Iterator[FieldError]:
    """Yield an error for each null and each duplicate in a spec as users write it; wrong types are not its business."""
    yield from _errors(spec, _spec_schema(), ())


@functools.cache
def _spec_schema() -> Schema:
    return structural(TorchServeModelSpec.model_json_schema(by_alias=True), root="spec")


def _errors(value: object, schema: Schema, location: tuple[int | str, ...]) -> Iterator[FieldError]:
    if value is None:
        # `kubectl create` drops nulls, a server-side apply refuses them: what is valid must be so for both.
        yield FieldError(path_of(location), "is empty; give it a value or leave the field out")
    elif isinstance(value, Mapping) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        fields, others = schema.get("properties", {}), schema.get("additionalProperties")
        for key, item in value.items():
            inner = fields.get(key, others)
            if inner is not None:
                yield from _errors(item, inner, (*location, key))
    elif isinstance(value, list) and schema.get("type") == "array":
        for index, item in enumerate(value):
            yield from _errors(item, schema["items"], (*location, index))
        yield from _duplicates(value, schema, location)


def _duplicates(values: list[Any], schema: Schema, location: tuple[int | str, ...]) -> Iterator[FieldError]:
    keyed: list[tuple[int, tuple[str, ...], object]]
    match schema:
        case {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}:
            keyed = [(index, (key,), item.get(key)) for index, item in enumerate(values) if isinstance(item, Mapping)]
        case {"x-kubernetes-list-type": "set"}:
            keyed = [(index, (), item) for index, item in enumerate(values)]
        case _:
            return
    seen: list[object] = []
    for index, suffix, item in keyed:
        if item is None:
            continue
        if item in seen:
            yield FieldError(path_of((*location, index, *suffix)), f'"{item}" appears twice; it must be unique')
        seen.append(item)
