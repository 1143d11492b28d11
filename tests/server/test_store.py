"""The resource wins over what is baked into the image; what the image lacks is made good."""

from __future__ import annotations

import json
import tarfile
import tempfile
import zipfile
from pathlib import Path

from serving import Setup, Start, model, write_model

BAKED = """
minWorkers: 2
maxWorkers: 2
batchSize: 1
maxBatchDelay: 5000
responseTimeout: 1
startupTimeout: 77
greeting: from the image
kept: "only the image says this \\U0001F600"
nested: {1: one, list: [1, 2.5, null, true], when: 2026-01-01}
"""


def test_the_resource_wins_over_the_image_for_directories_and_archives(image: str, start: Start) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder)
        store.chmod(0o755)
        write_model(store / "baked", "baked", baked=BAKED, version="9.9")
        write_model(store / "source", "packed", baked=BAKED, version="9.9")
        with zipfile.ZipFile(store / "packed.mar", "w") as archive:
            for path in sorted((store / "source").rglob("*")):
                archive.write(path, path.relative_to(store / "source"))
        with tarfile.open(store / "tarred.tar.gz", "w:gz") as archive:
            archive.add(store / "source", ".")
        settings = {"batchSize": 3, "maxBatchDelay": 300, "responseTimeout": 60}
        names = {"directory": "baked", "packed": None, "tarred": "tarred.tar.gz"}
        models = [
            model(name, path=path, version="2.0", settings=settings, greeting="from the resource", extra=1e16)
            for name, path in names.items()
        ]
        server = start(Setup(image, models=models, store=store))
        status = server.wait_ready()
        for entry in status["models"]:
            name = entry["name"]
            assert (entry["version"], entry["minWorkers"], len(entry["workers"])) == ("2.0", 1, 1)
            described = json.loads(_management(server, f"/models/{name}"))[0]
            assert described["modelVersion"] == "2.0"
            assert (described["batchSize"], described["maxBatchDelay"]) == (3, 300)
            assert (described["minWorkers"], described["maxWorkers"]) == (1, 1)
            assert described["responseTimeout"] == 60
            answer = server.predict({"seconds": 1.2}, name=name).json()  # the baked responseTimeout would cut it
            assert answer["manifest"]["modelName"] == name
            assert answer["config"] == {
                **settings,
                "minWorkers": 1,
                "maxWorkers": 1,
                "startupTimeout": 77,
                "greeting": "from the resource",
                "extra": 1e16,
                "kept": "only the image says this \N{GRINNING FACE}",
                "nested": {"1": "one", "list": [1, 2.5, None, True], "when": "2026-01-01"},
            }


def test_what_the_image_has_of_its_own_does_not_stand_in_the_way(runtime: str, start: Start) -> None:
    # TEMP lies in the read-only image; TS_CONFIG_FILE would beat the command line; user 4321 has no passwd entry.
    environment = {"TEMP": "/opt/venv", "TS_CONFIG_FILE": "/etc/torchserve/config.properties", "LOG_LOCATION": "/x"}
    server = start(Setup(runtime, user="4321:0", environment=environment))
    server.wait_ready()
    assert server.predict({"echo": 1}).status == 200


def test_scaling_down_works_without_a_kill_program(runtime: str, start: Start) -> None:
    # Only java and python on PATH: TorchServe's `kill` must come from the agent.
    server = start(
        Setup(
            runtime,
            bounds={"net": (2, 2)},
            environment={"PATH": "/opt/venv/bin:/usr/lib/jvm/java-21-openjdk-amd64/bin"},
        )
    )
    status = server.wait_ready()
    before = {worker["pid"] for worker in status["models"][0]["workers"]}
    server.set_policy({"net": (1, 1)})
    status = server.wait(lambda status: len(status["models"][0]["workers"]) == 1)
    (gone,) = before - {worker["pid"] for worker in status["models"][0]["workers"]}
    assert "cannot set" not in server.logs()
    server.wait(lambda _: server.execute("/bin/sh", "-c", f"test -e /proc/{gone} && echo alive || echo gone") == "gone")


def _management(server: object, path: str) -> str:
    script = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:8081{path}').read().decode())"
    return server.execute("python", "-c", script)  # type: ignore[attr-defined,no-any-return]
