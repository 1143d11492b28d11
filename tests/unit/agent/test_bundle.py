"""The agent's bundle and its jar: the same bytes from the same sources."""

from __future__ import annotations

import importlib.util
import io
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from torchserve_operator.agent.bundle import AgentBundle, agent_bundle

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def hatch_build() -> ModuleType:
    """The build hook's module, which lies beside the package."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["hatch_build"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bundle(hatch_build: ModuleType) -> AgentBundle:
    """The bundle, with the jar of these sources."""
    hatch_build.build()
    agent_bundle.cache_clear()
    return agent_bundle()


def test_a_second_build_gives_the_same_bytes(
    hatch_build: ModuleType, bundle: AgentBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert hatch_build.build(tmp_path / "second.jar").read_bytes() == bundle.jar
    agent_bundle.cache_clear()
    assert agent_bundle() == bundle


def test_the_jar_has_our_classes_alone(bundle: AgentBundle) -> None:
    with zipfile.ZipFile(io.BytesIO(bundle.jar)) as jar:
        names = jar.namelist()
        versions = {jar.read(name)[6:8] for name in names if name.endswith(".class")}
    assert "dev/torchserve_operator/GracefulMain.class" in names
    assert all(name.startswith(("META-INF/MANIFEST.MF", "dev/torchserve_operator/")) for name in names)
    assert versions == {(55).to_bytes(2, "big")}, "Java 11's class format"


def test_the_agent_fits_a_configmap_many_times(bundle: AgentBundle) -> None:
    assert len(bundle.pyz) + len(bundle.jar) < 150_000


def test_the_zipapp_carries_the_digest_and_no_dates(bundle: AgentBundle) -> None:
    with zipfile.ZipFile(io.BytesIO(bundle.pyz)) as archive:
        assert bundle.digest.encode() in archive.read("__main__.py")
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert "torchserve_agent/supervise.py" in archive.namelist()


def test_without_a_compiler_the_error_says_what_to_install(
    hatch_build: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(hatch_build.BuildError, match="apt-get install openjdk-17-jdk-headless"):
        hatch_build.build(tmp_path / "x.jar")


def test_without_torchserve_the_error_says_what_to_install(
    hatch_build: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TORCHSERVE_FRONTEND_JAR", raising=False)
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(hatch_build.BuildError, match=r"pip install --no-deps torchserve==0\.12\.0"):
        hatch_build.build(tmp_path / "x.jar")
