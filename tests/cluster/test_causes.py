"""It says why: each trouble's cause is in the condition within seconds, and once it is mended no help is needed."""

import json
import re
import time
from collections.abc import Iterator

import pytest
from apiproxy import Object
from kube import READY, SMALL, WITHIN, Namespace, unix

from testbed import images, registry
from testbed.cluster import Cluster

STORE = "/home/model-server/model-store"


def told(namespace: Namespace, name: str, reason: str, says: str) -> tuple[Object, float]:
    """The Ready condition once it names the cause, and when (Unix time) it was seen."""
    condition = namespace.wait_for(name, "Ready", "False", reason, says=says)
    return condition, time.time()


def mended(namespace: Namespace, name: str) -> None:
    """Change the resource to a good model; it becomes Ready by itself."""
    namespace.apply(namespace.cr("echo", name))
    namespace.ready(name)
    assert namespace.condition(name, "Stalled")["status"] == "False"
    assert namespace.predict(name, "hello", "echo") == "hello"


@pytest.fixture
def name(shared: Namespace, request: pytest.FixtureRequest) -> Iterator[str]:
    """A name that no other test has; its resource goes when the test ends."""
    found = re.sub(r"[^a-z]+", "-", request.node.name.removeprefix("test_"))[:40].strip("-")
    yield found
    shared.delete(found)


def test_an_import_error_in_a_handler_is_told_by_the_exceptions_last_line(shared: Namespace, name: str) -> None:
    shared.apply(shared.cr("broken", name))
    condition, at = told(shared, name, "LoadFailed", "no_such_module_for_test")
    assert condition["message"] == "model broken: ModuleNotFoundError: No module named 'no_such_module_for_test'"
    assert at - shared.first_line(name, "ModuleNotFoundError") < WITHIN
    assert shared.condition(name, "Stalled")["status"] == "True"
    assert shared.condition(name, "Available")["status"] == "False"
    assert shared.endpoints(name) == []
    assert condition["message"] in shared.kubectl("get", "tsm", name, "-o", "wide")
    mended(shared, name)


def test_a_missing_archive_is_told_with_its_path_and_what_is_there(shared: Namespace, name: str) -> None:
    shared.apply(shared.cr("nowhere", name))
    condition, at = told(shared, name, "ArchiveMissing", "nowhere")
    path = f"{STORE}/nowhere"
    assert condition["message"].startswith(f"model nowhere: {path} (or nowhere.mar) is not in the image; {STORE} has ")
    assert "echo/" in condition["message"]
    started = shared.pod(name)["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]
    assert at - unix(started) < WITHIN
    mended(shared, name)


def test_a_worker_that_ends_without_an_exception_is_told(shared: Namespace, name: str) -> None:
    shared.apply(shared.cr("crash", name))
    _, at = told(shared, name, "LoadFailed", "model crash: the worker's process ended while it loaded the model")
    assert at - shared.first_line(name, "Worker died") < WITHIN


def test_a_worker_killed_at_the_memory_limit_is_told_with_the_limit(shared: Namespace, name: str) -> None:
    shared.apply(shared.cr("hungry", name, parameters={"allocateMiB": 2000}))
    condition, at = told(shared, name, "OutOfMemory", "1Gi")
    assert "out of memory" in condition["message"]
    assert at - shared.first_line(name, "Worker died") < WITHIN
    mended(shared, name)


def test_a_container_killed_at_the_memory_limit_is_told_with_the_limit(shared: Namespace, name: str) -> None:
    # The JVM takes its whole heap at once: it is the largest process when a worker asks for more than is left.
    greedy = {"heapSize": "800Mi", "vmargs": ["-Xms800m", "-XX:+AlwaysPreTouch"]}
    cr = shared.cr("hungry", name, parameters={"allocateMiB": 400}, server=greedy)
    shared.apply(cr)
    condition, at = told(shared, name, "OutOfMemory", "its limit of 1Gi")
    assert condition["message"].startswith("the container was killed at its limit of 1Gi")
    status = shared.pod(name)["status"]["containerStatuses"][0]
    ended = status["state"].get("terminated") or status["lastState"]["terminated"]
    assert ended["reason"] == "OOMKilled"
    assert at - unix(ended["finishedAt"]) < WITHIN
    mended(shared, name)


def test_an_image_that_is_not_there_is_told_by_the_registrys_words(shared: Namespace, name: str) -> None:
    shared.apply(shared.cr("echo", name, image=registry.reference("torchserve-operator/absent:1")))
    condition, at = told(shared, name, "ImagePullFailed", "torchserve-operator/absent:1")
    assert "not found" in condition["message"]
    failed = shared.api.get(f"{shared.core}/events", fieldSelector="reason=Failed")["items"]
    pod = shared.pod(name)["metadata"]["name"]
    first = min(unix(event["firstTimestamp"]) for event in failed if event["involvedObject"]["name"] == pod)
    assert at - first < WITHIN
    assert shared.condition(name, "ImageReady")["status"] == "False"
    mended(shared, name)


def test_an_image_without_python_is_told(shared: Namespace, name: str) -> None:
    base = images.debian_base()
    images.push(base)
    shared.apply(shared.cr("echo", name, image=registry.reference(base)))
    condition, _ = told(shared, name, "ImageUnsuitable", "python")
    assert condition["message"].startswith("the image has no python on its PATH")


def test_a_missing_secret_is_told_by_the_kubelets_words(shared: Namespace, name: str) -> None:
    env = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "absent", "key": "token"}}}
    shared.apply(shared.cr("echo", name, pod={"env": [env]}))
    condition, _ = told(shared, name, "ContainerConfigError", "absent")
    assert condition["message"] == 'secret "absent" not found'


def test_a_gpu_that_no_node_has_is_told_by_the_schedulers_words(shared: Namespace, name: str) -> None:
    limits = SMALL["limits"] | {"nvidia.com/gpu": "1"}
    shared.apply(shared.cr("echo", name, resources={"requests": SMALL["requests"], "limits": limits}))
    condition, at = told(shared, name, "Unschedulable", "Insufficient nvidia.com/gpu")
    scheduled = next(c for c in shared.pod(name)["status"]["conditions"] if c["type"] == "PodScheduled")
    assert condition["message"] == scheduled["message"]
    assert at - unix(scheduled["lastTransitionTime"]) < WITHIN
    mended(shared, name)


@pytest.fixture
def scarce(cluster: Cluster) -> Iterator[str]:
    """An extended resource of which the cluster has one, on one node."""
    resource = "nvidia.com/gpu"
    names = cluster.kubectl("get", "nodes", "-l", "!node-role.kubernetes.io/control-plane", "-o", "name").split()
    path = "/status/capacity/" + resource.replace("/", "~1")

    def patch(**operation: str) -> None:
        patched = json.dumps([{"path": path, **operation}])
        cluster.kubectl("patch", names[0], "--subresource=status", "--type=json", "-p", patched)

    patch(op="add", value="1")
    yield resource
    patch(op="remove")


def test_a_scarce_resource_held_by_the_old_pod_names_the_strategy_that_frees_it(
    shared: Namespace, name: str, scarce: str
) -> None:
    resources = {"requests": SMALL["requests"], "limits": SMALL["limits"] | {scarce: "1"}}
    shared.apply(shared.cr("echo", name, resources=resources))
    shared.ready(name)
    changed = shared.cr("echo", name, resources=resources, logging={"level": "WARN"})
    shared.apply(changed)
    condition, _ = told(shared, name, "Unschedulable", f"Insufficient {scarce}")
    assert condition["message"].endswith(
        f"The old pods hold {scarce} until a new one answers: set spec.rollout.strategy to Replace "
        "where there is no spare"
    )
    assert shared.condition(name, "Available")["status"] == "True"
    assert shared.predict(name, "still", "echo") == "still"
    changed["spec"]["rollout"] = {"strategy": "Replace"}
    shared.apply(changed)
    shared.wait_for(name, "Ready", "True", timeout=READY)
    assert shared.predict(name, "again", "echo") == "again"


def test_a_quota_that_refuses_the_pod_is_told_by_its_words(namespace: Namespace) -> None:
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    namespace.api.create(f"{namespace.core}/resourcequotas", quota)
    namespace.apply(namespace.cr("echo"))
    condition, _ = told(namespace, "echo", "PodRejected", "exceeded quota: none")
    assert "requested: pods=1" in condition["message"]
