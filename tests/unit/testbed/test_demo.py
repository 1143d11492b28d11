"""The demo's parts that need no cluster: how it reads a resource, and whose cluster it leaves alone."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from testbed import demo, demo_objects
from testbed.project_images import REPOSITORY


def _tsm(*conditions: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "digits", "generation": 2}, "status": {"conditions": list(conditions)}}


def _ready(status: str, generation: int, reason: str = "Answering", message: str = "") -> dict[str, Any]:
    words = {"reason": reason, "message": message}
    return {"type": "Ready", "status": status, "observedGeneration": generation, **words}


def test_a_line_of_the_table_is_the_same_a_second_later() -> None:
    row = "digits   False   0          0/1       1.0       Progressing   "
    assert demo.without_age(row + "1s") == demo.without_age(row + "2m3s") == row.rstrip()


@pytest.mark.parametrize(
    ("tsm", "expected"),
    [
        (_tsm(_ready("True", 2)), True),
        (_tsm(_ready("True", 1)), False),
        (_tsm(_ready("False", 2)), False),
        (_tsm({"type": "Available", "status": "True", "observedGeneration": 2}), False),
        ({"metadata": {"generation": 1}}, False),
    ],
)
def test_ready_counts_for_the_present_generation_only(tsm: dict[str, Any], expected: bool) -> None:
    assert demo.is_ready(tsm) is expected


def test_the_cause_is_the_conditions_message_in_one_line() -> None:
    tsm = _tsm(_ready("False", 2, "LoadFailed", "ModuleNotFoundError:\n  no foo"))
    assert demo.cause(tsm) == "LoadFailed: ModuleNotFoundError: no foo"


def test_a_resource_without_a_status_points_at_the_operator() -> None:
    assert "see its log" in demo.cause({"metadata": {"generation": 1}})


def test_the_resource_is_the_examples_own_but_for_image_and_namespace() -> None:
    ours = demo_objects.resource("here/digits@sha256:1")
    example = yaml.safe_load((demo_objects.EXAMPLE / "torchservemodel.yaml").read_text())
    assert ours["spec"].pop("image") == "here/digits@sha256:1"
    assert ours["metadata"].pop("namespace") == demo_objects.NAMESPACE
    del example["spec"]["image"]
    assert ours == example


def test_somebody_elses_cluster_is_refused_in_a_line(tmp_path: Path) -> None:
    config = {
        "clusters": [{"name": "c", "cluster": {"server": "https://10.0.0.1:6443"}}],
        "contexts": [{"name": "production", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "production",
    }
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    environment = {**os.environ, "PYTHONPATH": "tests", "TESTBED_KUBECONFIG": str(kubeconfig)}
    environment.pop("TESTBED_CONTEXT", None)
    command = [sys.executable, "-m", "testbed.demo", "down"]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "error: " in done.stderr
    assert "'production'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
