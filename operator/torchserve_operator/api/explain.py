"""From pydantic's errors to errors for people: the field as kubectl writes it, what is wrong, what was expected."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from pydantic_core import ErrorDetails

from torchserve_operator.api.base import Model
from torchserve_operator.api.errors import FieldError, did_you_mean
from torchserve_operator.api.spec import TorchServeModelSpec

_SHOWN_LENGTH = 80

_EXPECTED: dict[str, Callable[[dict[str, Any]], str]] = {
    "bool_type": lambda _: "expected true or false",
    "dict_type": lambda _: "expected an object",
    "greater_than_equal": lambda context: f"the least is {context['ge']}",
    "int_from_float": lambda _: "expected a whole number",
    "int_type": lambda _: "expected a whole number",
    "less_than_equal": lambda context: f"the most is {context['le']}",
    "list_type": lambda _: "expected a list",
    "model_type": lambda _: "expected an object",
    "string_pattern_mismatch": lambda context: f"expected text that matches {context['pattern']}",
    "string_too_long": lambda context: f"the most is {_count(context['max_length'], 'character')}",
    "string_too_short": lambda context: f"the least is {_count(context['min_length'], 'character')}",
    "too_long": lambda context: f"the most is {_count(context['max_length'], 'element')}",
    "too_short": lambda context: f"the least is {_count(context['min_length'], 'element')}",
}
"""What was expected, by the kind of pydantic's error; a text where a number came gets a sentence of its own."""


def field_errors(detail: ErrorDetails) -> Iterator[FieldError]:
    """Yield the errors that one of pydantic's stands for: one a broken rule, else exactly one."""
    location, context, given = detail["loc"], detail.get("ctx", {}), detail["input"]
    if location and location[-1] == "[key]":
        yield FieldError(path_of(location[:-1]), f"the key has {_wrong_key(detail)}")
        return
    path = path_of(location)
    match detail["type"]:
        case "rules":
            for broken in context["broken"]:
                yield FieldError(path_of((*location, *filter(None, [broken["field"]]))), broken["message"])
        case "extra_forbidden":
            known = _fields_at(location[:-1])
            hint = did_you_mean(str(location[-1]), known) or f"; known here: {', '.join(sorted(known))}"
            yield FieldError(path, f"is not a field{hint}")
        case "missing":
            yield FieldError(path, "is required")
        case "literal_error":
            choices = re.findall(r"'([^']*)'", str(context.get("expected", "")))
            expected = ", ".join(choice or '""' for choice in choices)
            yield FieldError(path, f"is {shown(given)}; expected one of {expected}{did_you_mean(str(given), choices)}")
        case "string_type" if isinstance(given, bool | int | float):
            yield FieldError(path, f"is {shown(given)}; expected text: write it in quotes")
        case "string_type":
            yield FieldError(path, f"is {shown(given)}; expected text")
        case kind if kind in _EXPECTED:
            yield FieldError(path, f"is {shown(given)}; {_EXPECTED[kind](context)}")
        case _:
            yield FieldError(path, detail["msg"])


def path_of(location: tuple[int | str, ...]) -> str:
    """Return a field's path as kubectl writes it: ``spec.models[0].name``, ``spec.pod.labels[example.com/team]``."""
    path = "spec"
    for part in location:
        plain = isinstance(part, str) and re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", part)
        path += f".{part}" if plain else f"[{part}]"
    return path


def shown(value: object) -> str:
    """Return a value as it stands in a manifest, shortened; an object or a list is only named."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if value is None:
        return "empty"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]}…"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _wrong_key(detail: ErrorDetails) -> str:
    if detail["type"] == "string_too_long":
        return f"{len(str(detail['input']))} characters; the most is {detail['ctx']['max_length']}"
    return f"an error: {detail['msg']}"


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """Return the camelCase fields of the model at a location."""
    model: type[Model] = TorchServeModelSpec
    for part in location:
        if isinstance(part, int):
            continue
        field = next((info for info in model.model_fields.values() if info.alias == part), None)
        inner = model_in(field.annotation) if field else None
        if inner is None:
            return []
        model = inner
    return [info.alias or name for name, info in model.model_fields.items()]


def model_in(annotation: Any) -> type[Model] | None:
    """Return the model that an annotation is, or holds: of `list[X] | None`, X."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return annotation
    for part in getattr(annotation, "__args__", ()):
        found = model_in(part)
        if found is not None:
            return found
    return None
