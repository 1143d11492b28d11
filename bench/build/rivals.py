"""The same image by other means: Debian's buildah, and the olot package with Debian's skopeo.

Each begins with nothing on the machine but the model's folder, as a build's pod does, and ends with the image in the
registry. They run as root and with scratch space without bounds, which a build's pod has not.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.build.process import Run, run
from testbed import system
from testbed.errors import TestbedError
from testbed.image_reader import ImageReader

OLOT = Path(__file__).parent / "olot.txt"
"""The package and what it needs, by version and hash."""


@dataclass(frozen=True)
class Rivalry:
    """What a rival took.

    Attributes:
        steps: Its programs, one after the other, by name.
        disk_bytes: What lay on the disk at the end.
        variants: Other ways of a step, which came after all of them and do not count.
    """

    steps: Mapping[str, Run]
    disk_bytes: int
    variants: Mapping[str, Run] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """All steps together."""
        return sum(step.seconds for step in self.steps.values())

    @property
    def memory_bytes(self) -> int:
        """The most that one of the programs had resident."""
        return max(step.memory_bytes for step in self.steps.values())

    def raw(self) -> dict[str, Any]:
        """The numbers by name."""
        runs = {name: step.raw() for name, step in (*self.steps.items(), *self.variants.items())}
        return {"steps": runs, "disk_bytes": self.disk_bytes}


def buildah(folder: Path, base: str, model: Path, image: str) -> Rivalry:
    """Do it with `buildah bud` and `buildah push`, as root, without user namespaces and without a kernel's overlays.

    The variant `push_as_it_is` does not compress the layer, which buildah does when nothing is said.

    Args:
        folder: To work in; not there yet.
        base: The base image's reference.
        model: The model's folder.
        image: Where the image goes, without a tag.

    Raises:
        TestbedError: It cannot be had here, or failed.
    """
    if not system.is_root():
        raise TestbedError("buildah is measured as root, and this is not root")
    system.ensure_programs({"buildah": "buildah"})
    environment = _scratch(folder)
    policy: list[str | Path] = ["--signature-policy", _policy(folder)]
    recipe = folder / "Containerfile"
    recipe.write_text(f"FROM {base}\nCOPY . /home/model-server/model-store/model/\n")
    common: list[str | Path] = ["buildah", "--root", folder / "root", "--runroot", folder / "run"]
    common += ["--storage-driver", "vfs"]
    bud: list[str | Path] = [
        "bud",
        "--isolation",
        "chroot",
        "--tls-verify=false",
        *policy,
        "--tag",
        "bench",
        "--file",
        recipe,
        model,
    ]
    push: list[str | Path] = ["push", "--tls-verify=false", *policy]
    steps = {
        "bud": run([*common, *bud], environment),
        "push": run([*common, *push, "bench", f"docker://{image}:latest"], environment),
    }
    disk_bytes = _disk_bytes(folder)
    check(base, model, image)
    as_it_is: list[str | Path] = [*push, "--disable-compression", "bench", f"docker://{image}-as-it-is:latest"]
    return Rivalry(steps, disk_bytes, {"push_as_it_is": run([*common, *as_it_is], environment)})


def olot(folder: Path, base: str, model: Path, image: str) -> Rivalry:
    """Do it with olot, between two `skopeo copy` as its own functions call them.

    Args:
        folder: To work in; not there yet.
        base: The base image's reference.
        model: The model's folder.
        image: Where the image goes, without a tag.

    Raises:
        TestbedError: It cannot be had here, or failed.
    """
    system.ensure_programs({"skopeo": "skopeo"})
    environment = _scratch(folder)
    python = folder / "venv" / "bin" / "python"
    system.run([sys.executable, "-m", "venv", folder / "venv"])
    system.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", OLOT]
    )
    installed = _disk_bytes(folder)
    layout = folder / "layout"
    copy: list[str | Path] = ["skopeo", "--policy", _policy(folder), "copy", "--multi-arch", "all"]
    pull = ["--src-tls-verify=false", "--remove-signatures", f"docker://{base}", f"oci:{layout}:latest"]
    push = ["--dest-tls-verify=false", f"oci:{layout}:latest", f"docker://{image}:latest"]
    files = sorted(path for path in model.rglob("*") if path.is_file())
    steps = {
        "pull": run([*copy, *pull], environment),
        "append": run([python.with_name("olot"), "--root-dir", model, layout, *files], environment),
        "push": run([*copy, *push], environment),
    }
    check(base, model, image)
    return Rivalry(steps, _disk_bytes(folder) - installed)


def check(base: str, model: Path, image: str) -> None:
    """Make sure that the base's layers and as much as the model has are in the registry: noise does not shrink.

    Raises:
        TestbedError: They are not.
    """
    path, _, tag = base.rpartition(":")
    below, there = (_layers(*name) for name in ((path, tag), (image, "latest")))
    size = sum(file.stat().st_size for file in model.rglob("*") if file.is_file())
    if len(there) <= len(below) or sum(there) < sum(below) + size:
        raise TestbedError(
            f"{image} has layers of {there} bytes: that is not the base's {below} and the model's {size}"
        )


def _layers(name: str, tag: str) -> list[int]:
    """The sizes of an image's layers, in bytes."""
    host, _, path = name.partition("/")
    return [layer["size"] for layer in ImageReader(host, path).manifest(tag)["layers"]]


def _scratch(folder: Path) -> dict[str, str]:
    """Make the folder; return the environment that keeps scratch files in it."""
    (folder / "tmp").mkdir(parents=True)
    return {"TMPDIR": str(folder / "tmp"), "XDG_RUNTIME_DIR": str(folder / "tmp")}


def _policy(folder: Path) -> Path:
    """Write that no image needs a signature: not every package of these programs brings a policy."""
    path = folder / "policy.json"
    path.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
    return path


def _disk_bytes(folder: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))
