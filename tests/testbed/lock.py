"""The lock files: every package of the operator, of its build and of the tests, by version and hash.

No index address and no path gets into them: where packages come from is the installing machine's business.
"""

import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

from testbed.errors import TestbedError
from testbed.progress import step

REPOSITORY = Path(__file__).resolve().parents[2]
REQUIREMENTS = REPOSITORY / "requirements"


def lock(*, upgrade: bool = False) -> None:
    """Write requirements/{runtime,build,dev}.txt from pyproject.toml.

    Versions that are locked stay unless pyproject.toml no longer allows them, or ``upgrade`` asks for the newest.
    """
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    # The image takes models from S3 as it is; the other extras are for images of one's own.
    runtime = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["s3"]]
    build = project["build-system"]["requires"]
    dev = project["dependency-groups"]["dev"]
    _compile("runtime", runtime, [], upgrade=upgrade)
    _compile("build", build, ["runtime"], upgrade=upgrade)
    # One environment for everything that a developer does, with the very versions that are shipped.
    _compile("dev", [*runtime, *build, *dev], ["runtime", "build"], upgrade=upgrade)


def _compile(name: str, wanted: Sequence[str], constraints: Sequence[str], *, upgrade: bool) -> None:
    target = REQUIREMENTS / f"{name}.txt"
    with step(f"locking {target.relative_to(REPOSITORY)}"), tempfile.TemporaryDirectory() as workplace:
        source = Path(workplace) / f"{name}.in"
        lines = [*wanted, *(f"-c {REQUIREMENTS / f'{other}.txt'}" for other in constraints)]
        source.write_text("\n".join(lines) + "\n")
        options = ["--quiet", "--generate-hashes", "--strip-extras", "--allow-unsafe", "--no-header", "--no-annotate"]
        options += ["--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host"]
        options += ["--upgrade"] if upgrade else []
        command = [sys.executable, "-m", "piptools", "compile", *options, "--output-file", str(target), str(source)]
        environment = {key: value for key, value in os.environ.items() if key != "PIP_FIND_LINKS"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise TestbedError(f"pip-compile of {name} failed:\n{done.stderr[-3000:]}")
    _refuse_addresses(target)


def _refuse_addresses(path: Path) -> None:
    for number, line in enumerate(path.read_text().splitlines(), 1):
        option = line.lstrip().startswith("-") and not line.lstrip().startswith("--hash=")
        if "://" in line or option:
            raise TestbedError(f"{path}:{number}: a lock file has packages and hashes only: {line.strip()}")
