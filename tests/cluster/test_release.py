"""A bad release never takes the good one down, and what a child was changed to by others does not last."""

import json

import pytest
from apiproxy import ApiProxyError, Object
from installed import Installed
from kube import READY, WITHIN, Namespace, eventually

NAME = "served"


@pytest.fixture
def served(shared: Namespace) -> Namespace:
    """A good revision of a resource that answers: made by the first test, found by the others."""
    shared.apply(shared.cr("echo", NAME))
    shared.ready(NAME)
    assert shared.predict(NAME, "first", "echo") == "first"
    return shared


def container(deployment: Object) -> Object:
    (found,) = deployment["spec"]["template"]["spec"]["containers"]
    return dict(found)


def content(deployment: Object) -> Object:
    return {key: value for key, value in deployment["spec"].items() if key != "revisionHistoryLimit"}


def answers(namespace: Namespace) -> bool:
    """Whether the Service has an endpoint, and the model behind it answers."""
    try:
        return bool(namespace.predict(NAME, "again", "echo") == "again")
    except ApiProxyError as error:
        if error.status in {404, 503}:
            return False
        raise


def restored(namespace: Namespace, wanted: Object) -> None:
    """The Deployment's content comes back, the resource is Ready and answers."""
    eventually(lambda: content(namespace.deployment(NAME)) == content(wanted), WITHIN, "the Deployment is restored")
    eventually(lambda: answers(namespace), READY, "it answers again")
    namespace.ready(NAME)


def test_a_broken_release_leaves_the_good_pods_answering_and_says_why(served: Namespace) -> None:
    good = served.pod(NAME)["metadata"]["uid"]
    release = served.cr("echo", NAME)
    release["spec"]["models"].append({"name": "broken"})
    served.apply(release)
    condition = served.wait_for(NAME, "Ready", "False", "LoadFailed")
    assert condition["message"] == "model broken: ModuleNotFoundError: No module named 'no_such_module_for_test'"
    assert served.condition(NAME, "Available") | {"lastTransitionTime": ""} == {
        "type": "Available",
        "status": "True",
        "reason": "Answering",
        "message": "an earlier generation answers",
        "observedGeneration": served.tsm(NAME)["metadata"]["generation"],
        "lastTransitionTime": "",
    }
    assert served.condition(NAME, "Stalled")["status"] == "True"
    assert len(served.endpoints(NAME)) == 1
    assert [served.predict(NAME, number, "echo") for number in range(1, 21)] == list(range(1, 21))
    served.apply(served.cr("echo", NAME))
    served.ready(NAME)
    assert good in {pod["metadata"]["uid"] for pod in served.pods(NAME)}, "the mended spec is the good pod's own"


@pytest.mark.parametrize("kind", ["service", "deployment", "configmap"])
def test_a_deleted_child_comes_back(served: Namespace, kind: str) -> None:
    def uids() -> dict[str, str]:
        listed = served.kubectl("get", kind, "-l", f"torchserve-operator.dev/model={NAME}", "-o", "json")
        return {item["metadata"]["name"]: item["metadata"]["uid"] for item in json.loads(listed)["items"]}

    before = uids()
    assert before
    served.kubectl("delete", kind, *before, "--wait=false")

    def back() -> bool:
        now = uids()
        return now.keys() == before.keys() and not set(now.values()) & set(before.values())

    eventually(back, WITHIN, f"{kind} is back")
    eventually(lambda: answers(served), READY, "it answers again")
    served.ready(NAME)


def test_a_changed_environment_is_put_right(served: Namespace) -> None:
    wanted = served.deployment(NAME)
    served.kubectl("set", "env", f"deployment/{NAME}", "OMP_NUM_THREADS=7", "STRANGER=1")
    restored(served, wanted)


def test_a_foreign_container_and_volume_are_taken_out(served: Namespace) -> None:
    wanted = served.deployment(NAME)
    image = container(wanted)["image"]
    patch = (
        '{"spec": {"template": {"spec": {"volumes": [{"name": "extra", "emptyDir": {}}],'
        f'"containers": [{{"name": "sidecar", "image": "{image}", "command": ["sleep", "infinity"]}}]}}}}}}}}'
    )
    served.kubectl("patch", "deployment", NAME, "--type=strategic", "-p", patch)
    restored(served, wanted)
    events = served.kubectl(
        "get", "events", "--field-selector", "reason=Restored", "-o", "jsonpath={.items[*].message}"
    )
    assert "containers" in events


def test_another_number_of_replicas_is_put_right(served: Namespace) -> None:
    wanted = served.deployment(NAME)
    served.kubectl("scale", f"deployment/{NAME}", "--replicas=0")
    restored(served, wanted)


def test_a_restart_that_a_person_asks_for_replaces_the_pods_and_is_not_fought(served: Namespace) -> None:
    before = served.pod(NAME)["metadata"]["name"]
    served.kubectl("rollout", "restart", f"deployment/{NAME}")
    served.kubectl("rollout", "status", f"deployment/{NAME}", "--timeout=90s")
    eventually(lambda: [p["metadata"]["name"] for p in served.pods(NAME)] != [before], WITHIN, "the old pod goes")
    served.ready(NAME)
    annotations = served.deployment(NAME)["spec"]["template"]["metadata"]["annotations"]
    assert "kubectl.kubernetes.io/restartedAt" in annotations
    assert served.predict(NAME, "again", "echo") == "again"


def test_paused_leaves_strangers_changes_alone_until_it_ends(served: Namespace, operator: Installed) -> None:
    served.apply(served.cr("echo", NAME, paused=True))
    served.wait_for(NAME, "Ready", "True", "Paused", says="paused is true: nothing is written")
    done = 'torchserve_operator_reconciles_total{result="done"}'
    before = operator.metric(done)
    served.kubectl("delete", "service", NAME)
    eventually(lambda: operator.metric(done) > before, WITHIN, "the operator has looked at it")
    assert served.api.find(f"{served.core}/services/{NAME}") is None
    served.apply(served.cr("echo", NAME, paused=False))
    eventually(lambda: served.api.find(f"{served.core}/services/{NAME}"), WITHIN, "the Service is back")
    served.ready(NAME)
