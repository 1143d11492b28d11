"""The operator in the cluster: installed from ``manifests/`` as a person would, with the image of this very tree."""

import json
from dataclasses import dataclass
from typing import Any

import yaml

from testbed import project_images
from testbed.cluster import Cluster
from testbed.definition import CRD, wait_established
from testbed.errors import TestbedError
from testbed.progress import say, step

MANIFESTS = project_images.REPOSITORY / "manifests"
NAMESPACE = "torchserve-operator"
DEPLOYMENT = "torchserve-operator"
PODS = f"app.kubernetes.io/name={DEPLOYMENT}"
"""The label selector of the operator's pods."""

_ROLLOUT = 120
"""Seconds until the new operator is ready; seen: 5."""


@dataclass(frozen=True)
class Installation:
    """The operator as it runs.

    Attributes:
        namespace: where it runs.
        deployment: its Deployment's name.
        image: its image's reference by digest.
        changed: whether the Deployment or the CRD is another one than before.
    """

    namespace: str
    deployment: str
    image: str
    changed: bool


def install(cluster: Cluster) -> Installation:
    """Install or update CRD, RBAC and Deployment, and wait until the operator of this tree is ready.

    The image is built and pushed before. Where nothing changed since the last time, nothing is written.

    Raises:
        TestbedError: the manifests were refused, or the operator does not become ready; the message has the pod's
            trouble and the end of its log.
    """
    image = project_images.ensure(project_images.OPERATOR)[project_images.OPERATOR]
    documents = with_image(cluster.kubectl("kustomize", str(MANIFESTS)), image)
    # --force-conflicts: whoever tried something by hand in the testbed's cluster is overruled.
    apply = ["apply", "--server-side", "--force-conflicts", "-o", "name", "-f", "-"]
    before = _generations(cluster)
    cluster.kubectl(*apply, stdin=documents)
    changed = _generations(cluster) != before
    wait_established(cluster)
    if changed:
        with step("waiting for the operator"):
            _wait(cluster)
    else:
        _wait(cluster)
    return Installation(NAMESPACE, DEPLOYMENT, image, changed)


def installed(cluster: Cluster) -> bool:
    """Whether the operator's Deployment is in the cluster."""
    return bool(cluster.kubectl("-n", NAMESPACE, "get", "deployment", DEPLOYMENT, "--ignore-not-found", "-o", "name"))


def uninstall(cluster: Cluster) -> None:
    """Remove what `install` made: the operator, its namespace, RBAC and the CRD, with every TorchServeModel."""
    with step("removing the operator"):
        documents = cluster.kubectl("kustomize", str(MANIFESTS))
        cluster.kubectl("delete", "--ignore-not-found", "--wait", "--timeout=120s", "-f", "-", stdin=documents)


def logs(cluster: Cluster) -> str:
    """Everything that the operator's running pods have logged."""
    return cluster.kubectl("-n", NAMESPACE, "logs", "-l", PODS, "--tail=-1")


def with_image(documents: str, image: str) -> str:
    """The manifests (YAML) with the operator's image replaced by ``image``, as YAML.

    Raises:
        TestbedError: there is no Deployment of the operator among them.
    """
    parsed: list[dict[str, Any]] = [document for document in yaml.safe_load_all(documents) if document]
    ours = [d for d in parsed if d["kind"] == "Deployment" and d["metadata"]["name"] == DEPLOYMENT]
    if len(ours) != 1:
        raise TestbedError(f"{MANIFESTS}: expected one Deployment {DEPLOYMENT!r}, found {len(ours)}")
    (container,) = ours[0]["spec"]["template"]["spec"]["containers"]
    # builds run the same image: kustomize has copied it to where the operator reads it
    for variable in container.get("env", ()):
        if variable.get("value") == container["image"]:
            variable["value"] = image
    container["image"] = image
    return yaml.safe_dump_all(parsed, sort_keys=False)


def pod_trouble(pods: list[dict[str, Any]]) -> str:
    """What keeps pods (v1 Pod objects) from running, in a line; empty when nothing is known."""
    for pod in pods:
        status = pod.get("status", {})
        for container in status.get("containerStatuses", []):
            state, last = container.get("state", {}), container.get("lastState", {})
            told = state.get("waiting") or state.get("terminated") or last.get("terminated")
            if told and told.get("reason") not in {None, "ContainerCreating", "Completed"}:
                return _line(pod, told["reason"], told.get("message", ""))
        for condition in status.get("conditions", []):
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                return _line(pod, condition.get("reason", ""), condition.get("message", ""))
    return ""


def _line(pod: dict[str, Any], reason: str, message: str) -> str:
    return " ".join(f"pod {pod['metadata']['name']}: {reason}: {message}".split()).rstrip(" :")


def _generations(cluster: Cluster) -> list[str]:
    """The generations of what a rollout or a new schema would change; empty where nothing is installed."""
    path = "jsonpath={range .items[*]}{.kind} {.metadata.uid} {.metadata.generation}{'\\n'}{end}"
    named = [f"crd/{CRD}", f"deployment/{DEPLOYMENT}"]
    return cluster.kubectl("-n", NAMESPACE, "get", "--ignore-not-found", *named, "-o", path).splitlines()


def _wait(cluster: Cluster) -> None:
    rollout = ["rollout", "status", f"deployment/{DEPLOYMENT}", f"--timeout={_ROLLOUT}s"]
    try:
        cluster.kubectl("-n", NAMESPACE, *rollout, timeout=_ROLLOUT + 10)
    except TestbedError as error:
        pods = json.loads(cluster.kubectl("-n", NAMESPACE, "get", "pods", "-l", PODS, "-o", "json"))["items"]
        log = "\n".join(logs(cluster).splitlines()[-5:]) if pods else ""
        trouble = pod_trouble(pods) or str(error).splitlines()[-1]
        say(f"the operator's log ends with:\n{log}" if log else "the operator has logged nothing")
        raise TestbedError(f"the operator is not ready after {_ROLLOUT} s: {trouble}") from error
