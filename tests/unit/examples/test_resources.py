"""The examples' resources and READMEs: each is valid, and what it names is there."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from torchserve_operator.app.cli import main

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
RESOURCES = sorted(EXAMPLES.glob("*/torchservemodel*.yaml"))
FOLDERS = sorted({path.parent for path in RESOURCES})


def spec_of(path: Path) -> dict[str, Any]:
    spec: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]
    return spec


BUILT = [path for path in RESOURCES if "build" in spec_of(path)]
MADE = sorted({path.parent for path in BUILT})


def label(path: Path) -> str:
    return str(path.relative_to(EXAMPLES))


def readme(folder: Path) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


def test_each_of_the_four_use_cases_is_built_from_one_resource() -> None:
    assert {folder.name for folder in MADE} == {"production", "function-handler", "efficientnet", "sentiment"}


@pytest.mark.parametrize("path", RESOURCES, ids=label)
def test_the_resource_is_valid(path: Path) -> None:
    result = CliRunner().invoke(main, ["validate", "-f", str(path)])
    assert (result.exit_code, result.stdout) == (0, "")


@pytest.mark.parametrize("path", BUILT, ids=label)
def test_each_part_that_the_resource_packs_is_in_the_folder_or_made_by_make(path: Path) -> None:
    made = (path.parent / "make.py").read_text(encoding="utf-8")
    for model in spec_of(path)["models"]:
        package = model.get("package", {})
        function = package.get("function", {})
        named = [
            package.get("handler"),
            package.get("serializedFile"),
            function.get("file"),
            function.get("checkpoint"),
        ]
        for part in filter(None, [*named, *package.get("extraFiles", [])]):
            # make.py names a checkpoint by its size: small.pt
            stem = part.removesuffix(".pt")
            assert (path.parent / part).exists() or f'"{part}"' in made or f'"{stem}"' in made, part


@pytest.mark.parametrize("path", BUILT, ids=label)
def test_the_functions_that_the_resource_names_are_in_their_file(path: Path) -> None:
    for model in spec_of(path)["models"]:
        function = model.get("package", {}).get("function")
        if function:
            tree = ast.parse((path.parent / function["file"]).read_text(encoding="utf-8"))
            defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
            assert {function[key] for key in ("init", "preprocess", "postprocess")} <= defined


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*/handler.py")), ids=label)
def test_a_handler_has_one_class_as_torchserve_wants_it(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert len([node for node in tree.body if isinstance(node, ast.ClassDef)]) == 1


@pytest.mark.parametrize("path", BUILT, ids=label)
def test_a_requirement_has_one_exact_version(path: Path) -> None:
    for line in spec_of(path)["build"].get("requirements", []):
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9.]+", line), line


def test_the_production_archive_carries_the_requirements_that_the_resource_installs() -> None:
    folder = EXAMPLES / "production"
    wanted = spec_of(folder / "torchservemodel.yaml")["build"]["requirements"]
    assert (folder / "requirements.txt").read_text(encoding="utf-8").split() == wanted


@pytest.mark.parametrize("folder", MADE, ids=label)
def test_a_readme_names_only_files_of_the_repository(folder: Path) -> None:
    paths = re.findall(r"(?<![\w/.])examples/[\w./-]*[\w]", readme(folder))
    assert paths
    assert [path for path in paths if not (EXAMPLES.parent / path).exists()] == []


@pytest.mark.parametrize("folder", MADE, ids=label)
def test_a_readmes_table_has_every_file_of_the_folder_that_is_not_its_own_list(folder: Path) -> None:
    cells = [line.split("|")[1] for line in readme(folder).splitlines() if line.startswith("| `")]
    named = {name.rstrip("/") for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    there = {path.name for path in folder.iterdir() if path.name not in {"__pycache__", "artifacts"}}
    assert named == there - {"README.md", "make-requirements.txt"}


@pytest.mark.parametrize("folder", MADE, ids=label)
def test_a_readmes_commands_name_the_resource_and_its_models(folder: Path) -> None:
    body = yaml.safe_load((folder / "torchservemodel.yaml").read_text(encoding="utf-8"))
    text = readme(folder)
    assert set(re.findall(r"(?:tsm|service)/([\w-]+)", text)) == {body["metadata"]["name"]}
    assert set(re.findall(r"/predictions/([\w-]+)", text)) == {model["name"] for model in body["spec"]["models"]}


@pytest.mark.parametrize("folder", MADE, ids=label)
def test_a_readme_makes_each_secret_that_the_resource_names(folder: Path) -> None:
    text = (folder / "torchservemodel.yaml").read_text(encoding="utf-8")
    named = set(re.findall(r"[sS]ecretName: (\S+)", text))
    assert named
    assert set(re.findall(r"create secret (?:generic|docker-registry|tls) (\S+)", readme(folder))) == named
