"""A build's Job: golden, and what of it must hold whatever the spec."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from corpus.cases import body_of, good_files
from torchserve_operator.api.names import BUILD_DIR, LABEL_MODEL
from torchserve_operator.api.parse import parse_resource
from torchserve_operator.app.builder_cli import run as run_builder
from torchserve_operator.builder.in_base.__main__ import INDEX, OUT, PLAN, TERMINATION_LOG
from torchserve_operator.desired.build_job import build_config_map, build_job, job_name
from torchserve_operator.desired.build_plan import BuildDefaults

GOLDEN = Path(__file__).parent / "golden_objects"
BUILT = [file for file in good_files() if "build" in body_of(file)["spec"]]
ATTEMPT = "0123456789abcdef"


def job_of(file: Path, *, requirements: bool = True) -> dict[str, Any]:
    body = body_of(file)
    spec = parse_resource(body)
    assert spec.build is not None
    metadata = {"namespace": "default", "uid": "uid", **body["metadata"]}
    defaults = BuildDefaults(builder_image="registry.example/operator:1")
    return build_job(
        metadata, spec, spec.build, defaults, attempt=ATTEMPT, config_map="plan", requirements=requirements
    )


@pytest.mark.parametrize("file", BUILT, ids=lambda file: file.stem)
def test_a_spec_makes_exactly_its_golden_job(file: Path) -> None:
    golden = GOLDEN / f"{file.stem}-job.yaml"
    text = yaml.safe_dump(job_of(file), sort_keys=False, width=120)
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert golden.read_text() == text


@pytest.mark.parametrize("requirements", [True, False])
@pytest.mark.parametrize("file", BUILT, ids=lambda file: file.stem)
def test_no_container_has_more_than_it_needs(file: Path, requirements: bool) -> None:
    pod = job_of(file, requirements=requirements)["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    containers = [*pod.get("initContainers", []), *pod["containers"]]
    assert len(containers) == 1 + requirements
    for container in containers:
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        for mount in container["volumeMounts"]:
            assert mount["mountPath"].startswith(BUILD_DIR) or mount["mountPath"] == "/tmp"
            assert ("emptyDir" in volumes[mount["name"]]) != mount.get("readOnly", False)
    used = {mount["name"] for container in containers for mount in container["volumeMounts"]}
    assert used == set(volumes)
    base = [mount["name"] for container in pod.get("initContainers", []) for mount in container["volumeMounts"]]
    assert not [name for name in base if name.startswith(("secret-", "claim-", "config-map-", "docker"))]


@pytest.mark.parametrize("file", BUILT, ids=lambda file: file.stem)
def test_the_service_does_not_select_the_builds_pods(file: Path) -> None:
    assert LABEL_MODEL not in job_of(file)["spec"]["template"]["metadata"]["labels"]


def test_the_longest_name_leaves_room_for_the_pods_suffix() -> None:
    assert len(job_name({"name": "n" * 40}, ATTEMPT)) <= 63 - len("-12345")


def test_the_plans_name_follows_its_content() -> None:
    resource = {"name": "m", "namespace": "ns", "uid": "u"}
    first = build_config_map(resource, {"a": 1}, None, b"tool")
    assert first == build_config_map(resource, {"a": 1}, None, b"another tool"), "nothing runs it"
    assert first["metadata"]["name"] != build_config_map(resource, {"a": 2}, None, b"tool")["metadata"]["name"]
    assert first["immutable"] is True
    assert set(build_config_map(resource, {}, {}, b"tool")["binaryData"]) == {"requirements.pyz"}


def test_the_builder_finds_everything_where_it_looks() -> None:
    pod = job_of(next(file for file in BUILT if file.stem == "build-package"))["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    group, command, *arguments = container["args"]
    assert (group, command) == ("builder", "run")
    options = run_builder.make_context(command, arguments).params
    mounted = {Path(mount["mountPath"]) for mount in container["volumeMounts"]}
    assert {options[name].parent for name in ("plan", "push_config", "ca")} < mounted
    assert options["run_dir"] == Path(BUILD_DIR)
    assert {Path(BUILD_DIR, name) for name in ("requirements", "spool")} < mounted
    assert options["termination_log"] == Path(container["terminationMessagePath"])
    assert options["port"] == container["ports"][0]["containerPort"]


def test_the_program_in_the_base_image_finds_everything_where_it_looks() -> None:
    pod = job_of(next(file for file in BUILT if file.stem == "build-package"))["spec"]["template"]["spec"]
    (container,) = pod["initContainers"]
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert container["command"] == ["python", "-B", f"{BUILD_DIR}/tool/requirements.pyz"]
    assert {str(Path(PLAN).parent), INDEX, OUT, str(Path(container["command"][2]).parent)} < mounted
    assert container["terminationMessagePath"] == TERMINATION_LOG
