"""The operator's own image, as a pod runs it: read-only, no capability, no user that the base knows."""

import pytest

from testbed import engine, project_images

RESTRICTED = ("--rm", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "none")


@pytest.fixture(scope="module")
def operator() -> str:
    project_images.named(project_images.OPERATOR).build()
    return project_images.OPERATOR


def test_the_operator_image_runs_as_a_number_that_is_not_root(operator: str) -> None:
    found = engine.inspect("image", operator) or {}

    assert found["Config"]["User"] == "65532:65532"
    assert engine.docker("run", *RESTRICTED, "--entrypoint", "id", operator, "-u") == "65532"


def test_the_operator_image_validates_a_resource_offline_on_a_read_only_root(operator: str) -> None:
    examples = project_images.REPOSITORY / "examples"
    arguments = ("-v", f"{examples}:/examples:ro", operator, "validate", "-f", "/examples/digits/torchservemodel.yaml")

    engine.docker("run", *RESTRICTED, *arguments)


def test_the_operator_image_carries_the_compiled_classes_and_no_java_or_pip(operator: str) -> None:
    code = (
        "import importlib.resources, shutil;"
        "agent = importlib.resources.files('torchserve_operator.agent');"
        "print(agent.joinpath('graceful.jar').is_file(), shutil.which('java'), shutil.which('pip'))"
    )

    assert engine.docker("run", *RESTRICTED, "--entrypoint", "python", operator, "-c", code) == "True None None"
