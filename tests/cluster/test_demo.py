"""`make demo` as a person runs it: interrupted, again, once more; and what it says when it cannot go on."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from installed import Installed

from testbed import demo_objects
from testbed.cluster import Cluster
from testbed.demo_objects import MODEL, NAMESPACE
from testbed.project_images import REPOSITORY

MAKE = ("make", "--no-print-directory", "demo")
DEMO = (sys.executable, "-m", "testbed.demo")
NEIGHBOUR = "demo-neighbour"
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}


@dataclass(frozen=True)
class Run:
    """How a run of the demo ended, and the lines that it printed."""

    status: int
    lines: list[str]

    def seconds(self) -> dict[str, float]:
        """Stage -> how long it took, in the order in which they were done."""
        found = (re.search(r"\] \d/7 (.+): done in ([\d.]+) s$", line) for line in self.lines)
        return {match.group(1): float(match.group(2)) for match in found if match}

    def table(self) -> list[str]:
        """The READY column of what was shown of `kubectl get tsm`."""
        return [found.group(1) for line in self.lines if (found := re.search(rf"\]     {MODEL} +(\S+)", line))]


def run(*command: str, interrupt_at: str | None = None, **environment: str) -> Run:
    """Run a command in the repository; the first line with ``interrupt_at`` in it is answered with Ctrl-C."""
    words = {**ENVIRONMENT, "PYTHONPATH": "tests", **environment}
    lines = []
    with subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=words,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # A shell's background job ignores Ctrl-C, and so would all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  # one thread here
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if interrupt_at and interrupt_at in line:
                os.killpg(process.pid, signal.SIGINT)
    return Run(process.returncode, lines)


def remove(cluster: Cluster, *namespaces: str) -> None:
    cluster.kubectl("delete", "namespace", *namespaces, "--ignore-not-found", "--timeout=240s", timeout=250)


@pytest.fixture(scope="module", autouse=True)
def no_demo(cluster: Cluster, operator: Installed) -> Iterator[None]:  # noqa: ARG001  # its log is looked at
    """The demo starts from a cluster without it, and leaves none."""
    remove(cluster, NAMESPACE, NEIGHBOUR)
    yield
    remove(cluster, NAMESPACE, NEIGHBOUR)


@pytest.fixture(scope="module")
def interrupted(no_demo: None) -> Run:  # noqa: ARG001  # comes before
    return run(*MAKE, interrupt_at="4/7 operator ...")


@pytest.fixture(scope="module")
def first(interrupted: Run) -> Run:  # noqa: ARG001  # comes before
    return run(*MAKE)


@pytest.fixture(scope="module")
def second(first: Run) -> Run:  # noqa: ARG001  # comes before
    return run(*MAKE)


def test_an_interrupted_demo_says_so_in_a_line(interrupted: Run) -> None:
    assert interrupted.status != 0
    assert any("interrupted: the same command goes on from here" in line for line in interrupted.lines)
    assert not any("Traceback" in line for line in interrupted.lines)


def test_the_demo_goes_through_its_stages_in_order_after_an_interruption(first: Run) -> None:
    assert first.status == 0, "\n".join(first.lines)
    stages = ["tools", "cluster", "images", "operator", "TorchServeModel applied", "Ready", "predictions"]
    assert list(first.seconds()) == stages


def test_the_table_is_seen_turning_ready(first: Run) -> None:
    assert first.table()[0] != "True"
    assert first.table()[-1] == "True"


def test_each_prediction_stands_beside_the_expected_label(first: Run) -> None:
    shown = [re.match(r"predicted (\d)  expected (\d)", line) for line in first.lines]
    expected = [int(match.group(2)) for match in shown if match]
    digits = (demo_objects.EXAMPLE / "heldout.csv").read_text().splitlines()[:10]
    assert expected == [int(digit.rpartition(",")[2]) for digit in digits]


def test_the_last_line_is_the_accuracy(first: Run) -> None:
    found = re.fullmatch(r"accuracy ([\d.]+) % on 360 digits", first.lines[-1])
    assert found
    assert float(found.group(1)) >= 95


def test_what_it_says_for_looking_around_works(first: Run) -> None:
    begin, end = first.lines.index("To look around:"), first.lines.index("To remove it: make clean-demo")
    script = "\n".join(first.lines[begin + 1 : end])
    done = subprocess.run(["bash", "-e"], input=script, text=True, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert f"torchservemodel.torchserve-operator.dev/{MODEL}" in done.stdout


def test_a_second_demo_finds_everything_there(first: Run, second: Run) -> None:
    assert second.status == 0, "\n".join(second.lines)
    assert second.table() == ["True"]
    assert second.lines[-1] == first.lines[-1]
    assert second.seconds()["Ready"] < first.seconds()["Ready"]


def test_down_keeps_the_operator_while_others_need_it(cluster: Cluster, second: Run) -> None:
    assert second.status == 0
    resource = demo_objects.resource("registry.example/none@sha256:" + "0" * 64)
    resource["metadata"]["namespace"] = NEIGHBOUR
    resource["spec"]["paused"] = True
    cluster.kubectl("create", "namespace", NEIGHBOUR)
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(resource))

    done = run(*DEMO, "down", "--keep-cluster")

    assert done.status == 0, "\n".join(done.lines)
    assert f"{NEIGHBOUR}/{MODEL}" in done.lines[-1]
    assert cluster.kubectl("get", "namespace", NAMESPACE, "--ignore-not-found") == ""
    assert cluster.kubectl("-n", NEIGHBOUR, "get", "tsm", MODEL, "-o", "name")


def test_a_model_that_never_gets_ready_fails_the_demo_with_the_cause_in_a_line(cluster: Cluster, second: Run) -> None:
    assert second.status == 0
    remove(cluster, NAMESPACE)
    cluster.kubectl("create", "namespace", NAMESPACE)
    cluster.kubectl("-n", NAMESPACE, "create", "quota", "nothing", "--hard=pods=0")

    done = run(*DEMO, "up", "--ready-within=20")

    assert done.status == 1
    assert re.search(rf"error: tsm/{MODEL} is not Ready after 20 s: .*exceeded quota: nothing", done.lines[-1])
    assert not any("Traceback" in line for line in done.lines)
