"""The converter carries over what a structural schema can say and refuses what it cannot, by name."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from torchserve_operator.api.base import DnsLabel, FreeObject, IntOrPercent, Model, Quantity, Rule
from torchserve_operator.api.structural import InexpressibleError, structural


def of(model: type[BaseModel], **options: Any) -> dict[str, Any]:
    return structural(model.model_json_schema(by_alias=True), root="spec", **options)


def field(annotation: Any, **options: Any) -> dict[str, Any]:
    """Return the schema of a model's one field."""
    model = type("Holder", (BaseModel,), {"__annotations__": {"it": annotation}, "__module__": __name__})
    converted = of(model, **options)
    assert isinstance(converted["properties"], dict)
    return dict(converted["properties"]["it"])


class Inner(Model):
    """Something inside."""

    some_name: DnsLabel
    """Its name."""


class Recursive(BaseModel):
    """A list of itself."""

    children: list["Recursive"] = []


class Ruled(Model):
    """Has a rule."""

    low: int = 0
    """The low end."""
    high: int = 1
    """The high end."""

    rules = (Rule("self.low <= self.high", "low is above high", lambda m: m.low <= m.high, field="low"),)


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (str, {"type": "string"}),
        (bool, {"type": "boolean"}),
        (float, {"type": "number"}),
        (int | None, {"type": "integer"}),
        (Annotated[int, Field(ge=1, le=9)], {"type": "integer", "minimum": 1, "maximum": 9}),
        (Annotated[int, Field(ge=1)] | None, {"type": "integer", "minimum": 1}),
        (Annotated[int, Field(gt=0)], {"type": "integer", "minimum": 0, "exclusiveMinimum": True}),
        (Annotated[int, Field(lt=9)], {"type": "integer", "maximum": 9, "exclusiveMaximum": True}),
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
        (Literal["a"], {"type": "string", "enum": ["a"]}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (dict[str, str], {"type": "object", "additionalProperties": {"type": "string"}}),
        (FreeObject, {"type": "object", "x-kubernetes-preserve-unknown-fields": True}),
        (
            IntOrPercent,
            {
                "x-kubernetes-int-or-string": True,
                "anyOf": [{"type": "integer"}, {"type": "string"}],
                "pattern": "^(100|[0-9]{1,2})%$",
                "minimum": 0,
            },
        ),
        (
            Annotated[dict[Annotated[str, Field(max_length=9)], int], Field(max_length=2)],
            {
                "type": "object",
                "maxProperties": 2,
                "additionalProperties": {"type": "integer"},
                "x-kubernetes-validations": [
                    {"rule": "self.all(key, size(key) <= 9)", "message": "a key has at most 9 characters"}
                ],
            },
        ),
    ],
    ids=str,
)
def test_a_field_becomes_its_structural_schema(annotation: Any, schema: dict[str, Any]) -> None:
    assert field(annotation) == schema


def test_a_quantity_is_an_integer_or_text_and_has_no_type() -> None:
    schema = field(Quantity | None)
    assert "type" not in schema
    assert schema["x-kubernetes-int-or-string"] is True
    assert schema["anyOf"] == [{"type": "integer"}, {"type": "string"}]


def test_references_are_written_out_under_the_fields_own_description() -> None:
    class Outer(Model):
        """The whole."""

        inner: Inner | None = None
        """What is
        inside."""

    inner = of(Outer)["properties"]["inner"]
    assert inner["description"] == "What is inside."
    assert inner["required"] == ["someName"]
    assert inner["properties"]["someName"]["description"] == "Its name."


def test_rules_come_with_message_and_field_path() -> None:
    assert of(Ruled)["x-kubernetes-validations"] == [
        {"rule": "self.low <= self.high", "message": "low is above high", "fieldPath": ".low"}
    ]


def test_no_default_is_carried_over_but_those_asked_for() -> None:
    converted = of(Ruled, keep_defaults={"spec.high"})["properties"]
    assert "default" not in converted["low"]
    assert converted["high"]["default"] == 1


@pytest.mark.parametrize(
    ("annotation", "why"),
    [
        (Any, "each field needs exactly one type"),
        (None, "each field needs exactly one type"),
        (int | str, "is a union"),
        (Inner | Ruled, "is a union"),
        (tuple[int, str], "no prefixItems; use an object with named fields instead of a tuple"),
        (set[int], "no uniqueItems; use x-kubernetes-list-type: set"),
        (list[Any], "is a list of anything"),
        (dict[str, Any], "use FreeObject"),
        (Annotated[int, Field(multiple_of=2)], "no multipleOf; use a rule"),
        (Annotated[int, Field(examples=[1])], "no examples; say it in the description"),
        (Annotated[int, Field(deprecated=True)], "no deprecated; say it in the description"),
        (dict[DnsLabel, str], "no patternProperties; use a map, and a rule over its keys"),
        (dict[Annotated[str, Field(min_length=1)], str], "keys can have a greatest length and no more, not minLength"),
        (dict[Annotated[str, Field(max_length=9)], str], "needs maxProperties"),
        (Recursive, "Recursive contains itself"),
        (
            Annotated[
                list[Ruled],
                Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["low"]}),
            ],
            "is a map by low, which its elements need not have",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_expressed_is_an_error_at_its_field(annotation: Any, why: str) -> None:
    with pytest.raises(InexpressibleError) as raised:
        field(annotation)
    assert raised.value.path.startswith("spec.it")
    assert why in str(raised.value)


def test_a_default_that_is_not_there_cannot_be_kept() -> None:
    with pytest.raises(InexpressibleError, match=r"spec\.it: its default is to be kept and it has none"):
        field(int, keep_defaults={"spec.it"})


def test_an_object_with_fields_and_free_keys_is_an_error() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}}
    with pytest.raises(InexpressibleError, match="has fields and free keys"):
        structural(schema, root="spec")


def test_an_unknown_keyword_is_an_error() -> None:
    with pytest.raises(InexpressibleError, match="spec: a structural schema has no if"):
        structural({"type": "string", "if": {}}, root="spec")


def test_a_dangling_reference_is_an_error() -> None:
    with pytest.raises(InexpressibleError, match="spec: refers to Nothing, which is not defined here"):
        structural({"$ref": "#/$defs/Nothing"}, root="spec")
