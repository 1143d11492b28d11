"""`torchserve-operator validate` on every manifest of the corpus, through the front door."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from corpus.cases import BadCase, bad_cases, body_of, good_files
from torchserve_operator.api.crd import custom_resource_definition
from torchserve_operator.app.cli import main

SCHEMA: dict[str, Any] = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


@pytest.mark.parametrize("file", good_files(), ids=lambda file: file.stem)
def test_a_good_resource_is_valid(file: Path) -> None:
    result = CliRunner().invoke(main, ["validate", "-f", str(file)])
    assert (result.exit_code, result.stdout) == (0, "")


@pytest.mark.parametrize("case", bad_cases(), ids=lambda case: case.file.stem)
def test_a_bad_resource_is_refused_at_its_field_with_the_reason(case: BadCase) -> None:
    result = CliRunner().invoke(main, ["validate", "-f", str(case.file)])
    assert result.exit_code == 1
    assert any(f": {case.path}: " in line and case.expect in line for line in result.stdout.splitlines()), result.stdout


def test_the_corpus_has_at_least_40_malformed_resources_and_12_good_ones() -> None:
    assert len(bad_cases()) >= 40
    assert len(good_files()) >= 12


def test_the_good_corpus_uses_every_field() -> None:
    used = {path for file in good_files() for path in _paths(body_of(file)["spec"], SCHEMA["properties"]["spec"])}
    declared = set(_declared(SCHEMA["properties"]["spec"]))
    assert declared - used == set()


def test_the_bad_corpus_breaks_every_rule() -> None:
    expected = [case.expect for case in bad_cases()]
    messages = {rule["message"] for rule in _rules(SCHEMA) if not rule["rule"].startswith("self.all(key")}
    assert {message for message in messages if not any(part in message for part in expected)} == set()


def _rules(schema: Any) -> Iterator[dict[str, str]]:
    """Yield every CEL rule of a schema."""
    for key, value in schema.items() if isinstance(schema, dict) else ():
        if key == "x-kubernetes-validations":
            yield from value
        else:
            yield from _rules(value)


def _paths(value: Any, schema: dict[str, Any], path: str = "spec") -> Iterator[str]:
    """Yield the paths of the declared fields that a value sets."""
    if isinstance(value, dict):
        for key, inner in schema.get("properties", {}).items():
            if key in value:
                yield f"{path}.{key}"
                yield from _paths(value[key], inner, f"{path}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from _paths(item, schema["items"], f"{path}[]")


def _declared(schema: dict[str, Any], path: str = "spec") -> Iterator[str]:
    for key, inner in schema.get("properties", {}).items():
        yield f"{path}.{key}"
        yield from _declared(inner, f"{path}.{key}")
    if schema.get("type") == "array":
        yield from _declared(schema["items"], f"{path}[]")
