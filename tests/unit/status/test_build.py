"""How a build stands: tables over what is observed."""

import datetime as dt
import json
from dataclasses import replace
from typing import Any

import pytest

from torchserve_operator.status.build import BuildState, Phase, Wanted, build_state
from torchserve_operator.status.build_pods import BuildJob, BuildPod, Container
from torchserve_operator.status.build_words import Progress, parse_progress, parse_termination
from torchserve_operator.status.pods import Ended
from torchserve_operator.status.report import Read

NOW = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
REPOSITORY = "registry.example/team/m"
IMAGE = f"{REPOSITORY}@sha256:{'1' * 64}"
WANTED = Wanted(
    key="key", attempt="attempt", parts={"revision": "r"}, why="the revision changed", repository=REPOSITORY,
    revision="2", timeout_seconds=3600, ttl_seconds=600,
)  # fmt: skip
JOB = BuildJob(
    name="m-build-attempt", namespace="ns", uid="job", attempt="attempt", started="2026-01-01T11:58:00Z", failed=None,
    complete=False, config_maps=(),
)  # fmt: skip
IDLE = Container(image="builder:1", running=False, waiting=None, ended=None, finished="", memory_limit="2Gi")
POD = BuildPod(
    name="p", uid="u", job="job", created="2026-01-01T11:58:01Z", deleting=False, address="10.0.0.1", ready=False,
    unschedulable="", failed="", requirements=None, builder=IDLE,
)  # fmt: skip
RUNNING = replace(POD, builder=replace(IDLE, running=True))
KNOWN: dict[str, Any] = {"key": "old", "image": f"{REPOSITORY}@sha256:{'0' * 64}", "parts": {"revision": "q"}}
RESULT = {
    "schema": 1, "image": IMAGE, "base": {"reference": "base:1", "digest": "sha256:b"},
    "sources": [{"model": "m", "identity": "etag:1"}],
}  # fmt: skip


def ended(message: object, code: int = 1, reason: str = "Error") -> Container:
    text = message if isinstance(message, str) else json.dumps(message)
    return replace(IDLE, ended=Ended(reason, text, code), finished="2026-01-01T11:59:30Z")


def failed(reason: str = "PodFailurePolicy", words: str = "a pod failed") -> BuildJob:
    return replace(JOB, failed=(reason, words, "2026-01-01T11:59:31Z"))


def state(
    job: BuildJob | None, *pods: BuildPod, known: dict[str, Any] | None = None, read: Read[Progress] | None = None
) -> BuildState:
    return build_state(WANTED, KNOWN if known is None else known, job, pods=pods, read=read, now=NOW)


def test_the_image_of_the_last_build_is_taken_whatever_there_is_beside_it() -> None:
    known = KNOWN | {"key": "key", "image": IMAGE, "failure": {"attempt": "other"}}
    found = state(failed(), POD, known=known)
    assert (found.phase, found.image) == (Phase.READY, IMAGE)
    assert "failure" not in found.status


def test_without_a_job_one_is_wanted_and_what_was_built_stays_on_record() -> None:
    found = state(None)
    assert (found.phase, found.image, found.status) == (Phase.WANTED, None, KNOWN)
    assert found.message == "the image is to be built: the revision changed"


def test_a_result_is_taken_before_the_jobs_own_verdict() -> None:
    found = state(JOB, replace(POD, builder=ended(RESULT, 0, "Completed")))
    assert (found.phase, found.image) == (Phase.READY, IMAGE)
    assert found.status == {
        "key": "key",
        "image": IMAGE,
        "base": "base:1",
        "baseDigest": "sha256:b",
        "revision": "2",
        "startedAt": "2026-01-01T11:58:00Z",
        "seconds": 90,
        "sources": [{"model": "m", "identity": "etag:1"}],
        "why": "the revision changed",
        "parts": {"revision": "r"},
    }


UNREACHABLE = (
    "building; the builder's port does not answer the operator (no answer within 3 s): does a network policy stand "
    "between them?"
)
STAGES: list[tuple[str, tuple[BuildPod, ...], Read[Progress] | None, str]] = [
    ("no pod", (), None, "waiting for the build's pod"),
    ("a pod without a node", (POD,), None, "starting the build's pod"),
    ("pip", (replace(POD, requirements=replace(IDLE, running=True)),), None, "installing the requirements"),
    ("a silent builder", (RUNNING,), None, "starting the builder"),
    ("a builder that did not answer once", (RUNNING,), Read(None, "refused", 1), "starting the builder"),
    (
        "a builder that cannot be reached",
        (RUNNING,),
        Read(None, "no answer within 3 s", 3),
        UNREACHABLE,
    ),
    (
        "a builder",
        (RUNNING,),
        Read(Progress("layers", "m", 120 << 20, 540 << 20)),
        "uploading layer of model m: 120 of 540 MiB",
    ),
    ("an unknown stage", (RUNNING,), Read(Progress("polishing")), "polishing"),
    (
        "the newest pod counts",
        (replace(POD, created="2026-01-01T11:59:00Z"), RUNNING),
        None,
        "starting the build's pod",
    ),
    (
        "a retry",
        (replace(POD, builder=ended("connection reset", 3)),),
        None,
        "trying again: the builder ended: connection reset",
    ),
]


@pytest.mark.parametrize(("pods", "read", "message"), [case[1:] for case in STAGES], ids=[case[0] for case in STAGES])
def test_how_far_a_build_is(pods: tuple[BuildPod, ...], read: Read[Progress] | None, message: str) -> None:
    found = state(JOB, *pods, read=read)
    assert (found.phase, found.message) == (Phase.RUNNING, message)
    assert found.image is None


BLOCKED: list[tuple[str, BuildPod, str]] = [
    (
        "no node",
        replace(POD, unschedulable='persistentvolumeclaim "models" not found'),
        'no node takes the build\'s pod: persistentvolumeclaim "models" not found',
    ),
    (
        "the base image",
        replace(POD, requirements=replace(IDLE, image="base:1", waiting=("ErrImagePull", "not found"))),
        "the base image base:1 cannot be pulled: not found",
    ),
    (
        "the builder's image, backed off",
        replace(POD, builder=replace(IDLE, waiting=("ImagePullBackOff", "Back-off: ErrImagePull: not found"))),
        "the builder's image builder:1 cannot be pulled: not found",
    ),
    (
        "a container that cannot be made",
        replace(POD, builder=replace(IDLE, waiting=("CreateContainerConfigError", "no such volume"))),
        "the build's pod cannot start: no such volume",
    ),
]


@pytest.mark.parametrize(("pod", "message"), [case[1:] for case in BLOCKED], ids=[case[0] for case in BLOCKED])
def test_what_keeps_a_pod_from_starting(pod: BuildPod, message: str) -> None:
    found = state(JOB, pod)
    assert (found.phase, found.message) == (Phase.BLOCKED, message)


ERROR = {"schema": 1, "error": {"field": "spec.models[0].archive.url", "message": "is not there", "hint": "upload it"}}
EVICTED = 'Evicted: Usage of EmptyDir volume "spool" exceeds the limit "10Gi"'
LATE = "spec.build.timeoutSeconds: not done within 3600 s"
FAILED: list[tuple[str, BuildJob, tuple[BuildPod, ...], str]] = [
    (
        "the builder's words",
        failed(),
        (replace(POD, builder=ended(ERROR)),),
        "spec.models[0].archive.url: is not there; upload it",
    ),
    (
        "pip's words",
        failed(),
        (replace(POD, requirements=ended(ERROR)),),
        "spec.models[0].archive.url: is not there; upload it",
    ),
    (
        "too little memory",
        failed(),
        (replace(POD, requirements=ended("", 137, "OOMKilled")),),
        "spec.build.resources: pip was killed at its memory limit of 2Gi; raise spec.build.resources.limits.memory",
    ),
    (
        "a base image without Python",
        failed(),
        (replace(POD, requirements=ended('exec: "python": executable file not found in $PATH', 128, "StartError")),),
        "spec.build.baseImage: builder:1 has no python on its PATH; name an image with TorchServe",
    ),
    (
        "an exception",
        failed(),
        (replace(POD, builder=ended("Traceback\n  here\nValueError: x\n")),),
        "the builder ended: ValueError: x",
    ),
    ("no words", failed(), (replace(POD, builder=ended("", 1)),), "the builder ended: exit code 1 (Error)"),
    (
        "too little scratch space",
        failed("BackoffLimitExceeded"),
        (replace(POD, failed=f"{EVICTED}."),),
        f"the build's pod was stopped: {EVICTED}; raise spec.build.spoolLimit",
    ),
    (
        "every attempt",
        failed("BackoffLimitExceeded"),
        (POD, replace(POD, name="q", created="2026-01-01T11:59:00Z", builder=ended("reset", 3))),
        "the builder ended: reset (2 attempts)",
    ),
    (
        "the time is over",
        failed("DeadlineExceeded"),
        (replace(POD, unschedulable="0/3 nodes"),),
        f"{LATE}: no node takes the build's pod: 0/3 nodes",
    ),
    ("the time is over, and the pod gone", failed("DeadlineExceeded"), (), LATE),
    ("nothing but the Job", failed("PodFailurePolicy", "it says"), (), "the build's Job failed: it says"),
]  # fmt: skip


@pytest.mark.parametrize(("job", "pods", "message"), [case[1:] for case in FAILED], ids=[case[0] for case in FAILED])
def test_why_a_build_failed(job: BuildJob, pods: tuple[BuildPod, ...], message: str) -> None:
    found = state(job, *pods)
    assert (found.phase, found.message) == (Phase.FAILED, message)
    failure = found.status["failure"]
    assert failure == {"attempt": "attempt", "job": JOB.name, "message": message, "time": "2026-01-01T11:59:31Z"}
    assert found.status["image"] == KNOWN["image"], "what was built before is still on record"


@pytest.mark.parametrize(
    ("ended_at", "phase"),
    [
        ("2026-01-01T11:59:00Z", Phase.WANTED),
        ("2026-01-01T11:51:00Z", Phase.WANTED),
        ("2026-01-01T11:50:15Z", Phase.FAILED),  # clocks differ
        ("2026-01-01T11:50:00Z", Phase.FAILED),
        ("2026-01-01T01:00:00Z", Phase.FAILED),
        ("long ago", Phase.FAILED),
    ],
)
def test_a_failed_job_that_is_gone_is_made_again_if_its_time_was_not_over(ended_at: str, phase: Phase) -> None:
    failure = {"attempt": "attempt", "job": JOB.name, "message": "no space", "time": ended_at}
    found = state(None, known=KNOWN | {"failure": failure})
    assert found.phase is phase
    assert (found.message == "no space") is (phase is Phase.FAILED)


def test_a_failure_of_another_attempt_does_not_count() -> None:
    failure = {"attempt": "other", "message": "no space", "time": "2026-01-01T01:00:00Z"}
    found = state(None, known=KNOWN | {"failure": failure})
    assert found.phase is Phase.WANTED
    assert "failure" not in found.status


@pytest.mark.parametrize(
    "message",
    [
        "",
        "null",
        "[]",
        "{}",
        "[" * 100_000,
        json.dumps({**RESULT, "schema": 2}),
        json.dumps({**RESULT, "image": f"evil.example/m@sha256:{'1' * 64}"}),
        json.dumps({**RESULT, "image": f"{REPOSITORY}:latest"}),
        json.dumps({**RESULT, "image": 5}),
        json.dumps({**RESULT, "sources": [5]}),
        json.dumps({**RESULT, "sources": 5}),
        json.dumps({**RESULT, "base": "base"}),
        json.dumps({"schema": 1, "error": "no"}),
    ],
)
def test_what_is_no_result_is_taken_for_none(message: str) -> None:
    assert parse_termination(message, REPOSITORY) is None


def test_a_complete_job_whose_result_is_unknown_is_looked_into() -> None:
    found = state(replace(JOB, complete=True), replace(POD, builder=ended("?", 0, "Completed")))
    assert found.phase is Phase.LOST


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "x",
        {},
        {"schema": 2, "stage": "push"},
        {"schema": 1},
        {"schema": 1, "stage": "push", "bytesDone": -1},
        {"schema": 1, "stage": "push", "bytesDone": "many"},
        {"schema": 1, "stage": "push", "bytesTotal": float("inf")},
        {"schema": 1, "stage": "push", "bytesTotal": 10**30},
    ],
)
def test_what_is_no_progress_is_refused(body: object) -> None:
    with pytest.raises(ValueError, match="the answer"):
        parse_progress(body)


def test_long_words_of_a_builder_are_cut() -> None:
    said = parse_termination(json.dumps({"schema": 1, "error": {"message": "x" * 4000}}), REPOSITORY)
    assert len(str(said)) <= 1200
    assert len(parse_progress({"schema": 1, "stage": "s" * 4000}).stage) == 100
