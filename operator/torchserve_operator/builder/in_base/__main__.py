"""Install into a folder what a build's requirements need and the base image lacks.

Runs in a container of the base image, with the `python` that serves there: what is installed counts. pip decides
(`pip install --dry-run --report`), this script checks that nothing of the base would be replaced, then pip installs
exactly the missing packages (`--no-deps --target`: a plain `--target` would bring a second torch). Nothing is written
but the target, the result and a temporary folder; neither a home nor a user of the image is needed.

Standard library only, Python 3.8 and later: other people's images have nothing else for certain.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from .base_pip import say
from .plan import RequirementsError, described
from .steps import build

PLAN = "/run/build/plan/requirements.json"
INDEX = "/run/build/index"
OUT = "/run/build/requirements"
TERMINATION_LOG = "/dev/termination-log"


def empty(folder: Path) -> None:
    """Make a folder, or empty it: a build that was cut leaves half a package."""
    folder.mkdir(parents=True, exist_ok=True)
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(str(entry))
        else:
            entry.unlink()


def main(arguments: list[str]) -> int:
    """Run; 0 when the target and the result are there, else the result has an error: 1, or 75 when it may pass."""
    parser = argparse.ArgumentParser(description="Install what a build's requirements need and the base image lacks.")
    parser.add_argument("--plan", type=Path, default=Path(PLAN), help="requirements.json")
    parser.add_argument("--index", type=Path, default=Path(INDEX), help="folder of a mounted Secret; may be absent")
    parser.add_argument("--out", type=Path, default=Path(OUT), help="gets site/ and result.json")
    parser.add_argument("--termination-log", type=Path, default=Path(TERMINATION_LOG), help="gets an error")
    options = parser.parse_args(arguments)
    common = {"schema": 1, "python": platform.python_version(), "platform": described(), "error": None}
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        empty(options.out / "site")
        with tempfile.TemporaryDirectory(prefix="requirements-") as scratch:
            result = {**common, **build(options.plan, options.index, options.out / "site", Path(scratch))}
    except RequirementsError as failure:
        error = {"field": failure.field, "message": failure.message, "hint": failure.hint}
        failed(options, {**common, "packages": [], "error": error})
        return os.EX_TEMPFAIL if failure.passing else 1
    except OSError as problem:
        hint = "give the container a writable TMPDIR and a writable folder for the result"
        error = {"field": "", "message": f"{type(problem).__name__}: {problem}", "hint": hint}
        failed(options, {**common, "packages": [], "error": error})
        return 1
    write(options.out / "result.json", result)
    count = len(result["packages"])
    say(f"requirements: {count} package{'' if count == 1 else 's'} beside what the base image has")
    return 0


def failed(options: argparse.Namespace, result: dict[str, Any]) -> None:
    """Tell an error in every way there is: the result, the termination message, one line on standard error."""
    error = result["error"]
    for path, content in (
        (options.out / "result.json", result),
        (options.termination_log, {"schema": 1, "error": error}),
    ):
        try:
            write(path, content)
        except OSError as problem:
            sys.stderr.write(f"requirements: {path}: {problem}\n")
    where = f"{error['field']}: " if error["field"] else ""
    sys.stderr.write(f"error: {where}{error['message']}{'; ' + error['hint'] if error['hint'] else ''}\n")


def write(path: Path, content: dict[str, Any]) -> None:
    """Write JSON; a device or a mounted file is written in place."""
    path.write_text(json.dumps(content, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
