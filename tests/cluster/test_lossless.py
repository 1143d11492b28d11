"""No request is lost when pods come and go, beside the control that loses some."""

from typing import Any

import control
import pytest
from kube import Namespace, eventually
from load import Load
from rolling import counted, rolled, uids, uids_to_the_end

URL = "http://sleepy/predictions/sleepy"


@pytest.fixture(scope="module")
def sleepy(shared: Namespace) -> Namespace:
    """Two replicas of `sleepy`, Ready."""
    _apply(shared)
    shared.ready("sleepy")
    return shared


def _apply(namespace: Namespace, **spec: Any) -> None:
    namespace.apply(namespace.cr("sleepy", **{"replicas": 2, **spec}))


def test_every_request_is_counted_once_by_model_and_status(sleepy: Namespace) -> None:
    before = counted(sleepy, "sleepy", "sleepy")
    with Load(sleepy, URL, requests=120, service_seconds=0.02, faulty_every=6) as load:
        summary = load.finish(now=False)
    print(summary, summary.codes)
    assert (summary.sent, summary.lost) == (120, [])
    assert sum(summary.codes.values()) == 120
    assert len(summary.codes) == 2, "the faulty ones have a status of their own"

    def new() -> dict[str, int]:
        codes = counted(sleepy, "sleepy", "sleepy").codes
        return {code: count - before.codes.get(code, 0) for code, count in codes.items()}

    eventually(lambda: new() == summary.codes, 5, f"the agents count {summary.codes}")
    after = counted(sleepy, "sleepy", "sleepy")
    assert after.timed - before.timed == 120
    assert after.seconds - before.seconds >= summary.codes["200"] * 0.02
    assert after.in_flight == 0


def test_requests_in_flight_are_counted_while_they_are(sleepy: Namespace) -> None:
    with Load(sleepy, URL, service_seconds=1.0) as load:
        eventually(lambda: counted(sleepy, "sleepy", "sleepy").in_flight == 4, 10, "4 requests are in flight")
        summary = load.finish()
    assert summary.lost == []
    eventually(lambda: counted(sleepy, "sleepy", "sleepy").in_flight == 0, 5, "none is in flight any more")


def test_a_changed_spec_rolls_the_pods_and_loses_nothing(sleepy: Namespace) -> None:
    old = uids(sleepy, "sleepy")
    with Load(sleepy, URL) as load:
        _apply(sleepy, logging={"level": "WARN"})
        rolled(sleepy, "sleepy", old)
        summary = load.finish()
    print(summary)
    assert summary.lost == [], summary
    assert summary.kept["dismissed"] >= 2, "kept connections were never sent to the new pods"


def test_a_restarted_rollout_loses_nothing(sleepy: Namespace) -> None:
    old = uids(sleepy, "sleepy")
    with Load(sleepy, URL) as load:
        sleepy.kubectl("rollout", "restart", "deployment/sleepy")
        rolled(sleepy, "sleepy", old)
        summary = load.finish()
    print(summary)
    assert summary.lost == [], summary


def test_a_pod_fewer_loses_nothing(sleepy: Namespace) -> None:
    with Load(sleepy, URL) as load:
        _apply(sleepy, logging={"level": "WARN"}, replicas=1)
        eventually(lambda: len(uids_to_the_end(sleepy, "sleepy")) == 1, 60, "one pod is left")
        summary = load.finish()
    print(summary)
    assert summary.lost == [], summary


def test_a_drained_node_loses_nothing(sleepy: Namespace) -> None:
    _apply(sleepy, logging={"level": "WARN"}, replicas=2)
    sleepy.ready("sleepy")
    node = sleepy.pods("sleepy")[0]["spec"]["nodeName"]
    workers = sleepy.kubectl("get", "nodes", "-l", "!node-role.kubernetes.io/control-plane", "-o", "name").split()
    (other,) = (name.removeprefix("node/") for name in workers if name != f"node/{node}")
    old = {pod["metadata"]["uid"] for pod in sleepy.pods("sleepy") if pod["spec"]["nodeName"] == node}
    with Load(sleepy, URL, node=other) as load:
        # only these pods: what else runs on the node is not this test's
        selected = "--pod-selector=torchserve-operator.dev/model=sleepy"
        try:
            sleepy.kubectl("drain", node, selected, "--delete-emptydir-data", "--timeout=100s")
            rolled(sleepy, "sleepy", old)
            assert {pod["spec"]["nodeName"] for pod in sleepy.pods("sleepy")} == {other}
        finally:
            sleepy.kubectl("uncordon", node)
        summary = load.finish()
    print(summary)
    assert summary.lost == [], summary


def test_the_control_a_plain_deployment_loses_requests(shared: Namespace) -> None:
    control.deploy(shared, "sleepy", replicas=2)
    with Load(shared, "http://control/predictions/sleepy") as load:
        shared.kubectl("rollout", "restart", f"deployment/{control.NAME}")
        control.rollout_status(shared)
        summary = load.finish()
    print(summary)
    assert len(summary.lost) >= 1, "the load is too light to tell a stop that loses from one that does not"
