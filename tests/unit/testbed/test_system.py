"""What this machine lacks is installed where that is possible, and named with the line that helps where it is not."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed import system
from testbed.errors import TestbedError
from testbed.project_images import REPOSITORY

MISSING = "no-such-program-anywhere"


NOBODY = 65534


def _ensure(path: Path, *, as_nobody: bool = False) -> subprocess.CompletedProcess[str]:
    """Ask for two programs in a process of its own, with ``path`` as its PATH."""
    script = f"""
import os, sys
from testbed import system
from testbed.errors import TestbedError
if {as_nobody} and os.geteuid() == 0:
    os.setuid({NOBODY})
os.environ["PATH"] = {str(path)!r}
try:
    system.ensure_programs({{{MISSING!r}: "the-package", "cat": "coreutils"}})
except TestbedError as error:
    sys.exit(str(error))
"""
    environment = {**os.environ, "PYTHONPATH": "tests", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", script]
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def programs() -> Iterator[Path]:
    """A directory of programs that has cat, and an apt-get that only notes what it was asked in ``../asked``."""
    # not tmp_path: that is barred to other users, and then nothing would be found at all
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory) / "bin"
        place.mkdir()
        (place / "cat").write_text("#!/bin/sh\n")
        (place / "apt-get").write_text(f'#!/bin/sh\necho "$@" >> {directory}/asked\n')
        for path in (place.parent, place, *place.iterdir()):
            path.chmod(0o755)
        yield place


def test_elsewhere_what_is_missing_is_named_with_debians_line(programs: Path) -> None:
    (programs / "apt-get").unlink()
    done = _ensure(programs)
    assert done.returncode == 1
    line = "`sudo apt-get install --no-install-recommends the-package`"
    assert f"missing: {MISSING}. On Debian and its like: {line}" in done.stderr


def test_who_may_not_install_is_given_the_line(programs: Path) -> None:
    done = _ensure(programs, as_nobody=True)
    assert done.returncode == 1
    assert (
        f"missing: {MISSING}. Install with: `sudo apt-get install --no-install-recommends the-package`" in done.stderr
    )
    assert not (programs.parent / "asked").exists()


def test_root_on_debian_installs_only_what_is_missing_and_says_so(programs: Path) -> None:
    done = _ensure(programs)
    if not system.is_root():  # then this is the same question as above
        assert done.returncode == 1
        return
    assert done.returncode == 0, done.stderr
    asked = (programs.parent / "asked").read_text().splitlines()
    assert [line.split()[0] for line in asked] == ["update", "install"]
    assert asked[1].split()[-1] == "the-package"
    assert f"installing the-package (missing: {MISSING})" in done.stderr


def test_a_command_that_fails_is_told_with_its_status_and_words() -> None:
    with pytest.raises(TestbedError, match=r"exited with 3:\nno such thing"):
        system.run(["sh", "-c", "echo no such thing >&2; exit 3"])


def test_a_program_that_is_not_there_does_not_succeed() -> None:
    assert not system.succeeds([MISSING])
    assert system.succeeds(["true"])
