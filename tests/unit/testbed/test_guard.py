"""Tests create and destroy: they get nobody's cluster but the testbed's own, or one that was named on purpose."""

from pathlib import Path

import pytest
import yaml

from testbed import guard
from testbed.errors import TestbedError


def _kubeconfig(path: Path, context: str, server: str) -> Path:
    config = {
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "contexts": [{"name": context, "context": {"cluster": "c", "user": "u"}}],
        "current-context": context,
    }
    path.write_text(yaml.safe_dump(config))
    return path


def test_the_testbeds_own_context_is_accepted(tmp_path: Path) -> None:
    path = _kubeconfig(tmp_path / "config", guard.CONTEXT, "https://127.0.0.1:40123")
    assert guard.own_kubeconfig(path)["current-context"] == guard.CONTEXT


def test_another_context_is_refused_and_the_message_says_how_to_insist(tmp_path: Path) -> None:
    path = _kubeconfig(tmp_path / "config", "production", "https://10.0.0.1:6443")
    with pytest.raises(TestbedError, match=r"'production' \(https://10\.0\.0\.1:6443\).*TESTBED_CONTEXT=production"):
        guard.own_kubeconfig(path)


def test_another_context_is_accepted_when_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _kubeconfig(tmp_path / "config", "scratch", "https://10.0.0.1:6443")
    monkeypatch.setenv("TESTBED_CONTEXT", "scratch")
    assert guard.own_kubeconfig(path)["current-context"] == "scratch"


def test_our_context_name_on_a_distant_server_is_refused(tmp_path: Path) -> None:
    path = _kubeconfig(tmp_path / "config", guard.CONTEXT, "https://10.0.0.1:6443")
    with pytest.raises(TestbedError, match="not on this machine"):
        guard.own_kubeconfig(path)


@pytest.mark.parametrize("text", ["", "[]", "current-context: x", "a: [", "current-context: x\ncontexts: []"])
def test_what_is_no_kubeconfig_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(TestbedError, match="not a kubeconfig"):
        guard.own_kubeconfig(path)
