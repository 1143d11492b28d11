"""A build context is a function of its content: what does not count is not sent."""

import os
import tarfile
from pathlib import Path

import pytest

from testbed import images
from testbed.errors import TestbedError


def _names(context: Path, tmp_path: Path, include: dict[str, Path] | None = None) -> list[str]:
    target = tmp_path / "context.tar"
    images.write_context(target, context, include or {})
    with tarfile.open(target) as archive:
        return archive.getnames()


@pytest.fixture
def context(tmp_path: Path) -> Path:
    place = tmp_path / "context"
    (place / "src" / "__pycache__").mkdir(parents=True)
    (place / "Dockerfile").write_text("FROM scratch\n")
    (place / "src" / "a.py").write_text("")
    (place / "src" / "a.log").write_text("")
    (place / "src" / "__pycache__" / "a.pyc").write_text("")
    return place


def test_bytecode_and_what_dockerignore_names_are_left_out(context: Path, tmp_path: Path) -> None:
    (context / ".dockerignore").write_text("# logs\n**/*.log\n")
    assert _names(context, tmp_path) == [".dockerignore", "Dockerfile", "src", "src/a.py"]


def test_exceptions_in_dockerignore_are_refused_rather_than_misread(context: Path, tmp_path: Path) -> None:
    (context / ".dockerignore").write_text("*\n!src\n")
    with pytest.raises(TestbedError, match="exceptions"):
        _names(context, tmp_path)


def test_the_same_content_gives_the_same_bytes_whenever_it_was_written(context: Path, tmp_path: Path) -> None:
    _names(context, tmp_path)
    first = (tmp_path / "context.tar").read_bytes()
    os.utime(context / "Dockerfile", (0, 0))
    (context / "src" / "a.py").chmod(0o600)
    _names(context, tmp_path)
    assert (tmp_path / "context.tar").read_bytes() == first


def test_files_from_elsewhere_can_join_the_context(context: Path, tmp_path: Path) -> None:
    other = tmp_path / "program"
    other.write_text("")
    assert "bin/program" in _names(context, tmp_path, {"bin/program": other})
