"""The program in containers of real TorchServe images, under the limits that a build's pod has."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed import engine, project_images
from testbed.wheel_index import WheelIndex, write_wheel
from torchserve_operator.builder import requirements
from torchserve_operator.builder.in_base import bundle

RESTRICTED = (
    *("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", "54321:54321"),
    # The index is on the loopback of the machine.
    *("--network", "host", "--tmpfs", "/tmp:mode=1777", "--env", "HOME="),
)


@pytest.fixture(params=[project_images.RUNTIME, project_images.LEGACY])
def image(request: pytest.FixtureRequest) -> str:
    """This project's runtime, and one like upstream's older ones."""
    tag: str = request.param
    project_images.named(tag).build()
    return tag


@pytest.fixture
def build() -> Iterator[Path]:
    """What is mounted as /run/build, open for any user."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        for part in ("tool", "plan", "index", "requirements"):
            (folder / part).mkdir(mode=0o755)
        (folder / "requirements").chmod(0o777)
        (folder / "tool" / "requirements.pyz").write_bytes(bundle())
        yield folder


def test_a_numeric_user_on_a_read_only_root_gets_what_the_image_lacks_and_no_second_torch(
    image: str, build: Path, tmp_path: Path
) -> None:
    code = "import numpy, torch\nWORD = f'{torch.ones(2).sum().item()} of {torch.__file__}'\n"
    write_wheel(tmp_path, "greeting", "1.0", {"greeting.py": code}, requires=["torch>=1.13a0", "numpy", "leaf"])
    write_wheel(tmp_path, "leaf", "1.0", {"leaf.py": ""})
    write_wheel(tmp_path, "torch", "99.0", {"torch/__init__.py": ""})
    (build / "plan" / "requirements.json").write_text(json.dumps(requirements.from_lines(["greeting"]).plan()))
    with WheelIndex(tmp_path, password="pa/ss") as index:
        (build / "index" / "PIP_INDEX_URL").write_text(index.url.replace("pa/ss", "pa%2Fss"))
        mounts = ("--volume", f"{build}:/run/build:ro", "--volume", f"{build}/requirements:/run/build/requirements")
        program = ("--entrypoint", "python", image, "-B", "/run/build/tool/requirements.pyz")
        said = engine.docker("run", "--rm", *RESTRICTED, *mounts, *program)

    installed = requirements.read(build / "requirements")
    assert [(package.name, package.version) for package in installed.packages] == [("greeting", "1.0"), ("leaf", "1.0")]
    assert "pa/ss" not in said
    assert "pa%2Fss" not in said

    place = "/opt/torchserve-operator-site"
    layer = ("--volume", f"{build}/requirements/site:{place}:ro", "--env", f"PYTHONPATH={place}")
    command = ("--entrypoint", "python", image, "-B", "-c", "import greeting; print(greeting.WORD)")
    word = engine.docker("run", "--rm", *RESTRICTED, *layer, *command)
    assert word.startswith("2.0 of /")
    assert place not in word
