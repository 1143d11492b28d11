"""From a pydantic model's JSON schema to a structural schema, the dialect of a CustomResourceDefinition.

A structural schema is not JSON Schema: the API server refuses some keywords and silently ignores the meaning of others.
So every keyword is either carried over, translated, or an error here, never dropped in the hope that it did not matter.
Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

Schema = dict[str, Any]


class InexpressibleError(TypeError):
    """A model says something that a structural schema cannot.

    Attributes:
        path: The field, from the root of the schema; list elements as ``[]``, map values as ``[*]``.
    """

    def __init__(self, path: str, why: str) -> None:
        self.path = path
        super().__init__(f"{path}: {why}")


_CARRIED: Final = (
    "description",
    "type",
    "format",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
)
"""Keywords that mean the same in both, in the order they are written."""

_TRANSLATED: Final = frozenset(
    {
        "title",
        "default",
        "const",
        "properties",
        "items",
        "additionalProperties",
        "propertyNames",
        "exclusiveMinimum",
        "exclusiveMaximum",
    }
)

_INSTEAD: Final = {
    "allOf": "write one schema",
    "deprecated": "say it in the description",
    "discriminator": "use optional members and a rule that exactly one is set",
    "examples": "say it in the description",
    "multipleOf": "use a rule",
    "not": "use a rule",
    "oneOf": "use optional members and a rule that exactly one is set",
    "patternProperties": "use a map, and a rule over its keys",
    "prefixItems": "use an object with named fields instead of a tuple",
    "uniqueItems": "use x-kubernetes-list-type: set",
}
"""What to write instead of a keyword that the API server refuses."""

_SCALARS: Final = frozenset({"string", "integer", "number", "boolean"})


def structural(schema: Mapping[str, Any], *, root: str, keep_defaults: Collection[str] = ()) -> Schema:
    """Return the structural schema of a pydantic model's JSON schema.

    Args:
        schema: `Model.model_json_schema(by_alias=True)`; references into its own `$defs` are written out in place.
        root: The path of its root, such as ``spec``: errors and `keep_defaults` begin with it.
        keep_defaults: Paths of the fields whose default the API server fills in. No other default is carried over.

    Raises:
        InexpressibleError: Something in it has no structural form; the message says what to write instead.
    """
    return _Converter(schema.get("$defs", {}), frozenset(keep_defaults)).convert(dict(schema), root, ())


class _Converter:
    def __init__(self, definitions: Mapping[str, Schema], keep_defaults: frozenset[str]) -> None:
        self._definitions = definitions
        self._keep_defaults = keep_defaults

    def convert(self, schema: Schema, path: str, within: tuple[str, ...]) -> Schema:
        """Convert one schema; `within` names the definitions that it lies in."""
        schema, within = self._flatten(schema, path, within)
        _refuse_unknown(schema, path)
        result = _translated(schema)
        if path in self._keep_defaults:
            if schema.get("default") is None:
                raise InexpressibleError(path, "its default is to be kept and it has none")
            result["default"] = schema["default"]
        if schema.get("x-kubernetes-int-or-string"):
            result.pop("type", None)
            result["anyOf"] = [{"type": "integer"}, {"type": "string"}]
            return result
        match schema.get("type"):
            case "object":
                self._object(schema, result, path, within)
            case "array":
                self._array(schema, result, path, within)
            case kind if kind not in _SCALARS:
                raise InexpressibleError(path, f"has the type {kind!r}; each field needs exactly one type")
        return result

    def _flatten(self, schema: Schema, path: str, within: tuple[str, ...]) -> tuple[Schema, tuple[str, ...]]:
        """Write references out and make ``X | None`` an X: absent is how a resource says null."""
        while True:
            schema = {key: value for key, value in schema.items() if key != "$defs"}
            if "$ref" in schema:
                name = str(schema.pop("$ref")).removeprefix("#/$defs/")
                if name in within:
                    raise InexpressibleError(path, f"{name} contains itself; a structural schema is a finite tree")
                if name not in self._definitions:
                    raise InexpressibleError(path, f"refers to {name}, which is not defined here")
                schema, within = self._definitions[name] | schema, (*within, name)
            elif "anyOf" in schema:
                branches = [branch for branch in schema["anyOf"] if branch != {"type": "null"}]
                del schema["anyOf"]
                if len(branches) == 1:
                    schema = branches[0] | schema
                elif not schema.get("x-kubernetes-int-or-string"):
                    raise InexpressibleError(
                        path, "is a union; use optional members and a rule, or x-kubernetes-int-or-string"
                    )
            else:
                return schema, within

    def _object(self, schema: Schema, result: Schema, path: str, within: tuple[str, ...]) -> None:
        values = schema.get("additionalProperties", False)
        if "properties" in schema:
            if values is not False:
                raise InexpressibleError(path, "has fields and free keys; a structural schema has one or the other")
            result["properties"] = {
                name: self.convert(field, f"{path}.{name}", within) for name, field in schema["properties"].items()
            }
        elif isinstance(values, Mapping):
            result["additionalProperties"] = self.convert(dict(values), f"{path}[*]", within)
        elif not schema.get("x-kubernetes-preserve-unknown-fields"):
            raise InexpressibleError(
                path, "says nothing about its fields; the API server would drop them all: use FreeObject"
            )
        if "propertyNames" in schema:
            result.setdefault("x-kubernetes-validations", [])
            result["x-kubernetes-validations"] = [
                *result["x-kubernetes-validations"],
                _key_rule(schema["propertyNames"], path, bounded="maxProperties" in schema),
            ]

    def _array(self, schema: Schema, result: Schema, path: str, within: tuple[str, ...]) -> None:
        if not isinstance(schema.get("items"), Mapping) or not schema["items"]:
            raise InexpressibleError(path, "is a list of anything; name its elements' type")
        items = self.convert(schema["items"], f"{path}[]", within)
        for key in schema.get("x-kubernetes-list-map-keys", ()):
            if key not in items.get("required", ()):
                raise InexpressibleError(path, f"is a map by {key}, which its elements need not have; make it required")
        result["items"] = items


def _translated(schema: Schema) -> Schema:
    """Return the keywords that concern this schema alone, in the API server's words."""
    result: Schema = {key: schema[key] for key in _CARRIED if key in schema}
    if "description" in result:
        result["description"] = " ".join(result["description"].split())
    if "const" in schema:
        result["enum"] = [schema["const"]]
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if exclusive in schema:
            # Draft 4's form, which is the API server's: a number and a flag.
            result |= {bound: schema[exclusive], exclusive: True}
    return result


def _refuse_unknown(schema: Schema, path: str) -> None:
    for key in schema:
        if key not in _CARRIED and key not in _TRANSLATED:
            instead = _INSTEAD.get(key)
            raise InexpressibleError(path, f"a structural schema has no {key}" + (f"; {instead}" if instead else ""))


def _key_rule(names: Mapping[str, Any], path: str, *, bounded: bool) -> Schema:
    """Say as a CEL rule what `propertyNames` says: only a length, since a pattern over keys has no bounded cost."""
    if set(names) - {"type"} != {"maxLength"}:
        beyond = ", ".join(sorted(set(names) - {"type", "maxLength"})) or "nothing"
        raise InexpressibleError(path, f"keys can have a greatest length and no more, not {beyond}; use a rule")
    if not bounded:
        raise InexpressibleError(path, "a rule over keys needs maxProperties, or its cost has no bound")
    longest = names["maxLength"]
    return {"rule": f"self.all(key, size(key) <= {longest})", "message": f"a key has at most {longest} characters"}
