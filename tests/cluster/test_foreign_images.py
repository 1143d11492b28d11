"""Any TorchServe image works as it is, and the resource wins over what is baked into it."""

import csv
import itertools
from typing import Any

import pytest
from apiproxy import Object
from kube import SMALL, Namespace
from rolling import agent, python, reported

from testbed import project_images

SETTINGS: Object = {"minWorkers": 1, "maxWorkers": 1, "batchSize": 2, "maxBatchDelay": 50, "responseTimeout": 30}
"""The images' own model-config.yaml say: 3 workers, batches of 7 within 5000 ms, 1 s for an answer, GPU 3."""
RESOURCES = {"requests": SMALL["requests"], "limits": {"cpu": "4", "memory": "2Gi"}}

DESCRIBE = """
import json, urllib.request
with urllib.request.urlopen("http://127.0.0.1:8081/models/{model}") as answer:
    print(json.dumps(json.load(answer)[0]))
"""

SURROUNDINGS = """
import json, os
def writable(place):
    try:
        os.makedirs(place, exist_ok=True)
        with open(os.path.join(place, "written"), "w") as file:
            file.write("x")
        os.remove(os.path.join(place, "written"))
    except OSError as error:
        return os.strerror(error.errno)
    return "yes"
with open("/proc/{pid}/environ") as file:
    worker = dict(entry.split("=", 1) for entry in file.read().split("\\0") if "=" in entry)
shm = os.statvfs("/dev/shm")
caches = ("HOME", "HF_HOME", "MPLCONFIGDIR", "TORCHINDUCTOR_CACHE_DIR", "TEMP")
places = ["/", "/home/model-server", "/opt/torchserve-operator/server", "/run/torchserve", "/tmp", "/dev/shm"]
print(json.dumps({{
    "worker": worker,
    "caches": {{name: writable(worker[name]) for name in caches}},
    "places": {{place: writable(place) for place in places}},
    "shm": shm.f_frsize * shm.f_blocks,
    "ids": [os.getuid(), os.getgid()],
    "token": os.path.exists("/var/run/secrets/kubernetes.io/serviceaccount/token"),
}}))
"""


@pytest.fixture(scope="module")
def legacy(shared: Namespace) -> Namespace:
    """An image of the upstream's shape with TorchServe 0.11.1: one model as a directory, the same as an archive."""
    reference = project_images.ensure(project_images.LEGACY)[project_images.LEGACY]
    models = [{"name": "digits", **SETTINGS}, {"name": "packed", "path": "digits-packed.mar", **SETTINGS}]
    shared.apply(shared.cr("digits", "legacy", image=reference, models=models, resources=RESOURCES))
    shared.ready("legacy", timeout=180)
    return shared


@pytest.fixture(scope="module")
def baked(shared: Namespace) -> Namespace:
    """This project's image: a model as a directory and as an archive, which tell how they were started."""
    parameters = {"origin": "resource", "own": [1, 2]}
    models = [
        {"name": "baked", "parameters": parameters, **SETTINGS},
        {"name": "baked-packed", "parameters": parameters, **SETTINGS},
    ]
    shared.apply(shared.cr("baked", models=models, resources=RESOURCES))
    shared.ready("baked")
    return shared


@pytest.mark.parametrize("model", ["digits", "packed"])
def test_an_image_of_the_upstreams_shape_serves_by_the_resources_settings(legacy: Namespace, model: str) -> None:
    pod = legacy.pod("legacy")
    status = agent(legacy, pod)
    assert (status["server"]["torchserveVersion"], status["server"]["graceful"]) == ("0.11.1", True)
    assert status["warnings"] == []
    assert _workers(legacy, "legacy", model) == (1, 1, 1)
    described = python(legacy, pod, DESCRIBE.format(model=model))
    assert {key: described[key] for key in SETTINGS} == SETTINGS
    held_out = project_images.REPOSITORY / "examples" / "digits" / "heldout.csv"
    with held_out.open(encoding="utf-8") as file:
        digits = [[int(value) for value in row] for row in itertools.islice(csv.reader(file), 5)]
    answers = [legacy.predict("legacy", {"pixels": digit[:-1]}, model) for digit in digits]
    right = [answer["label"] == digit[-1] for answer, digit in zip(answers, digits, strict=True)]
    assert sum(right) >= 4, answers


@pytest.mark.parametrize("model", ["baked", "baked-packed"])
def test_a_models_own_settings_give_way_to_the_resources(baked: Namespace, model: str) -> None:
    assert _workers(baked, "baked", model) == (1, 1, 1)
    described = python(baked, baked.pod("baked"), DESCRIBE.format(model=model))
    assert {key: described[key] for key in SETTINGS} == SETTINGS
    answer = baked.predict("baked", {}, model)
    config = answer["config"]
    assert (config["origin"], config["own"], config["onlyBaked"]) == ("resource", [1, 2], "kept")
    assert (config["batchSize"], config["responseTimeout"], config["deviceType"]) == (2, 30, "cpu")
    assert answer["batchSize"] == 2
    assert answer["gpuId"] is None


@pytest.mark.parametrize("name", ["legacy", "baked"])
def test_workers_write_where_they_may_and_nowhere_else(request: pytest.FixtureRequest, name: str) -> None:
    namespace: Namespace = request.getfixturevalue(name)
    pod = namespace.pod(name)
    worker = agent(namespace, pod)["models"][0]["workers"][0]["pid"]
    seen: Any = python(namespace, pod, SURROUNDINGS.format(pid=worker))
    assert set(seen["caches"].values()) == {"yes"}, seen["caches"]
    refused = "Read-only file system"
    assert seen["places"] == {
        "/": refused,
        # closed to others in an image of the upstream's shape: the agent has its own model store all the same
        "/home/model-server": refused,
        "/opt/torchserve-operator/server": refused,
        "/run/torchserve": "yes",
        "/tmp": "yes",
        "/dev/shm": "yes",
    }
    assert seen["shm"] == 2**30, "half of the memory limit"
    assert seen["worker"]["OMP_NUM_THREADS"] == "2", "the CPU limit, shared by two workers"
    assert seen["ids"] == [1000, 1000]
    assert seen["token"] is False


def _workers(namespace: Namespace, name: str, model: str) -> tuple[int, int, int]:
    (found,) = reported(namespace, name, model)
    return found["minWorkers"], found["maxWorkers"], len(found["workers"])
