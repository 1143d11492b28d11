"""The examples' models, made as their READMEs say, once per content: ``python -m testbed.example_models sentiment``.

Each is made by its folder's ``make.py`` in a container of the runtime image, without a network. The wheels that the
examples' resources ask for, and the runtime image lacks, are fetched for the index that a test serves.
"""

import argparse
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from testbed import cache, engine, images, project_images
from testbed.errors import TestbedError
from testbed.progress import step

EXAMPLES = project_images.REPOSITORY / "examples"
TOOLS = project_images.REPOSITORY / "tests/images/example-tools"
TOOLS_IMAGE = "torchserve-operator/example-tools:test"
WHEELS_IMAGE = "torchserve-operator/example-wheels:test"

NAMES = ("production", "function-handler", "efficientnet", "sentiment")
"""The folders of examples/ that an operator builds the images of."""

SOURCES = frozenset({".py", ".json", ".txt", ".csv"})
"""What a model is made of; a change of a README or of a resource makes none anew."""


def resource(name: str, file: str = "torchservemodel.yaml") -> dict[str, Any]:
    """The example's resource, to be fitted to a test's registry and sources."""
    found: dict[str, Any] = yaml.safe_load((EXAMPLES / name / file).read_text(encoding="utf-8"))
    return found


def ensure(name: str, *arguments: str) -> Path:
    """The folder that the example says to upload; made when it is not there yet, in a minute or two.

    Args:
        name: one of `NAMES`.
        arguments: more arguments of make.py, such as ``--seed 2`` for another version.

    Raises:
        TestbedError: there is no such example, or making it failed; the message has make.py's words.
    """
    if name not in NAMES:
        raise TestbedError(f"there is no example {name!r} that is made; known are {', '.join(NAMES)}")
    image = _build(TOOLS_IMAGE, "make.Dockerfile")
    key = cache.content_key([image, *arguments, *made_of(EXAMPLES / name)])
    target = cache.directory("examples") / f"{name}-{key}"
    with cache.lock(f"example-{name}"):
        if not target.is_dir():
            with step(f"making the example {name} {' '.join(arguments)}".rstrip()), cache.publish(target) as made:
                made.mkdir()
                engine.docker(
                    *("run", "--rm", "--network", "none", "--cap-drop", "ALL", "--cpus", "1"),
                    *("--user", f"{os.getuid()}:{os.getgid()}", "-e", "HOME=/tmp", "-e", "PYTHONDONTWRITEBYTECODE=1"),
                    # Two threads of OpenBLAS on one core wait for each other, busily.
                    *("-e", "OMP_NUM_THREADS=1", "-e", "OPENBLAS_NUM_THREADS=1"),
                    *("-v", f"{EXAMPLES / name}:/example:ro", "-v", f"{made}:/artifacts", "-w", "/example"),
                    *("--entrypoint", "python", image, "make.py", "--out", "/artifacts", *arguments),
                )
    return target


def wheels() -> Path:
    """A folder with the wheels that the examples' images need beside what the runtime image has."""
    image = _build(WHEELS_IMAGE, "wheels.Dockerfile")
    target = cache.directory("examples") / f"wheels-{cache.content_key([image])}"
    with cache.lock("example-wheels"):
        if not target.is_dir():
            container = engine.docker("create", image)
            try:
                with cache.publish(target) as made:
                    engine.docker("cp", f"{container}:/wheels", made)
            finally:
                engine.docker("rm", container)
    return target


def made_of(folder: Path) -> Iterator[str | bytes]:
    """What counts in an example's content key: names and contents of its sources."""
    for path in sorted(folder.rglob("*")):
        made = {"artifacts", "__pycache__"} & set(path.relative_to(folder).parts)
        if path.is_file() and path.suffix in SOURCES and not made:
            yield str(path.relative_to(folder))
            yield path.read_bytes()


def _build(tag: str, dockerfile: str) -> str:
    """Build one of the tools' images from the lists of packages that the examples have; return its ID."""
    project_images.named(project_images.RUNTIME).build()
    with tempfile.TemporaryDirectory() as workplace:
        context = Path(workplace)
        shutil.copyfile(TOOLS / dockerfile, context / dockerfile)
        asked = {line for name in NAMES for line in resource(name)["spec"]["build"].get("requirements", [])}
        (context / "serve.txt").write_text("".join(f"{line}\n" for line in sorted(asked)), encoding="utf-8")
        for name in NAMES:
            shutil.copyfile(EXAMPLES / name / "make-requirements.txt", context / f"make-{name}.txt")
        return images.build(context, tag, {"RUNTIME_IMAGE": project_images.RUNTIME}, dockerfile=dockerfile)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m testbed.example_models", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(NAMES)} (default: all)")
    for name in parser.parse_args().names or NAMES:
        print(f"{name}  {ensure(name)}", flush=True)
    print(f"wheels  {wheels()}", flush=True)


if __name__ == "__main__":
    main()
