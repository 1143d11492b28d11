"""Installing the operator: what is made of the manifests, and what is told of pods that do not run."""

from typing import Any

import pytest
import yaml

from testbed import operator
from testbed.errors import TestbedError


def _deployment(name: str) -> dict[str, Any]:
    pod = {"spec": {"containers": [{"name": "operator", "image": "somewhere/operator:0.1.0", "args": ["run"]}]}}
    return {"kind": "Deployment", "metadata": {"name": name}, "spec": {"template": pod}}


def _pod(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p-1"}, "status": status}


def test_the_operators_image_is_replaced_and_nothing_else() -> None:
    others = [{"kind": "Namespace", "metadata": {"name": "n"}}, None, _deployment("another")]
    documents = yaml.safe_dump_all([*others, _deployment(operator.DEPLOYMENT)])
    wanted = _deployment(operator.DEPLOYMENT)
    wanted["spec"]["template"]["spec"]["containers"][0]["image"] = "here/operator@sha256:1"
    found = list(yaml.safe_load_all(operator.with_image(documents, "here/operator@sha256:1")))
    assert found == [others[0], others[2], wanted]


def test_manifests_without_the_operator_are_refused() -> None:
    with pytest.raises(TestbedError, match="expected one Deployment 'torchserve-operator', found 0"):
        operator.with_image(yaml.safe_dump(_deployment("another")), "here/operator@sha256:1")


@pytest.mark.parametrize(
    ("status", "line"),
    [
        ({}, ""),
        ({"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}, ""),
        ({"containerStatuses": [{"state": {"terminated": {"reason": "Completed", "exitCode": 0}}}]}, ""),
        (
            {"containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": "not\n  found"}}}]},
            "pod p-1: ErrImagePull: not found",
        ),
        ({"containerStatuses": [{"state": {"terminated": {"reason": "Error"}}}]}, "pod p-1: Error"),
        (
            {"containerStatuses": [{"state": {"running": {}}, "lastState": {"terminated": {"reason": "OOMKilled"}}}]},
            "pod p-1: OOMKilled",
        ),
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3"}]},
            "pod p-1: Unschedulable: 0/3",
        ),
    ],
)
def test_a_pods_trouble_is_one_line(status: dict[str, Any], line: str) -> None:
    assert operator.pod_trouble([_pod(**status)]) == line
