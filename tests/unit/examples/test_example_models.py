"""What the testbed makes of the examples, as far as no container is needed."""

from pathlib import Path

import pytest

from testbed import example_models
from testbed.errors import TestbedError


def test_an_example_that_there_is_not_is_refused_with_those_there_are() -> None:
    with pytest.raises(TestbedError, match="no example 'digit' that is made; known are production, function-handler"):
        example_models.ensure("digit")


@pytest.mark.parametrize("name", example_models.NAMES)
def test_each_example_has_what_makes_it(name: str) -> None:
    folder = example_models.EXAMPLES / name
    assert (folder / "make.py").is_file()
    assert (folder / "make-requirements.txt").is_file()
    assert example_models.resource(name)["kind"] == "TorchServeModel"


def test_a_change_of_a_readme_or_a_resource_makes_no_model_anew(tmp_path: Path) -> None:
    (tmp_path / "make.py").write_text("one")
    before = list(example_models.made_of(tmp_path))
    (tmp_path / "README.md").write_text("two")
    (tmp_path / "torchservemodel.yaml").write_text("three")
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts/handler.py").write_text("four")
    assert list(example_models.made_of(tmp_path)) == before
    (tmp_path / "make.py").write_text("five")
    assert list(example_models.made_of(tmp_path)) != before
