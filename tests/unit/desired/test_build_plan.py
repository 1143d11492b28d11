"""What an image is built anew for, and what it is not: tables over the pure functions."""

from typing import Any

import pytest

from torchserve_operator.api.parse import parse_spec
from torchserve_operator.api.spec import TorchServeModelSpec
from torchserve_operator.builder.plan import Plan
from torchserve_operator.desired.build_plan import BuildDefaults, BuildInputs, base_image, build_inputs, build_plan, why

RESOURCE = {"name": "m", "namespace": "ns", "uid": "u"}
MODEL: dict[str, Any] = {"name": "m", "archive": {"url": "s3://models/m.mar"}}
BUILD: dict[str, Any] = {"repository": "registry.example/m", "requirements": ["pillow"]}


def spec(build: dict[str, Any] | None = None, *models: dict[str, Any], **changes: Any) -> TorchServeModelSpec:
    listed = [MODEL | model for model in models] or [MODEL]
    return parse_spec({"build": BUILD | (build or {}), "models": listed} | changes)


def inputs(wanted: TorchServeModelSpec) -> BuildInputs:
    assert wanted.build is not None
    return build_inputs(wanted, wanted.build)


FIRST = inputs(spec())

REBUILT: list[tuple[str, TorchServeModelSpec, str]] = [
    ("the base image", spec({"baseImage": "registry.example/base:1"}), "the base image changed"),
    ("the repository", spec({"repository": "registry.example/other"}), "the repository or its tags changed"),
    ("a tag", spec({"tags": ["latest"]}), "the repository or its tags changed"),
    ("the platform", spec({"platform": "linux/arm64"}), "the platform changed"),
    ("a requirement", spec({"requirements": ["pillow==11.0.0"]}), "the requirements changed"),
    ("no requirement", spec({"requirements": []}), "the requirements gone"),
    ("the index", spec({"indexSecretName": "index"}), "the requirements changed"),
    ("the revision", spec({"revision": "2"}), "the revision changed"),
    ("an archive's place", spec(None, {"archive": {"url": "s3://models/n.mar"}}), "model m changed"),
    ("an archive's checksum", spec(None, {"archive": MODEL["archive"] | {"sha256": "0" * 64}}), "model m changed"),
    ("a model's version", spec(None, {"version": "2.0"}), "model m changed"),
    ("one model more", spec(None, {}, {"name": "n"}), "model n new"),
    ("another model", spec(None, {"name": "n"}), "model n new; model m gone"),
    ("the model store", spec(server={"modelStore": "/models"}), "the model store changed"),
    ("a GPU", spec(resources={"limits": {"nvidia.com/gpu": "1"}}), "the base image changed"),
    ("two things", spec({"revision": "2", "tags": ["x"]}), "the repository or its tags, the revision changed"),
]


@pytest.mark.parametrize(("wanted", "words"), [case[1:] for case in REBUILT], ids=[case[0] for case in REBUILT])
def test_what_the_image_depends_on_rebuilds_it_and_is_named(wanted: TorchServeModelSpec, words: str) -> None:
    found = inputs(wanted)
    assert found.key != FIRST.key
    assert found.attempt != FIRST.attempt
    assert why(FIRST.parts, found.parts) == words


KEPT: list[tuple[str, TorchServeModelSpec, bool]] = [
    ("nothing", spec(), False),
    ("the replicas", spec(replicas=3), False),
    ("the workers", spec(None, {"minWorkers": 2, "maxWorkers": 4}), False),
    ("the batch", spec(None, {"batchSize": 8, "parameters": {"threshold": 1}}), False),
    ("the logging", spec(logging={"level": "WARN"}), False),
    ("the pods' labels", spec(pod={"labels": {"team": "a"}}), False),
    ("how it is pushed", spec({"pushSecretName": "push"}), True),
    ("the credentials", spec(None, {"archive": MODEL["archive"] | {"credentialsSecretName": "s3"}}), True),
    ("the largest size", spec(None, {"archive": MODEL["archive"] | {"maxSize": "1Gi"}}), True),
    ("the time", spec({"timeoutSeconds": 60}), True),
    ("the scratch space", spec({"spoolLimit": "1Gi"}), True),
    ("the memory", spec({"resources": {"limits": {"memory": "4Gi"}}}), True),
    ("the private CA", spec({"caConfigMapName": "ca"}), True),
    ("the pull secrets", spec(pod={"imagePullSecrets": [{"name": "pull"}]}), True),
]


@pytest.mark.parametrize(("wanted", "again"), [case[1:] for case in KEPT], ids=[case[0] for case in KEPT])
def test_what_only_the_job_depends_on_is_another_attempt_at_the_same_image(
    wanted: TorchServeModelSpec, again: bool
) -> None:
    found = inputs(wanted)
    assert found.key == FIRST.key
    assert (found.attempt != FIRST.attempt) is again


def test_tags_and_sets_in_another_order_are_the_same() -> None:
    assert inputs(spec({"tags": ["a", "b"]})).key == inputs(spec({"tags": ["b", "a"]})).key


def test_the_first_build_and_a_lost_one_say_so() -> None:
    assert why(None, FIRST.parts) == "the first build"
    assert why(FIRST.parts, FIRST.parts) == "its image is not on record"


@pytest.mark.parametrize(("limits", "image"), [({}, "base:cpu"), ({"nvidia.com/gpu": "1"}, "base:gpu")])
def test_the_default_base_image_follows_the_device(limits: dict[str, str], image: str) -> None:
    wanted = spec(resources={"limits": limits})
    assert wanted.build is not None
    defaults = BuildDefaults(base_images={"cpu": "base:cpu", "gpu": "base:gpu"})
    assert base_image(wanted, wanted.build, defaults) == image
    named = spec({"baseImage": "mine:1"}, resources={"limits": limits})
    assert named.build is not None
    assert base_image(named, named.build, defaults) == "mine:1"


def test_the_builder_reads_the_plan_as_it_was_meant() -> None:
    function = {"file": "f.py", "init": "make", "kwargs": {"a": None}, "maxGPUMemory": "1Gi"}
    package = {"source": {"url": "pvc://models/n/"}, "function": function, "extraFiles": ["a.tgz"], "unpack": ["a.tgz"]}
    packed = {"name": "n", "package": package}
    raw = {"build": BUILD | {"spoolLimit": "1Gi"}, "models": [{"name": "there"}, MODEL, packed]}
    wanted = parse_spec(raw)
    assert wanted.build is not None
    made = build_plan(RESOURCE, wanted, wanted.build, BuildDefaults(), requirements=["pillow"], previous="old")
    plan = Plan.model_validate(made)
    assert (plan.owner, plan.spool_limit, plan.previous) == ("ns/m", 1 << 30, "old")
    assert [(model.name, model.field) for model in plan.models] == [("m", "spec.models[1]"), ("n", "spec.models[2]")]
    assert plan.models[0].archive == wanted.models[1].archive
    assert plan.models[1].package == wanted.models[2].package
    assert plan.requirements.pins == ["pillow"]
