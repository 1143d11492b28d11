"""What is generated is in step with what it is generated from."""

from pathlib import Path

import pytest

from torchserve_operator.api.conditions import ConditionType, Reason
from torchserve_operator.api.crd import custom_resource_definition
from torchserve_operator.app.generate import generated_files, write
from torchserve_operator.app.reference import member_docs
from torchserve_operator.app.settings import Settings

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", sorted(generated_files()))
def test_make_generate_would_change_nothing(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == generated_files()[name], "run `make generate`"


def test_files_that_are_in_step_are_left_alone(tmp_path: Path) -> None:
    assert {path.relative_to(tmp_path).as_posix() for path in write(tmp_path)} == set(generated_files())
    assert write(tmp_path) == []


def test_every_condition_and_reason_is_described() -> None:
    assert list(member_docs(ConditionType)) == list(ConditionType)
    assert list(member_docs(Reason)) == list(Reason)
    page = generated_files()["docs/reference/conditions.md"]
    assert all(f"| `{word}` | " in page for word in [*ConditionType, *Reason])


def test_every_field_is_in_the_reference() -> None:
    page = generated_files()["docs/reference/torchservemodel.md"]
    schema = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    for field in ("server", "pod", "models"):
        inner = schema["spec"]["properties"][field]
        for name in inner.get("properties", {}) or inner["items"]["properties"]:
            assert f".{name}` | " in page


def test_every_setting_is_in_the_reference_with_a_description() -> None:
    rows = [
        row.split(" | ") for row in generated_files()["docs/reference/settings.md"].splitlines() if "| `TORCH" in row
    ]
    assert [row[0] for row in rows] == [f"| `TORCHSERVE_OPERATOR_{name.upper()}`" for name in Settings.model_fields]
    assert all(len(row[3].removesuffix(" |")) > 10 for row in rows)
