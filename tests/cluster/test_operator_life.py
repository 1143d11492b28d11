"""The operator comes and goes; what it looks after stays right, and at rest nothing is written."""

import time
from collections.abc import Iterator

import pytest
from apiproxy import ApiProxyError, Object
from installed import Installed
from kube import WITHIN, Namespace, eventually

NAME = "n" * 40
RESYNC = "TORCHSERVE_OPERATOR_RESYNC_SECONDS"
OWNED = "torchserve-operator.dev/model"


@pytest.fixture
def served(shared: Namespace) -> Namespace:
    """A resource that answers, with the longest name there can be, and quantities that are not canonical."""
    shared.apply(resource(shared))
    shared.ready(NAME)
    return shared


def resource(namespace: Namespace, **spec: object) -> Object:
    quantities = {
        "requests": {"cpu": "0.1", "memory": "262144Ki"},
        "limits": {"cpu": "1000m", "memory": "1024Mi"},
    }
    return namespace.cr("echo", NAME, resources=quantities, **spec)


@pytest.fixture
def running(operator: Installed) -> Iterator[Installed]:
    """The operator, which runs as it did before once the test is over, whatever the test did to it."""
    yield operator
    if not operator.pods():
        operator.up()
    operator.set_environment(**{RESYNC: None})


def children(namespace: Namespace) -> list[str]:
    """Everything that belongs to a resource, pods and ReplicaSets included."""
    kinds = "deployments,replicasets,pods,services,serviceaccounts,configmaps,poddisruptionbudgets"
    return namespace.kubectl("get", kinds, "-l", OWNED, "-o", "name").split()


def writes(operator: Installed, namespace: Namespace, mark: object) -> list[str]:
    return [line for line in operator.audit.writes(mark, user=operator.user) if f" {namespace.name}/" in line]  # type: ignore[arg-type]  # a Mark


def at_rest(operator: Installed, namespace: Namespace) -> None:
    """Wait until the operator has written nothing about a namespace for 6 s: more than its unsettled turn."""
    mark = operator.audit.mark()
    quiet = time.monotonic()
    while time.monotonic() - quiet < 6:
        if writes(operator, namespace, mark):
            mark, quiet = operator.audit.mark(), time.monotonic()
        time.sleep(0.5)


def test_a_name_of_40_characters_really_serves(served: Namespace) -> None:
    assert served.predict(NAME, "long", "echo") == "long"
    assert all(len(child.partition("/")[2]) <= 63 for child in children(served))


def test_the_operators_own_server_answers(operator: Installed, served: Namespace) -> None:
    assert served.tsm(NAME)["status"]["readyReplicas"] == 1
    assert operator.http("/healthz").strip() == "ok"
    assert operator.http("/readyz").strip() == "ok"
    assert operator.metric("torchserve_operator_resources") >= 1
    assert operator.metric('torchserve_operator_reconciles_total{result="done"}') >= 1
    assert operator.metric('torchserve_operator_reconciles_total{result="failed"}') == 0


def test_applied_twice_restarted_and_resynced_nothing_is_written(running: Installed, served: Namespace) -> None:
    at_rest(running, served)
    before = served.tsm(NAME)
    mark = running.audit.mark()
    served.apply(resource(served))
    running.set_environment(**{RESYNC: "1"})
    done = 'torchserve_operator_reconciles_total{result="done"}'
    known = running.metric("torchserve_operator_resources")
    assert known >= 1
    first = running.metric(done)
    eventually(lambda: running.metric(done) >= first + 3 * known, 30, "three resyncs")
    assert writes(running, served, mark) == []
    running.set_environment(**{RESYNC: None})
    running.restart()
    eventually(lambda: running.metric(done) >= known, 30, "everything is looked at again")
    assert writes(running, served, mark) == []
    assert served.tsm(NAME)["status"] == before["status"]


def test_what_breaks_while_the_operator_is_down_is_right_once_it_is_back(running: Installed, served: Namespace) -> None:
    took = running.down()
    assert took < 5, "it ends within 5 s of SIGTERM"
    old = {pod["metadata"]["uid"] for pod in served.pods(NAME)}
    served.kubectl("delete", "pods", "-l", f"{OWNED}={NAME}", "--wait=false")
    served.kubectl("delete", "service", NAME)
    served.kubectl("set", "env", f"deployment/{NAME}", "STRANGER=1")
    changed = resource(served)
    changed["spec"]["models"].append({"name": "second", "path": "echo"})
    served.apply(changed)
    assert served.condition(NAME) == {}, "nobody has seen the new generation"
    running.up()
    served.ready(NAME)
    served.wait_for(NAME, "Reconciling", "False")  # until then a pod of the old generation may answer, too
    assert served.predict(NAME, "new", "second") == "new"
    (container,) = served.deployment(NAME)["spec"]["template"]["spec"]["containers"]
    assert "STRANGER" not in {entry["name"] for entry in container["env"]}
    assert not old & {pod["metadata"]["uid"] for pod in served.pods(NAME)}


@pytest.mark.parametrize("operator_is", ["up", "down"])
def test_deleting_the_resource_removes_everything(running: Installed, namespace: Namespace, operator_is: str) -> None:
    # The archive is missing: all children are there, and no server that would have to drain.
    namespace.apply(namespace.cr("nowhere", "gone", replicas=2))
    namespace.wait_for("gone", "Ready", "False", "ArchiveMissing")
    kinds = {child.partition("/")[0].partition(".")[0] for child in children(namespace)}
    assert kinds == {
        "deployment", "replicaset", "pod", "service", "serviceaccount", "configmap", "poddisruptionbudget",
    }  # fmt: skip
    if operator_is == "down":
        running.down()
    namespace.delete("gone")
    eventually(lambda: children(namespace) == [], 60, "everything is gone")
    assert namespace.api.find(f"{namespace.models}/gone") is None


def test_the_namespace_refuses_a_pod_that_is_not_restricted_and_takes_ours(served: Namespace) -> None:
    with pytest.raises(ApiProxyError, match='violates PodSecurity "restricted'):
        served.api.create(
            f"{served.core}/pods",
            {"metadata": {"name": "loose"}, "spec": {"containers": [{"name": "c", "image": served.image}]}},
        )
    pod = served.pods(NAME)[-1]  # an older one may still be on its way out of a rollout
    assert pod["status"]["phase"] == "Running"
    mounts = [mount["mountPath"] for mount in pod["spec"]["containers"][0]["volumeMounts"]]
    assert "/var/run/secrets/kubernetes.io/serviceaccount" not in mounts
    user = served.kubectl("exec", pod["metadata"]["name"], "--", "id", "-u").strip()
    assert user == "1000"


def test_the_condition_follows_within_seconds_when_a_pod_is_deleted(served: Namespace) -> None:
    old = served.pod(NAME)["metadata"]
    served.kubectl("delete", "pod", old["name"], "--wait=false")
    served.wait_for(NAME, "Ready", "False", timeout=WITHIN)
    served.ready(NAME)
    assert served.pod(NAME)["metadata"]["uid"] != old["uid"]
