"""Versions stand in more than one place, and the places agree; nothing tracked names an index."""

import re
from pathlib import Path

import pytest

from testbed import gotools, nodeimage

MODULES = sorted(path.parent.name for path in gotools.SOURCES.glob("*/go.mod"))


def _pinned(module: str, path: str) -> str:
    text = (gotools.SOURCES / module / "go.mod").read_text()
    found = re.search(rf"{re.escape(path)} (v\S+)", text)
    assert found, f"{module}/go.mod does not require {path}"
    return found.group(1)


def test_the_versions_named_in_code_are_those_of_the_go_modules() -> None:
    assert _pinned("kubernetes", "k8s.io/kubernetes") == gotools.KUBERNETES
    assert _pinned("etcd", "go.etcd.io/etcd/server/v3") == f"v{gotools.ETCD}"
    assert _pinned("coredns", "github.com/coredns/coredns") == gotools.COREDNS
    assert _pinned("containerd", "github.com/containerd/containerd/v2") == gotools.CONTAINERD
    assert _pinned("registry", "github.com/distribution/distribution/v3") == gotools.REGISTRY
    assert _pinned("s3", "github.com/versity/versitygw") == gotools.VERSITYGW


def test_the_published_libraries_of_kubernetes_are_of_the_same_release() -> None:
    text = (gotools.SOURCES / "kubernetes" / "go.mod").read_text()
    replaced = dict(re.findall(r"^\t(k8s\.io/\S+) => \S+ (v\S+)$", text, re.MULTILINE))
    assert len(replaced) > 30
    assert set(replaced.values()) == {gotools.KUBERNETES.replace("v1.", "v0.", 1)}


def test_the_version_that_programs_report_is_the_one_that_is_built() -> None:
    major, minor = gotools.KUBERNETES[1:].split(".")[:2]
    flags = gotools.PROGRAMS["kubelet"].ldflags
    assert f"gitMajor={major} " in flags
    assert f"gitMinor={minor} " in flags


def test_every_program_has_a_module_and_every_module_a_program() -> None:
    assert sorted({program.module for program in gotools.PROGRAMS.values()}) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_every_foreign_program_is_a_tool_of_its_module(module: str) -> None:
    text = (gotools.SOURCES / module / "go.mod").read_text()
    packages = {program.package for program in gotools.PROGRAMS.values() if program.module == module} - {"."}
    assert packages <= set(re.findall(r"^(?:tool )?\t?(\S+/\S+)$", text, re.MULTILINE)) | set(
        re.findall(r"^tool (\S+)$", text, re.MULTILINE)
    )


def test_the_pause_image_is_the_one_that_the_nodes_containerd_asks_for() -> None:
    config = (nodeimage.SOURCES / "rootfs" / "etc" / "containerd" / "config.toml").read_text()
    assert f'"{nodeimage.REPOSITORY}/pause:{nodeimage.IMAGES["pause"]}"' in config


def test_the_network_agents_image_is_the_one_that_its_manifest_asks_for() -> None:
    manifest = (nodeimage.SOURCES / "rootfs" / "kind" / "manifests" / "default-cni.yaml").read_text()
    assert f"image: {nodeimage.REPOSITORY}/netagent:{nodeimage.IMAGES['netagent']}\n" in manifest


@pytest.mark.parametrize("name", ["runtime", "build", "dev"])
def test_lock_files_have_packages_and_hashes_only(name: str) -> None:
    text = (Path(__file__).parents[3] / "requirements" / f"{name}.txt").read_text()
    for line in text.splitlines():
        assert re.fullmatch(r"[a-z0-9._-]+==\S+( ; .+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?|#.*|", line), line
