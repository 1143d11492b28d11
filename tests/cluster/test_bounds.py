"""Workers come and go in running pods: an edited bound restarts nothing, and one lost worker is no lost pod."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kube import SMALL, Namespace, eventually
from load import Load
from rolling import agent, containers, python, reported

URL = "http://sleepy/predictions/sleepy"
SECONDS = 30.0
"""Until four workers answer, on two busy cores; seen: 6."""


@pytest.fixture(scope="module")
def sleepy(shared: Namespace) -> Namespace:
    """`sleepy` with one worker, Ready."""
    _bounds(shared, 1)
    shared.ready("sleepy")
    return shared


def _bounds(namespace: Namespace, workers: int) -> None:
    models = [{"name": "sleepy", "minWorkers": workers, "maxWorkers": workers}]
    limits = SMALL["limits"] | {"memory": "2Gi"}
    namespace.apply(namespace.cr("sleepy", models=models, resources=SMALL | {"limits": limits}))


def _workers(namespace: Namespace, wanted: int) -> None:
    """Wait until the agent and the condition say that so many workers answer, and no more are there."""

    def question() -> bool:
        (model,) = reported(namespace, "sleepy", "sleepy")
        return model["minWorkers"] == wanted and [worker["status"] for worker in model["workers"]] == ["READY"] * wanted

    eventually(question, SECONDS, f"{wanted} workers answer")
    namespace.wait_for("sleepy", "ModelsReady", "True")
    told = f"{wanted}/{wanted}"
    eventually(lambda: namespace.tsm("sleepy")["status"]["workers"] == told, SECONDS, f"the status says {told}")


@contextmanager
def _never_unready(namespace: Namespace) -> Iterator[None]:
    """The same container is ready all the time."""
    before = containers(namespace, "sleepy")
    seen: list[Any] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            now = containers(namespace, "sleepy")
            if now != before:
                seen.append(now)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert seen == []


def test_edited_bounds_reach_the_workers_within_seconds_and_restart_nothing(sleepy: Namespace) -> None:
    deployment = sleepy.deployment("sleepy")["metadata"]["generation"]
    with _never_unready(sleepy):
        with Load(sleepy, URL, service_seconds=0.2) as load:
            _bounds(sleepy, 4)
            _workers(sleepy, 4)
            summary = load.finish()
        # no load: TorchServe ends a worker together with the request that it has in hand
        _bounds(sleepy, 1)
        _workers(sleepy, 1)
    print(summary)
    assert summary.lost == [], summary
    pod = sleepy.pod("sleepy")
    # how the kubelet was made to look at once: by itself it syncs a ConfigMap every minute or so
    assert pod["metadata"]["annotations"]["torchserve-operator.dev/policy"] == agent(sleepy, pod)["policyHash"]
    assert sleepy.deployment("sleepy")["metadata"]["generation"] == deployment


@pytest.mark.usefixtures("attentive")
def test_a_killed_worker_is_a_condition_and_no_unready_pod(sleepy: Namespace) -> None:
    _bounds(sleepy, 2)
    _workers(sleepy, 2)
    with _never_unready(sleepy), Load(sleepy, URL, service_seconds=0.2) as load:
        (model,) = reported(sleepy, "sleepy", "sleepy")
        victim = model["workers"][0]["pid"]
        killed = python(sleepy, sleepy.pod("sleepy"), f"import os; print(os.kill({victim}, 9) or 1)")
        assert killed == 1
        told = sleepy.wait_for("sleepy", "ModelsReady", "False", "WorkersMissing", timeout=15)
        assert told["message"].startswith("sleepy has 1 of 2 workers: ")
        assert sleepy.condition("sleepy")["status"] == "True"
        _workers(sleepy, 2)
        summary = load.finish()
    print(summary, told["message"])
    # what the killed worker had in hand is lost with it, and nothing else
    assert len(summary.lost) <= 1, summary
