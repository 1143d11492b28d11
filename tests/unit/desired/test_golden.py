"""The generated files of whole specs, as a person would review them; tests/server starts a real TorchServe with each.

``UPDATE_GOLDEN=1 python -m pytest tests/unit/desired/test_golden.py`` writes them anew.
"""

import json
import os
from pathlib import Path

import pytest
import yaml

from torchserve_operator.api.parse import parse_resource
from torchserve_operator.desired.agent_config import agent_config, policy
from torchserve_operator.desired.checks import cross_checks
from torchserve_operator.desired.config_properties import config_properties
from torchserve_operator.desired.log4j2 import log4j2
from torchserve_operator.desired.metrics_config import metrics_yaml
from torchserve_operator.desired.sizing import size

GOLDEN = Path(__file__).parents[2] / "golden"
SPECS = sorted(path.parent for path in GOLDEN.glob("*/spec.yaml"))


def rendered(folder: Path) -> dict[str, str]:
    """The files that one spec makes, by name."""
    spec = parse_resource(yaml.safe_load((folder / "spec.yaml").read_text()))
    assert cross_checks(spec) == []
    sizing = size(spec)
    files = {
        "config.properties": config_properties(spec, sizing),
        "log4j2.xml": log4j2(spec),
        "agent.json": json.dumps(agent_config(spec, sizing), indent=2) + "\n",
        "policy.json": json.dumps(policy(spec, sizing), indent=2) + "\n",
    }
    metrics = metrics_yaml(spec)
    return files if metrics is None else files | {"metrics.yaml": metrics}


@pytest.mark.parametrize("folder", SPECS, ids=lambda folder: folder.name)
def test_a_spec_makes_exactly_its_golden_files(folder: Path) -> None:
    files = rendered(folder)
    if os.environ.get("UPDATE_GOLDEN"):
        for name, text in files.items():
            (folder / name).write_text(text)
    there = {path.name: path.read_text() for path in folder.iterdir() if path.name != "spec.yaml"}
    assert there == files


def test_at_least_a_dozen_different_specs_are_golden() -> None:
    assert len(SPECS) >= 12
    assert len({(f / "config.properties").read_text() + (f / "log4j2.xml").read_text() for f in SPECS}) >= 12
