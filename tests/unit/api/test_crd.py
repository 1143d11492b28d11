"""What the CRD promises to kubectl, to the scale subresource and to GitOps tools."""

import json
from collections.abc import Iterator
from typing import Any

from torchserve_operator.api.crd import custom_resource_definition

CRD = custom_resource_definition()
VERSION: dict[str, Any] = CRD["spec"]["versions"][0]
SCHEMA: dict[str, Any] = VERSION["schema"]["openAPIV3Schema"]
LAST_APPLIED_LIMIT = 256 * 1024


def nodes(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each schema of a tree with its path."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from nodes(schema["additionalProperties"], f"{path}[*]")


ALL = [node for part in ("spec", "status") for node in nodes(SCHEMA["properties"][part], part)]


def test_every_field_has_a_description() -> None:
    # The elements of a list and a map are described by their list or map.
    assert [path for path, schema in ALL if not path.endswith("]") and not schema.get("description")] == []


def test_every_rule_has_a_message() -> None:
    rules = [rule for _, schema in [*ALL, ("", SCHEMA)] for rule in schema.get("x-kubernetes-validations", ())]
    assert len(rules) > 10
    assert all(rule["message"] for rule in rules)


def test_replicas_has_the_only_default() -> None:
    assert {path: schema["default"] for path, schema in ALL if "default" in schema} == {"spec.replicas": 1}


def test_every_list_map_and_text_of_the_spec_has_a_bound() -> None:
    bounds = {"array": "maxItems", "object": "maxProperties", "string": "maxLength"}
    unbounded = [
        path
        for path, schema in nodes(SCHEMA["properties"]["spec"], "spec")
        if schema.get("type") in bounds
        and "properties" not in schema
        and "enum" not in schema
        and "x-kubernetes-preserve-unknown-fields" not in schema
        and bounds[schema["type"]] not in schema
    ]
    assert unbounded == []


def test_kubectl_apply_has_room_for_it_in_an_annotation() -> None:
    assert len(json.dumps(CRD)) < LAST_APPLIED_LIMIT


def test_the_scale_subresource_points_at_fields_that_exist() -> None:
    scale = VERSION["subresources"]["scale"]
    assert scale == {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    assert {path.removeprefix(".") for path in scale.values()} <= {path for path, _ in ALL}


def test_kubectl_get_shows_the_promised_columns() -> None:
    columns = VERSION["additionalPrinterColumns"]
    assert [column["name"] for column in columns if not column.get("priority")] == [
        "Ready",
        "Replicas",
        "Workers",
        "Version",
        "Reason",
        "Age",
    ]
    assert [column["name"] for column in columns if column.get("priority")] == ["Image", "URL", "Message"]
