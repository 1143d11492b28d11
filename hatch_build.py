"""Compiles the two Java classes of the agent into one jar when the package is built.

Run by hatchling for every wheel and editable install; `python hatch_build.py` does the same in place, without pip.
The compiler's input is TorchServe's own jar, found in the build environment (`torchserve` is a build requirement: it
is never imported, which would need torch). Same sources and same javac: same bytes.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
SOURCES = ROOT / "operator" / "torchserve_operator" / "agent" / "java"
JAR = ROOT / "operator" / "torchserve_operator" / "agent" / "graceful.jar"
JAVA_RELEASE = "11"
"""The oldest Java that TorchServe 0.8 to 0.12 runs on."""

MANIFEST = b"Manifest-Version: 1.0\r\nMain-Class: dev.torchserve_operator.GracefulMain\r\n\r\n"


class BuildError(Exception):
    """The classes cannot be compiled; the message says what to install."""


def find_frontend_jar() -> Path:
    """TorchServe's jar: $TORCHSERVE_FRONTEND_JAR, or the one of the torchserve package of this environment."""
    named = os.environ.get("TORCHSERVE_FRONTEND_JAR")
    if named:
        jar = Path(named)
        if not jar.is_file():
            raise BuildError(f"TORCHSERVE_FRONTEND_JAR names {named}, which is no file")
        return jar
    spec = importlib.util.find_spec("ts")
    for place in (spec.submodule_search_locations if spec else None) or []:
        jar = Path(place) / "frontend" / "model-server.jar"
        if jar.is_file():
            return jar
    raise BuildError(
        "TorchServe's jar is not in this environment, and the agent's Java classes are compiled against it: "
        f"run `{sys.executable} -m pip install --no-deps torchserve==0.12.0`, or name the jar in "
        "TORCHSERVE_FRONTEND_JAR"
    )


def find_javac() -> str:
    """The path of javac: below $JAVA_HOME, or on PATH."""
    home = os.environ.get("JAVA_HOME")
    if home and os.access(f"{home}/bin/javac", os.X_OK):
        return f"{home}/bin/javac"
    found = shutil.which("javac")
    if found:
        return found
    raise BuildError(
        "javac is missing, and the agent's Java classes cannot be compiled without it: install a JDK (11 or newer), "
        "for example `apt-get install openjdk-17-jdk-headless` (Debian, Ubuntu) or "
        "`dnf install java-17-openjdk-devel` (Fedora)"
    )


def compile_classes(target: Path) -> None:
    """Compiles every source into `target`. Raises BuildError with javac's words."""
    command = [
        find_javac(),
        "--release",
        JAVA_RELEASE,
        "-g:source,lines",
        "-proc:none",  # the frontend's jar carries annotation processors (log4j's), which would write files of theirs
        "-encoding",
        "UTF-8",
        "-cp",
        str(find_frontend_jar()),
        "-d",
        str(target),
        *(str(source) for source in sorted(SOURCES.rglob("*.java"))),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"javac failed:\n{done.stdout}{done.stderr}")


def write_jar(classes: Path, jar: Path) -> None:
    """Writes a jar whose bytes depend on the classes alone: sorted names, one fixed date, one set of permissions."""
    contents = {
        str(path.relative_to(classes).as_posix()): path.read_bytes() for path in classes.rglob("*") if path.is_file()
    }
    entries = [("META-INF/MANIFEST.MF", MANIFEST), *sorted(contents.items())]
    partial = jar.with_suffix(f".{os.getpid()}.partial")
    with zipfile.ZipFile(partial, "w") as archive:
        for name, data in entries:
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            entry.create_system = 3
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED, 9)
    partial.replace(jar)


def build(jar: Path = JAR) -> Path:
    """Compiles the agent's classes into `jar` and returns its path. Raises BuildError."""
    with tempfile.TemporaryDirectory() as directory:
        compile_classes(Path(directory))
        write_jar(Path(directory), jar)
    return jar


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ModuleNotFoundError:  # `python hatch_build.py` works without hatchling
    pass
else:

    class GracefulJarHook(BuildHookInterface):  # type: ignore[type-arg,misc,unused-ignore]
        """Hatchling's build hook: the jar exists before the wheel's files are collected."""

        PLUGIN_NAME = "custom"

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - the hook's signature
            """Compiles for wheels and editable installs; an sdist carries the sources."""
            if self.target_name == "wheel":
                try:
                    build()
                except BuildError as error:
                    raise SystemExit(f"\ntorchserve-operator cannot be built: {error}") from None


if __name__ == "__main__":
    try:
        print(build())  # noqa: T201 - a command's answer
    except BuildError as error:
        sys.exit(f"hatch_build.py: {error}")
