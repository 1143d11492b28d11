"""What keeps a model from serving is named in one line, soon."""

import re
import shutil
import subprocess
import tempfile
import time
import zipfile
from pathlib import Path

import pytest
from serving import HANDLER, STORE, Served, Setup, Start, model, write_model

REMEDY = "chmod -R a+rX the model store in the image"


def error_of(server: Served, timeout: float = 60) -> tuple[str, str]:
    """The first model's error, once it is told; asserts that the pod is not ready then."""
    status = server.wait(lambda status: status["models"][0]["error"], timeout)
    assert not status["ready"]
    error = status["models"][0]["error"]
    return error["reason"], error["message"]


def test_an_import_error_is_told_by_its_own_words(image: str, start: Start) -> None:
    server = start(Setup(image, models=[model(imports="no_such_package")]))
    assert error_of(server) == ("LoadFailed", "ModuleNotFoundError: No module named 'no_such_package'")
    first = int(re.search(r"^(\d+) .*Backend worker process died", _models_log(server), re.MULTILINE)[1])  # type: ignore[index]
    assert time.time() - first / 1000 < 2
    assert server.agent("/readyz").body == b"net: LoadFailed: ModuleNotFoundError: No module named 'no_such_package'\n"
    assert server.agent("/livez").status == 200


def test_a_handler_that_cannot_import_at_its_top_is_told_by_the_missing_package(runtime: str, start: Start) -> None:
    with tempfile.TemporaryDirectory() as store:
        Path(store).chmod(0o755)
        write_model(Path(store) / "net", handler="import no_such_package\n" + HANDLER)
        server = start(Setup(runtime, store=Path(store)))
        assert error_of(server) == ("LoadFailed", "ModuleNotFoundError: No module named 'no_such_package'")


def test_a_model_that_loads_longer_than_it_may_is_told(runtime: str, start: Start) -> None:
    server = start(Setup(runtime, models=[model(loadSeconds=60, settings={"startupTimeout": 2})]))
    assert error_of(server) == ("LoadFailed", "Backend worker did not respond in given time")


def test_a_manifest_that_torchserve_refuses_is_told_by_its_own_words(runtime: str, start: Start) -> None:
    with tempfile.TemporaryDirectory() as store:
        Path(store).chmod(0o755)
        write_model(Path(store) / "net")
        manifest = Path(store) / "net" / "MAR-INF" / "MANIFEST.json"
        manifest.write_text(manifest.read_text().replace('"python"', '"perl"'))
        server = start(Setup(runtime, store=Path(store)))
        assert error_of(server) == ("LoadFailed", "Runtime is not defined or invalid.")


def test_an_exception_of_a_request_stays_out_of_the_status(runtime: str, start: Start) -> None:
    with tempfile.TemporaryDirectory() as store:
        Path(store).chmod(0o755)
        write_model(Path(store) / "net", handler=HANDLER.replace("answers = []", "raise ValueError(str(data))"))
        server = start(Setup(runtime, store=Path(store)))
        server.wait_ready()
        assert server.predict({"echo": "a secret"}).status >= 500
        server.wait(lambda _: "ValueError" in _models_log(server))
        time.sleep(1.5)  # two rounds of the agent's loop: there is no event for "told nothing"
        assert server.status()["models"][0]["error"] is None


def test_a_missing_archive_is_told_with_what_is_there_and_no_server_starts(runtime: str, start: Start) -> None:
    server = start(Setup(runtime, models=[model("digits"), model("net")]))
    message = f"{STORE}/digits (or digits.mar) is not in the image; {STORE} has net/"
    assert error_of(server) == ("ArchiveMissing", message)
    status = server.status()
    assert status["state"] == "Failed"
    assert status["server"]["pid"] is None
    assert status["server"]["message"] == f"model digits: {message}"
    assert status["models"][1]["error"] is None
    assert server.agent("/startupz").status == 503
    assert server.termination() == {"reason": "ArchiveMissing", "message": f"model digits: {message}"}
    server.signal()
    assert server.wait_exit() == 1


def test_files_that_the_user_cannot_read_are_named_with_their_mode(runtime: str, start: Start) -> None:
    with tempfile.TemporaryDirectory() as store:
        Path(store).chmod(0o755)
        write_model(Path(store) / "net")
        (Path(store) / "net" / "model.safetensors").write_bytes(b"")
        (Path(store) / "net" / "model.safetensors").chmod(0o600)
        server = start(Setup(runtime, store=Path(store)))
        assert error_of(server) == (
            "ArchiveBroken",
            f"{STORE}/net/model.safetensors is not readable by user 1000 (mode 0600, owner 0:0): {REMEDY}",
        )


def test_a_model_store_that_the_user_cannot_reach_is_named_with_the_mode_that_is_in_the_way(
    legacy: str, start: Start
) -> None:
    server = start(Setup(legacy, user="4321:0"))  # upstream's home directory is closed to all but its own user
    assert error_of(server) == (
        "ArchiveBroken",
        f"/home/model-server is not readable by user 4321 (mode 0750, owner 1000:1000): {REMEDY}",
    )


@pytest.mark.parametrize("when", ["loading", "serving"])
def test_a_worker_killed_for_memory_is_told_with_the_limit(runtime: str, start: Start, when: str) -> None:
    # The worker takes 250 MiB by itself; the JVM and the agent live in the same limit.
    server = start(Setup(runtime, models=[model(loadMegabytes=2000 if when == "loading" else 0)], memory="1000m"))
    if when == "serving":
        server.wait_ready()
        assert server.predict({"megabytes": 2000}).status >= 500
    status = server.wait(lambda status: (status["models"][0]["error"] or {}).get("reason") == "OutOfMemory")
    assert (
        status["models"][0]["error"]["message"] == "a worker was killed: out of memory, the container's limit is 1000Mi"
    )
    assert status["memory"]["oomKills"] >= 1
    assert status["memory"]["limitBytes"] == 1000 << 20
    if when == "serving":
        server.wait(lambda status: status["ready"] and status["models"][0]["error"] is None)


def test_a_server_that_dies_ends_the_container_with_its_code_and_a_last_word(runtime: str, start: Start) -> None:
    server = start(Setup(runtime))
    status = server.wait_ready()
    server.execute("python", "-c", f"import os; os.kill({status['server']['pid']}, 9)")
    assert server.wait_exit() == 137
    assert server.termination() == {
        "reason": "ServerFailed",
        "message": "TorchServe's Java server ended with exit code 137",
    }


def test_a_configuration_that_torchserve_refuses_is_told(image: str, start: Start) -> None:
    server = start(Setup(image, properties={"default_workers_per_model": "two"}))
    assert server.wait_exit() == 1
    assert server.termination() == {
        "reason": "ServerFailed",
        "message": 'TorchServe\'s Java server ended with exit code 1: Invalid configuration: For input string: "two"',
    }


def test_an_image_without_java_is_told(runtime: str, start: Start) -> None:
    server = start(Setup(runtime, environment={"PATH": "/opt/venv/bin"}))
    status = server.wait(lambda status: status["state"] == "Failed")
    assert status["server"]["message"] == "the image has no java on PATH: TorchServe needs Java 11 or newer"
    assert server.termination()["reason"] == "ImageUnsuitable"


def test_a_torchserve_that_the_classes_do_not_fit_runs_without_them_and_says_so(runtime: str, start: Start) -> None:
    server = start(Setup(runtime, jar=_jar_that_does_not_fit()))
    status = server.wait_ready()
    assert status["server"]["graceful"] is False
    assert [warning["reason"] for warning in status["warnings"]] == ["DrainDegraded"]
    assert status["warnings"][0]["message"].startswith("TorchServe 0.12.0 does not fit the drain's Java classes: ")
    assert status["models"][0]["readyWorkers"] == 1
    server.signal()
    assert server.wait_exit() == 0


def _jar_that_does_not_fit() -> bytes:
    """A GracefulMain that ends as the real one does with a TorchServe that lacks what it needs."""
    source = (
        "package dev.torchserve_operator;"
        "class GracefulMain { public static void main(String[] a) { System.exit(87); } }"
    )
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "GracefulMain.java").write_text(source, encoding="utf-8")
        javac = shutil.which("javac")
        assert javac, "javac is needed: apt-get install openjdk-17-jdk-headless"
        subprocess.run([javac, "--release", "11", "-d", folder, f"{folder}/GracefulMain.java"], check=True)
        with zipfile.ZipFile(Path(folder) / "x.jar", "w") as jar:
            jar.write(
                Path(folder) / "dev/torchserve_operator/GracefulMain.class",
                "dev/torchserve_operator/GracefulMain.class",
            )
        return (Path(folder) / "x.jar").read_bytes()


def _models_log(server: Served) -> str:
    return server.execute("cat", "/run/torchserve/logs/models.log")
