"""What every model of the resource has in common: camelCase names, no unknown fields, CEL rules and their twins."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from torchserve_operator.api.quantity import PATTERN, parse_quantity


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule over several fields, said twice: for the API server in CEL and for `validate` in Python.

    Attributes:
        cel: The rule as the API server evaluates it; `self` is the object.
        message: What a user reads when it does not hold.
        holds: The same rule over the parsed model.
        field: The field that the error is reported at, in camelCase; empty for the object itself.
    """

    cel: str
    message: str
    holds: Callable[[Any], bool]
    field: str = ""


class Model(BaseModel):
    """A part of the resource. Immutable; unknown fields are errors."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        strict=True,
        frozen=True,
        use_attribute_docstrings=True,
        # A validator is made when it is first used: a build's process needs few of them, and soon.
        defer_build=True,
        # Rust's dialect is the API server's (RE2): in Python's own, `$` also matches before a trailing newline.
        regex_engine="rust-regex",
    )

    rules: ClassVar[tuple[Rule, ...]] = ()

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Carry the CEL rules into the schema."""
        schema = handler.resolve_ref_schema(handler(core_schema))
        if cls.rules:
            schema["x-kubernetes-validations"] = [
                {"rule": rule.cel, "message": rule.message} | ({"fieldPath": f".{rule.field}"} if rule.field else {})
                for rule in cls.rules
            ]
        return schema

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, value: object) -> object:
        """Drop nulls, so that a required one is missing; `shape` names each of them as what it is."""
        if isinstance(value, Mapping):
            return {key: item for key, item in value.items() if item is not None}
        return value

    @model_validator(mode="after")
    def _rules_hold(self) -> Self:
        broken = [{"field": rule.field, "message": rule.message} for rule in self.rules if not rule.holds(self)]
        if broken:
            raise PydanticCustomError("rules", "rules do not hold", {"broken": broken})
        return self


def _quantity(value: object) -> object:
    if isinstance(value, float):
        raise PydanticCustomError(
            "quantity", "{message}", {"message": f'is the number {value}; write it as text: "{value}"'}
        )
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise PydanticCustomError("quantity", "{message}", {"message": "is not a quantity, such as 500m or 2Gi"})
    try:
        amount = parse_quantity(value)
    except ValueError as error:
        raise PydanticCustomError("quantity", "{message}", {"message": str(error)}) from None
    if amount < 0:
        raise PydanticCustomError("quantity", "{message}", {"message": f'"{value}" is negative; a quantity is not'})
    return str(value)


Quantity = Annotated[
    str,
    BeforeValidator(_quantity),
    Field(json_schema_extra={"x-kubernetes-int-or-string": True, "pattern": PATTERN, "maxLength": 64}),
]
"""A Kubernetes quantity, as written. Integers are allowed, as everywhere in Kubernetes."""


def _int_or_percent(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and re.fullmatch(_PERCENT, value):
        return value
    raise PydanticCustomError(
        "int_or_percent",
        "{message}",
        {"message": f'is "{value}", neither a whole number (1) nor a percentage (50%)'},
    )


_PERCENT = r"^(100|[0-9]{1,2})%$"

IntOrPercent = Annotated[
    int | str,
    BeforeValidator(_int_or_percent),
    Field(json_schema_extra={"x-kubernetes-int-or-string": True, "pattern": _PERCENT, "minimum": 0}),
]
"""A count or a percentage of the wanted pods."""

FreeObject = Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]
"""An object whose keys are somebody else's: kept as they are."""

DnsLabel = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63, min_length=1)]
DnsName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253, min_length=1)]
EnvName = Annotated[str, Field(pattern=r"^[-._a-zA-Z][-._a-zA-Z0-9]*$", max_length=256, min_length=1)]
LabelValue = Annotated[str, Field(pattern=r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$", max_length=63)]
LabelKey = Annotated[str, Field(max_length=317)]
