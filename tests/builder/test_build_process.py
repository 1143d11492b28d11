"""The process in a build's pod: its exit code, its line, its termination message, its status, its end."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.base_images import Pushed
from testbed.builds import plan_for
from testbed.image_reader import ImageReader
from testbed.oci_registry import OciRegistry
from testbed.registryproxy import Hang, Refuse, RegistryProxy

SITE = "opt/torchserve-operator-site"
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def run_dir(registry: OciRegistry, proxy: RegistryProxy, base: Pushed, space: str, tmp_path: Path) -> Path:
    """The pod's folder: a plan of requirements alone, and what the init container left."""
    assert base.digest
    folder = tmp_path / "run"
    plan = plan_for(registry.host, space, {registry.host: proxy.url}) | {"requirements": {"present": True}}
    _write(folder / "plan" / "plan.json", json.dumps(plan))
    result = {
        "schema": 1,
        "packages": [{"name": "greeting", "version": "1.0", "size": 1}],
        "warnings": [],
        "python": "3.11.2",
    }
    _write(folder / "requirements" / "result.json", json.dumps(result | {"seconds": {}}))
    _write(folder / "requirements" / "site" / "greeting.py", "WORD = 'hello'\n")
    _write(folder / "requirements" / "site" / "large.bin", "x" * (8 << 20))
    return folder


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def start(run_dir: Path) -> Iterator[Start]:
    """Starts the process; what still runs at the end is killed."""
    running: list[subprocess.Popen[str]] = []

    def begin(*arguments: str | Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "torchserve_operator", "builder", "run", "--port", "0", "--run-dir", run_dir]
        command += ["--plan", run_dir / "plan" / "plan.json", "--termination-log", run_dir / "termination-log"]
        command += ["--push-config", run_dir / "docker" / "config.json", "--ca", run_dir / "ca" / "ca.crt", *arguments]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return running[-1]

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def _told(run_dir: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run_dir / "termination-log").read_text())
    return found


def test_a_build_ends_with_its_result(start: Start, run_dir: Path, image: ImageReader) -> None:
    process = start()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    told = _told(run_dir)
    assert image.digest("latest") == told["digest"]
    assert out.startswith(f"{told['image']} (requirements ")
    assert image.layer(told["layers"][0]["digest"])[f"{SITE}/greeting.py"][1] == b"WORD = 'hello'\n"
    assert f"PYTHONPATH=/{SITE}" in image.config("latest")["config"]["Env"]
    assert told["memoryPeakBytes"] < 64 << 20
    assert told["scratchBytes"] == 0


def test_a_failure_is_one_line_and_final(start: Start, run_dir: Path, proxy: RegistryProxy) -> None:
    with proxy.fault(Refuse(507), method="PATCH"):
        process = start()
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert "no space left" in err
    assert _told(run_dir)["error"]["field"] == "spec.build.repository"


def test_a_failure_that_may_pass_says_so_by_its_code(start: Start, proxy: RegistryProxy) -> None:
    again = Refuse(503, headers=(("Retry-After", "0"),))
    with proxy.fault(again, method="PATCH"):
        process = start()
        process.communicate(timeout=60)
    assert process.returncode == 75


def test_a_plan_that_is_none_is_an_error_in_the_termination_message(start: Start, run_dir: Path) -> None:
    (run_dir / "plan" / "plan.json").write_text("{}")
    process = start()
    process.communicate(timeout=60)
    assert process.returncode == 1
    assert "is not understood at owner" in _told(run_dir)["error"]["message"]


@pytest.mark.parametrize(
    ("folder", "field"), [("docker", "spec.build.pushSecretName"), ("ca", "spec.build.caConfigMapName")]
)
def test_what_is_named_but_not_there_is_an_error_at_its_field(
    start: Start, run_dir: Path, folder: str, field: str
) -> None:
    (run_dir / folder).mkdir()
    process = start()
    process.communicate(timeout=60)
    assert process.returncode == 1
    assert _told(run_dir)["error"]["field"] == field


def test_what_pip_could_not_do_is_told_as_pip_told_it(start: Start, run_dir: Path) -> None:
    error = {"field": "spec.build.requirements[0]", "message": "nothing like that", "hint": "look again"}
    (run_dir / "requirements" / "result.json").write_text(
        json.dumps({"schema": 1, "packages": [], "python": "", "error": error})
    )
    process = start()
    process.communicate(timeout=60)
    assert _told(run_dir)["error"] == error


def test_an_unknown_option_is_used_wrongly(start: Start) -> None:
    process = start("--fast")
    process.communicate(timeout=60)
    assert process.returncode == 2


def test_the_status_shows_how_far_it_is(start: Start, proxy: RegistryProxy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with proxy.fault(Hang(after=3 << 20), method="PATCH") as fault:
        start("--port", str(port))
        fault.wait()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=10) as answer:
            status = json.load(answer)
    assert status["stage"] == "layers"
    assert 8 << 20 < status["bytesTotal"] < 9 << 20
    assert status["bytesDone"] < status["bytesTotal"]


def test_it_ends_within_seconds_even_if_the_registry_hangs(
    start: Start, run_dir: Path, proxy: RegistryProxy, image: ImageReader
) -> None:
    with proxy.fault(Hang(after=1 << 20), method="PATCH") as fault:
        process = start()
        fault.wait()
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert time.monotonic() - began < 6
    assert process.returncode == 143
    assert _told(run_dir)["error"]["message"] == "the build was cancelled"
    assert image.tags() == set()
