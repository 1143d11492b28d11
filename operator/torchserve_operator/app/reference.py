"""The reference pages: every field of the resource, every condition and reason, from the code's own words."""

import ast
import enum
import inspect
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import PydanticUndefined

from torchserve_operator.api.base import Model
from torchserve_operator.api.conditions import ConditionType, Reason
from torchserve_operator.api.crd import custom_resource_definition
from torchserve_operator.api.explain import model_in
from torchserve_operator.api.names import API_VERSION, KIND, NAME_MAX_LENGTH
from torchserve_operator.api.spec import TorchServeModelSpec
from torchserve_operator.api.status import TorchServeModelStatus

NOTICE: Final = "<!-- Generated from operator/torchserve_operator/api by `make generate`; do not edit. -->\n"

_INTRODUCTION: Final = f"""\
`apiVersion: {API_VERSION}`, `kind: {KIND}`. A name has at most {NAME_MAX_LENGTH} characters and is a DNS label that
starts with a letter. Fields that are not here are refused by `kubectl apply --validate=strict` and by
`torchserve-operator validate`. `[]` is an element of a list, `[*]` a value of a map.

Of all defaults only that of `spec.replicas` is written into the resource; the operator fills in the others while it
reads.
"""

_CONDITIONS_INTRODUCTION: Final = f"""\
What a {KIND} says about itself in `status.conditions`. The words are constants: alerts may rely on them. Messages are
for people; their wording may change.
"""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One field as the page shows it."""

    path: str
    schema: dict[str, Any]
    required: bool
    default: object


def resource_page() -> str:
    """Return the page of the resource: each field's path, type, default, description and rules."""
    properties = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    lines = [
        NOTICE,
        f"# {KIND}\n",
        _INTRODUCTION,
        "## spec\n",
        *_section(properties["spec"], "spec", TorchServeModelSpec),
        "\n## status\n",
        "Written by the operator.\n",
        *_section(properties["status"], "status", TorchServeModelStatus),
    ]
    return "\n".join(lines) + "\n"


def conditions_page() -> str:
    """Return the page of the conditions and their reasons."""
    lines = [
        NOTICE,
        "# Conditions\n",
        _CONDITIONS_INTRODUCTION,
        "## Types\n",
        *_described(ConditionType),
        "\n## Reasons\n",
        *_described(Reason),
    ]
    return "\n".join(lines) + "\n"


def member_docs(kind: type[enum.Enum]) -> dict[str, str]:
    """Return the docstring below each member of an enumeration, by the member's value.

    Raises:
        ValueError: A member has none.
    """
    body = ast.parse(inspect.getsource(kind)).body[0]
    statements = body.body if isinstance(body, ast.ClassDef) else []
    docs: dict[str, str] = {}
    for statement, following in zip(statements, [*statements[1:], None], strict=True):
        if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
            continue
        name = statement.targets[0].id
        match following:
            case ast.Expr(value=ast.Constant(value=str(text))):
                docs[kind[name].value] = " ".join(text.split())
            case _:
                raise ValueError(f"{kind.__name__}.{name} has no docstring")
    return docs


def _described(kind: type[enum.Enum]) -> list[str]:
    name = "type" if kind is ConditionType else "reason"
    return [f"| {name} | meaning |", "| --- | --- |"] + [
        f"| `{value}` | {_cell(text)} |" for value, text in member_docs(kind).items()
    ]


def _section(schema: dict[str, Any], path: str, model: type[Model]) -> list[str]:
    entries = list(_entries(schema, path, model))
    table = ["| field | type | default | |", "| --- | --- | --- | --- |"]
    for entry in entries:
        text = " ".join([entry.schema.get("description", ""), *_rules(entry.schema)])
        table.append(f"| `{entry.path}` | {_type(entry.schema)} | {_default(entry)} | {_cell(text)} |")
    return table


def _entries(schema: dict[str, Any], path: str, model: type[Model] | None) -> Iterator[_Entry]:
    """Yield every field below an object, depth first, in the order they are written in the models."""
    for name, field in schema.get("properties", {}).items():
        info = next((info for info in model.model_fields.values() if info.alias == name), None) if model else None
        default = info.get_default(call_default_factory=True) if info else None
        here = f"{path}.{name}"
        yield _Entry(here, field, name in schema.get("required", ()), None if default is PydanticUndefined else default)
        inner = model_in(info.annotation) if info else None
        if field.get("type") == "array":
            yield from _entries(field["items"], f"{here}[]", inner)
        else:
            yield from _entries(field, here, inner)


def _type(schema: dict[str, Any]) -> str:
    if schema.get("x-kubernetes-int-or-string"):
        return "quantity" if schema.get("maxLength") else "integer or percentage"
    if "enum" in schema:
        return " \\| ".join(f"`{json.dumps(value) if value == '' else value}`" for value in schema["enum"])
    kind = schema["type"]
    if kind == "array":
        return f"list of {_type(schema['items'])}{_bounds(schema, 'Items', ' elements')}"
    if kind == "object":
        values = schema.get("additionalProperties")
        name = f"map of {_type(values)}" if values else "object"
        return name + (" with free keys" if schema.get("x-kubernetes-preserve-unknown-fields") else "")
    if kind == "string":
        return f"string{_bounds(schema, 'Length', ' characters')}"
    return str(kind) + _range(schema)


def _range(schema: dict[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is None and high is None:
        return ""
    return f" {'' if low is None else low}..{'' if high is None else high}"


def _bounds(schema: dict[str, Any], what: str, unit: str) -> str:
    most = schema.get(f"max{what}")
    return f", at most {most}{unit}" if most is not None else ""


def _default(entry: _Entry) -> str:
    if entry.required:
        return "required"
    if entry.default is None or isinstance(entry.default, Model) or entry.default in ([], {}):
        return ""
    return f"`{json.dumps(entry.default)}`"


def _rules(schema: dict[str, Any]) -> list[str]:
    items = schema.get("items", {}) if schema.get("type") == "array" else {}
    rules = [
        *schema.get("x-kubernetes-validations", ()),
        *items.get("x-kubernetes-validations", ()),
    ]
    said = [f"Rule: *{rule['message']}*." for rule in rules]
    if schema.get("x-kubernetes-list-type") == "map":
        said.append(f"Elements are merged by `{'`, `'.join(schema['x-kubernetes-list-map-keys'])}`, which is unique.")
    if schema.get("x-kubernetes-list-type") == "set":
        said.append("Elements are unique.")
    if "pattern" in schema and not schema.get("x-kubernetes-int-or-string"):
        said.append(f"Pattern: `{schema['pattern']}`.")
    return said


def _cell(text: str) -> str:
    return text.replace("|", "\\|").strip()
