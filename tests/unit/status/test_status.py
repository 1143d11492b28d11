"""What the conditions say of what is observed: tables over the pure functions."""

from dataclasses import replace
from typing import Any

import pytest

from torchserve_operator.api.conditions import Reason
from torchserve_operator.api.errors import FieldError
from torchserve_operator.api.parse import parse_spec
from torchserve_operator.status.build import BuildState, Phase
from torchserve_operator.status.compute import compute_status, settled
from torchserve_operator.status.observed import Observed, Refusal
from torchserve_operator.status.pods import Ended, Pod
from torchserve_operator.status.report import ModelReport, Read, Report

NOW = "2026-01-01T00:00:00Z"
LATER = "2026-01-01T01:00:00Z"

GOOD_POD = Pod(
    name="m-1", uid="u1", revision="new", policy="", ready=True, deleting=False, address="10.0.0.1", unschedulable="",
    image="registry/m@sha256:1", waiting=None, ended=None, running=True, restarts=0, memory_limit="1Gi", failed="",
)  # fmt: skip
LOADING_POD = replace(GOOD_POD, ready=False)
OLD_POD = replace(GOOD_POD, name="m-0", uid="u0", revision="old")


def read(*models: tuple[str, int, int, tuple[str, str] | None], state: str = "Running", failures: int = 0) -> Read:
    reports = tuple(ModelReport(name, "1.0", low, ready, error) for name, low, ready, error in models)
    report = Report(
        state, ready=True, started=True, policy_hash="", message="", models=reports, certificate=None, warnings=()
    )
    return Read(report, "timed out" if failures else None, failures)


GOOD_READ = read(("m", 1, 1, None))


def observed(spec: dict[str, Any] | None = None, **changes: Any) -> Observed:
    base = {"image": "x", "models": [{"name": "m"}]}
    arguments: dict[str, Any] = {
        "resource": {"metadata": {"name": "m", "namespace": "ns", "generation": 3}, "status": {}},
        "spec": parse_spec({**base, **(spec or {})}),
        "bounds": {"m": 1},
        "revision": "new",
        "rolled_out": True,
        "deployment": {"conditions": []},
        "pods": (GOOD_POD,),
        "reads": {"u1": GOOD_READ},
    }
    return Observed(**{**arguments, **changes})


def conditions(what: Observed) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in compute_status(what, NOW)["conditions"]}


def message(what: Observed, kind: str = "Ready") -> str:
    return next(str(c["message"]) for c in compute_status(what, NOW)["conditions"] if c["type"] == kind)


def test_ready_means_every_wanted_replica_answers() -> None:
    status = compute_status(observed(), NOW)
    assert conditions(observed()) == {
        "Ready": ("True", "Answering"),
        "Available": ("True", "Answering"),
        "ImageReady": ("True", "Answering"),
        "ModelsReady": ("True", "Answering"),
        "Reconciling": ("False", "Answering"),
        "Stalled": ("False", "Answering"),
    }
    assert settled(status)
    assert status["models"] == [{"name": "m", "version": "1.0", "readyWorkers": 1, "desiredWorkers": 1}]
    assert (status["replicas"], status["readyReplicas"], status["workers"]) == (1, 1, "1/1")
    assert status["url"] == "http://m.ns.svc"
    assert status["image"] == "registry/m@sha256:1"
    assert {c["observedGeneration"] for c in status["conditions"]} == {3}


def waiting(reason: str, words: str) -> Pod:
    return replace(LOADING_POD, running=False, image="", waiting=(reason, words))


NOT_READY: list[tuple[str, Observed, Reason, str]] = [
    (
        "the image cannot be pulled",
        observed(pods=(waiting("ErrImagePull", "rpc error: code = NotFound desc = no such image"),), reads={}),
        Reason.IMAGE_PULL_FAILED,
        "no such image",
    ),
    (
        "the kubelet backs off from pulling: the same words",
        observed(
            pods=(
                waiting(
                    "ImagePullBackOff",
                    'Back-off pulling image "x": ErrImagePull: rpc error: code = NotFound desc = no such image',
                ),
            ),
            reads={},
        ),
        Reason.IMAGE_PULL_FAILED,
        "no such image",
    ),
    (
        "a Secret is missing",
        observed(pods=(waiting("CreateContainerConfigError", 'secret "s" not found'),), reads={}),
        Reason.CONTAINER_CONFIG_ERROR,
        'secret "s" not found',
    ),
    (
        "the image has no python",
        observed(pods=(waiting("RunContainerError", 'exec: "python": executable file not found in $PATH'),), reads={}),
        Reason.IMAGE_UNSUITABLE,
        "no python",
    ),
    (
        "no node takes the pod",
        observed(pods=(replace(LOADING_POD, running=False, unschedulable="0/3 nodes are available"),), reads={}),
        Reason.UNSCHEDULABLE,
        "0/3 nodes",
    ),
    (
        "the handler has an import error",
        observed(
            pods=(LOADING_POD,),
            reads={"u1": read(("m", 1, 0, ("LoadFailed", "ModuleNotFoundError: No module named 'foo'")))},
        ),
        Reason.LOAD_FAILED,
        "model m: ModuleNotFoundError: No module named 'foo'",
    ),
    (
        "the container was killed by its memory limit",
        observed(pods=(replace(LOADING_POD, running=False, restarts=1, ended=Ended("OOMKilled", "", 137)),), reads={}),
        Reason.OUT_OF_MEMORY,
        "limit of 1Gi",
    ),
    (
        "the agent ended with its own words",
        observed(
            pods=(
                replace(
                    LOADING_POD,
                    running=False,
                    restarts=2,
                    waiting=("CrashLoopBackOff", "back-off 10s"),
                    ended=Ended("Error", '{"reason": "ArchiveMissing", "message": "no /models/m"}', 1),
                ),
            ),
            reads={},
        ),
        Reason.ARCHIVE_MISSING,
        "no /models/m",
    ),
    (
        "the container ended and nobody said why",
        observed(pods=(replace(LOADING_POD, running=False, restarts=2, ended=Ended("Error", "", 134)),), reads={}),
        Reason.CONTAINER_CRASHED,
        "exit code 134 (Error)",
    ),
    (
        "models are loading",
        observed(pods=(LOADING_POD,), reads={"u1": read(("m", 1, 0, None), state="Starting")}),
        Reason.MODELS_LOADING,
        "loading m",
    ),
    (
        "the agent does not answer",
        observed(pods=(LOADING_POD,), reads={"u1": Read(None, "timed out", 3)}),
        Reason.AGENT_UNREACHABLE,
        "timed out",
    ),
    (
        "pods are forbidden",
        observed(
            pods=(),
            reads={},
            deployment={"conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}]},
        ),
        Reason.POD_REJECTED,
        "exceeded quota",
    ),
    ("no pod yet", observed(pods=(), reads={}), Reason.PROGRESSING, "0 of 1 replica of this generation answer"),
    (
        "the new template is not written yet",
        observed(rolled_out=False),
        Reason.PROGRESSING,
        "1 of 1 replica of this generation answer",
    ),
    (
        "a child is somebody else's",
        observed(refusals=(Refusal("Service m", "exists", conflict=True),)),
        Reason.CONFLICT,
        "Service m: exists",
    ),
    (
        "the API server refuses a child",
        observed(refusals=(Refusal("Deployment m", "spec.affinity: Invalid value"),)),
        Reason.WRITE_REFUSED,
        "Invalid value",
    ),
]


@pytest.mark.parametrize(("what", "reason", "words"), [c[1:] for c in NOT_READY], ids=[c[0] for c in NOT_READY])
def test_not_ready_and_the_cause_in_one_line(what: Observed, reason: Reason, words: str) -> None:
    assert conditions(what)["Ready"] == ("False", reason)
    assert words in message(what)
    assert not settled(compute_status(what, NOW))


def test_an_invalid_spec_stalls_and_what_ran_before_stays_available() -> None:
    what = observed(spec=None, errors=(FieldError("spec.replicas", "is required"),), revision=None, rolled_out=False)
    what = replace(what, spec=None)
    found = conditions(what)
    assert found["Ready"] == ("False", "InvalidSpec")
    assert found["Stalled"] == ("True", "InvalidSpec")
    assert found["Available"] == ("True", "Answering")
    assert "spec.replicas: is required" in message(what)


def test_a_report_that_is_older_than_the_kubelets_word_is_waited_for() -> None:
    stale = read(("m", 1, 0, None), state="Starting")
    assert stale.report is not None
    stale = replace(stale, report=replace(stale.report, ready=False))
    assert conditions(observed(reads={"u1": stale}))["Ready"] == ("False", "ModelsLoading")
    unreadable = replace(stale, failure="timed out", failures=1)
    assert conditions(observed(reads={"u1": unreadable}))["Ready"][0] == "True"


def test_what_works_less_well_is_said_while_it_answers() -> None:
    assert GOOD_READ.report is not None
    warned = replace(GOOD_READ, report=replace(GOOD_READ.report, warnings=(("DrainDegraded", "TorchServe 0.7"),)))
    what = observed(reads={"u1": warned})
    assert conditions(what)["Ready"] == ("True", "DrainDegraded")
    assert message(what) == "every model answers; TorchServe 0.7"


def test_an_earlier_generation_keeps_it_available_while_the_new_one_fails() -> None:
    broken = observed(pods=(OLD_POD, LOADING_POD), reads={"u1": read(("m", 1, 0, ("LoadFailed", "ImportError: x")))})
    found = conditions(broken)
    assert found["Ready"] == ("False", "LoadFailed")
    assert found["Available"] == ("True", "Answering")
    assert found["Stalled"] == ("True", "LoadFailed")
    assert "earlier generation" in message(broken, "Available")


def test_ready_with_an_old_pod_left_is_still_reconciling() -> None:
    assert conditions(observed(pods=(OLD_POD, GOOD_POD)))["Reconciling"] == ("True", "Progressing")


def test_a_pod_on_its_way_out_does_not_count() -> None:
    what = observed(pods=(replace(GOOD_POD, deleting=True),))
    assert conditions(what)["Available"][0] == "False"
    assert compute_status(what, NOW)["replicas"] == 0


def test_fewer_workers_than_wanted_is_a_condition_and_not_unreadiness() -> None:
    what = observed(bounds={"m": 4}, reads={"u1": read(("m", 4, 3, ("WorkerDied", "exit 9")))})
    found = conditions(what)
    assert found["Ready"] == ("True", "Answering")
    assert found["ModelsReady"] == ("False", "WorkersMissing")
    assert message(what, "ModelsReady") == "m has 3 of 4 workers: exit 9"


def test_an_agent_that_could_not_be_read_is_unknown_and_not_false() -> None:
    assert conditions(observed(reads={}))["ModelsReady"] == ("Unknown", "Unknown")
    kept = Read(GOOD_READ.report, "timed out", 5)
    assert conditions(observed(reads={"u1": kept}))["ModelsReady"] == ("True", "Answering")


def test_surge_without_a_spare_gpu_names_replace() -> None:
    words = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    spec = {"resources": {"limits": {"nvidia.com/gpu": 1}}}
    pending = replace(LOADING_POD, running=False, unschedulable=words)
    both = observed(spec, pods=(OLD_POD, pending), reads={})
    assert "spec.rollout.strategy to Replace" in message(both)
    alone = observed(spec, pods=(pending,), reads={})
    assert "Replace" not in message(alone)
    replacing = observed({**spec, "rollout": {"strategy": "Replace"}}, pods=(OLD_POD, pending), reads={})
    assert "set spec.rollout.strategy" not in message(replacing)


def test_paused_says_so_and_whether_what_runs_is_wanted() -> None:
    assert conditions(observed({"paused": True}))["Ready"] == ("True", "Paused")
    assert conditions(observed({"paused": True}, rolled_out=False))["Ready"] == ("False", "Paused")
    assert conditions(observed({"paused": True}, rolled_out=False))["Reconciling"][0] == "False"


def test_no_replicas_is_ready_and_not_available() -> None:
    found = conditions(observed({"replicas": 0}, pods=(), reads={}))
    assert found["Ready"] == ("True", "ScaledToZero")
    assert found["Available"] == ("False", "ScaledToZero")


def test_a_transition_time_changes_only_with_the_status() -> None:
    first = compute_status(observed(), NOW)
    before = {"metadata": {"name": "m", "namespace": "ns", "generation": 3}, "status": first}
    assert compute_status(observed(resource=before), LATER) == first
    broken = compute_status(observed(resource=before, pods=(), reads={}), LATER)
    times = {c["type"]: c["lastTransitionTime"] for c in broken["conditions"]}
    assert times["Ready"] == LATER
    assert times["Stalled"] == NOW


def test_many_errors_are_cut_and_counted() -> None:
    errors = tuple(FieldError(f"spec.a{i}", "bad") for i in range(8))
    what = replace(observed(errors=errors), spec=None)
    assert message(what).endswith("; and 3 more")


BUILDING = BuildState(Phase.RUNNING, None, {"image": "old"}, "uploading layer of model m: 1 of 2 MiB")


@pytest.mark.parametrize(
    ("phase", "image_ready", "stalled"),
    [
        (Phase.RUNNING, ("Unknown", "Building"), "False"),
        (Phase.WANTED, ("Unknown", "Building"), "False"),
        (Phase.BLOCKED, ("False", "BuildBlocked"), "False"),
        (Phase.FAILED, ("False", "BuildFailed"), "True"),
    ],
)
def test_while_there_is_no_image_what_runs_is_available_and_the_resource_is_not_ready(
    phase: Phase, image_ready: tuple[str, str], stalled: str
) -> None:
    what = observed(build=replace(BUILDING, phase=phase), revision=None, rolled_out=False)
    found = conditions(what)
    assert found["ImageReady"] == image_ready
    assert found["Ready"] == ("False", image_ready[1])
    assert found["ModelsReady"] == ("False", image_ready[1])
    assert found["Available"] == ("True", "Answering")
    assert found["Stalled"][0] == stalled
    assert message(what) == message(what, "ImageReady") == BUILDING.message
    status = compute_status(what, NOW)
    assert status["build"] == {"image": "old"}
    assert not settled(status)


def test_an_image_that_is_built_is_ready_before_a_node_has_it() -> None:
    built = BuildState(Phase.READY, "built", {"image": "built"})
    what = observed(build=built, pods=(), reads={})
    assert conditions(what)["ImageReady"] == ("True", "Built")
    assert conditions(what)["Ready"] == ("False", "Progressing")
    assert conditions(observed(build=built))["ImageReady"] == ("True", "Answering")


def test_what_stands_in_a_builds_way_is_told_where_the_image_is_asked_for() -> None:
    rival = Refusal("registry/m:latest", "the older resource ns/n pushes to it, too", conflict=True)
    what = observed(build=replace(BUILDING, phase=Phase.WANTED), revision=None, rolled_out=False, refusals=(rival,))
    assert conditions(what)["ImageReady"] == ("False", "Conflict")
    assert conditions(what)["Stalled"] == ("True", "Conflict")


def test_an_invalid_spec_keeps_what_is_known_of_the_build() -> None:
    resource = {"metadata": {"name": "m", "namespace": "ns", "generation": 4}, "status": {"build": {"image": "old"}}}
    what = Observed(resource=resource, spec=None, errors=(FieldError("spec.build", "no"),))
    assert compute_status(what, NOW)["build"] == {"image": "old"}
