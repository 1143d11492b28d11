"""`torchserve-operator build`, as people and pipelines call it."""

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.base_images import Pushed
from testbed.image_reader import ImageReader
from testbed.oci_registry import OciRegistry

MANIFEST = {
    "createdOn": "01/01/2026 00:00:00",
    "runtime": "python",
    "model": {"modelName": "digits", "handler": "handler.py", "modelVersion": "1.0"},
    "archiverVersion": "0.12.0",
}
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def claim(tmp_path: Path) -> Path:
    """A folder that stands for a claim, with an archive in it."""
    folder = tmp_path / "models"
    folder.mkdir()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(MANIFEST))
        archive.writestr("handler.py", "def handle(data, context):\n    return data\n")
    (folder / "digits.mar").write_bytes(content.getvalue())
    return folder


@pytest.fixture
def resource(registry: OciRegistry, base: Pushed, space: str, tmp_path: Path) -> Path:
    path = tmp_path / "digits.yaml"
    path.write_text(f"""\
apiVersion: torchserve-operator.dev/v1alpha1
kind: TorchServeModel
metadata: {{name: digits, namespace: team}}
spec:
  build:
    baseImage: {base.name}:1
    repository: {registry.host}/{space}/image
    tags: [latest]
    platform: linux/amd64
  models:
  - name: digits
    archive: {{url: pvc://models/digits.mar}}
""")
    return path


@pytest.fixture
def run(registry: OciRegistry, resource: Path, claim: Path) -> Run:
    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "torchserve_operator", "build", "-f", str(resource)]
        command += ["--registry-mirror", f"{registry.host}={registry.url}", "--claim", f"models={claim}", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    return call


def test_the_image_of_a_resource_is_built_and_its_digest_printed(run: Run, image: ImageReader) -> None:
    done = run("--print-digest")
    assert (done.returncode, done.stderr) == (0, "")
    digest = image.digest("latest")
    assert done.stdout == f"{image.host}/{image.path}@{digest}\n"
    layer = image.layer(image.manifest(digest)["layers"][-1]["digest"])
    assert "home/model-server/model-store/digits/MAR-INF/MANIFEST.json" in layer


def test_a_second_build_finds_the_first(run: Run) -> None:
    first, second = run(), run()
    assert "model digits reused" not in first.stdout
    assert "model digits reused" in second.stdout


def test_a_wrong_resource_is_told_with_its_field(run: Run, resource: Path) -> None:
    resource.write_text(resource.read_text().replace("pvc://models/digits.mar", "ftp://models/digits.mar"))
    done = run()
    assert done.returncode == 1
    assert "spec.models[0].archive.url" in done.stderr


def test_a_missing_source_is_told_with_its_field(run: Run, claim: Path, image: ImageReader) -> None:
    (claim / "digits.mar").unlink()
    done = run()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: spec.models[0].archive")
    assert image.tags() == set()


def test_requirements_need_the_base_images_pip(run: Run, resource: Path) -> None:
    text = resource.read_text().replace("    tags:", "    requirements: [greeting==1.0]\n    tags:")
    resource.write_text(text)
    done = run()
    assert done.returncode == 1
    assert "--requirements DIR" in done.stderr


@pytest.mark.parametrize("option", ["--claim=models", "--claim=models=/nowhere", "--registry-mirror=r=ftp://r"])
def test_an_option_that_is_used_wrongly_is_a_usage_error(run: Run, option: str) -> None:
    assert run(option).returncode == 2
