"""Pods are replaced exactly when they must be, in the order asked for, and a bad revision never reaches a good pod."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from apiproxy import Object
from kube import Namespace, eventually
from rolling import agent, containers, execute, rolled, uids

Snapshot = dict[str, tuple[bool, bool]]
"""By pod's uid: whether it is on its way out, and whether it is ready."""


@pytest.fixture(scope="module")
def echo(shared: Namespace) -> Namespace:
    """`echo` with one replica, Ready."""
    shared.apply(shared.cr("echo"))
    shared.ready("echo")
    return shared


@contextmanager
def _snapshots(namespace: Namespace, name: str) -> Iterator[list[Snapshot]]:
    """The resource's pods, looked at ten times a second."""
    seen: list[Snapshot] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            selector = f"torchserve-operator.dev/model={name}"
            items = namespace.api.get(f"{namespace.core}/pods", labelSelector=selector)["items"]
            seen.append({pod["metadata"]["uid"]: _state(pod) for pod in items})

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def _state(pod: Object) -> tuple[bool, bool]:
    conditions = {condition["type"]: condition["status"] for condition in pod["status"].get("conditions", ())}
    return "deletionTimestamp" in pod["metadata"], conditions.get("Ready") == "True"


def _answering(snapshot: Snapshot) -> set[str]:
    return {uid for uid, (going, ready) in snapshot.items() if ready and not going}


def _when_it_goes(seen: list[Snapshot], old: set[str]) -> Snapshot:
    """The first snapshot in which the old pods were told to stop."""
    return next(snapshot for snapshot in seen if all(snapshot.get(uid, (True, False))[0] for uid in old))


def _replica_sets(namespace: Namespace) -> dict[str, set[str]]:
    """By ReplicaSet: the ConfigMaps that its pods are started with."""
    selector = "torchserve-operator.dev/model=echo"
    items = namespace.api.get(f"{namespace.apps}/replicasets", labelSelector=selector)["items"]
    return {
        item["metadata"]["name"]: {
            volume["configMap"]["name"]
            for volume in item["spec"]["template"]["spec"]["volumes"]
            if "configMap" in volume
        }
        for item in items
    }


def _config_maps(namespace: Namespace) -> set[str]:
    selector = "torchserve-operator.dev/model=echo"
    items = namespace.api.get(f"{namespace.core}/configmaps", labelSelector=selector)["items"]
    return {item["metadata"]["name"] for item in items}


def _replicas(namespace: Namespace) -> int:
    return int(namespace.deployment("echo")["spec"]["replicas"])


def _ports(namespace: Namespace) -> list[int]:
    service = namespace.api.get(f"{namespace.core}/services/echo")
    return [port["port"] for port in service["spec"]["ports"]]


def test_what_pods_are_not_made_of_changes_no_revision(echo: Namespace) -> None:
    revisions, pods = _replica_sets(echo), uids(echo, "echo")
    assert len(revisions) == 1

    echo.apply(echo.cr("echo", service={"port": 8000, "annotations": {"a": "b"}}))
    eventually(lambda: _ports(echo) == [8000], 10, "the Service has the port")
    echo.apply(echo.cr("echo", replicas=2))
    eventually(lambda: _replicas(echo) == 2, 10, "the Deployment has the replicas")
    echo.apply(echo.cr("echo", models=[{"name": "echo", "minWorkers": 1, "maxWorkers": 3}]))
    policy = f"{echo.core}/configmaps/echo-policy"
    eventually(lambda: '"maxWorkers":3' in echo.api.get(policy)["data"]["policy.json"], 10, "the policy has the bounds")
    echo.apply(echo.cr("echo", paused=True, logging={"level": "ERROR"}))
    echo.wait_for("echo", "Ready", "False", "Paused", says="what runs is not what is wanted")
    echo.apply(echo.cr("echo"))
    echo.ready("echo")

    assert _replica_sets(echo) == revisions
    assert pods <= uids(echo, "echo")


def test_surge_starts_the_new_pod_first_and_keeps_what_the_old_one_was_started_with(echo: Namespace) -> None:
    eventually(lambda: len(uids(echo, "echo")) == 1, 30, "one pod is left")
    before, old = _replica_sets(echo), uids(echo, "echo")
    with _snapshots(echo, "echo") as seen:
        echo.apply(echo.cr("echo", logging={"level": "WARN"}))
        rolled(echo, "echo", old)
    assert all(_answering(snapshot) for snapshot in seen)
    assert _answering(_when_it_goes(seen, old)) - old
    ((name, maps),) = before.items()
    assert len(_replica_sets(echo)) == 2
    assert maps <= _config_maps(echo), "a rollback by kubectl would find no configuration"

    echo.kubectl("delete", "replicaset", name)
    unused = maps - set().union(*_replica_sets(echo).values())
    assert unused, "both revisions are started with the same files"
    eventually(lambda: not (unused & _config_maps(echo)), 15, "what no ReplicaSet needs is removed")


def test_replace_stops_the_old_pod_before_the_new_one_is_ready(echo: Namespace) -> None:
    old = uids(echo, "echo")
    with _snapshots(echo, "echo") as seen:
        echo.apply(echo.cr("echo", rollout={"strategy": "Replace"}, logging={"level": "ERROR"}))
        rolled(echo, "echo", old)
    assert not _answering(_when_it_goes(seen, old)), "the new pod was waited for: where there is no room, for ever"


def test_a_bad_configuration_does_not_reach_an_old_container_that_restarts(echo: Namespace) -> None:
    echo.apply(echo.cr("echo", logging={"level": "ERROR"}))
    echo.ready("echo")
    (old,) = echo.pods("echo")
    uid = old["metadata"]["uid"]

    echo.apply(echo.cr("echo", logging={"level": "ERROR"}, server={"vmargs": ["-XX:NoSuchFlag=1"]}))
    told = echo.wait_for("echo", "Ready", "False", "ServerFailed")
    assert "exit code 1" in told["message"]
    assert echo.condition("echo", "Available")["status"] == "True"
    (before,) = (state for pod, state in containers(echo, "echo").items() if pod == uid)
    server = agent(echo, old)["server"]["pid"]
    execute(echo, old, "python", "-c", f"import os; os.kill({server}, 9)")

    def restarted() -> Any:
        now = containers(echo, "echo").get(uid)
        return now is not None and now[0] != before[0] and now[2]

    eventually(restarted, 60, "the old pod's container is back and ready")
    assert echo.predict("echo", {"still": "here"}) == {"still": "here"}
    command = execute(echo, old, "cat", f"/proc/{agent(echo, old)['server']['pid']}/cmdline")
    assert "NoSuchFlag" not in command

    echo.apply(echo.cr("echo", logging={"level": "ERROR"}))
    echo.ready("echo")
    assert uids(echo, "echo") == {uid}, "the revision that was good all along has its pod still"
