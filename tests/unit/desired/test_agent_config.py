"""agent.json and policy.json, read by the agent itself."""

import json
from typing import Any

import pytest

from torchserve_operator.agent.runtime.config import Bounds, read_config, read_policy
from torchserve_operator.api.spec import TorchServeModelSpec
from torchserve_operator.desired.agent_config import agent_config, policy
from torchserve_operator.desired.sizing import size
from unit.desired.specs import make_spec


def told(spec: TorchServeModelSpec) -> dict[str, Any]:
    """agent.json of a spec."""
    return agent_config(spec, size(spec))


def test_the_agent_reads_what_is_written_for_it() -> None:
    spec = make_spec(
        {"name": "a", "path": "b", "batchSize": 4, "parameters": {"k": {"x": [1]}}, "minWorkers": 1, "maxWorkers": 3},
        limits={"memory": "2Gi"},
        server={"tls": {"secretName": "s"}, "vmargs": ["-XX:+UseG1GC"]},
    )
    config = read_config(json.dumps(told(spec)))
    assert config.models[0].path == "b"
    assert config.models[0].parameters == {"k": {"x": [1]}}
    assert config.memory_limit == 2 * 2**30
    assert config.jvm_args == ["-Xmx512m", "-XX:+ExitOnOutOfMemoryError", "-XX:+UseG1GC"]
    assert config.tls is not None
    assert config.tls.key == "/opt/torchserve-operator/tls/tls.key"
    assert read_policy(json.dumps(policy(spec, size(spec))).encode()).bounds == {"a": Bounds(1, 3)}


def test_a_changed_bound_is_in_the_policy_alone() -> None:
    one, four = (make_spec({"minWorkers": least, "maxWorkers": most}) for least, most in ((1, 1), (2, 4)))
    assert told(one) == told(four)
    assert policy(one, size(one)) != policy(four, size(four))


@pytest.mark.parametrize(
    ("model", "limits", "settings"),
    [
        ({}, {}, {"deviceType": "cpu"}),
        ({}, {"nvidia.com/gpu": "1"}, {"deviceType": "gpu"}),
        ({"deviceType": "cpu"}, {"nvidia.com/gpu": "1"}, {"deviceType": "cpu"}),
        ({"deviceIds": [1]}, {"nvidia.com/gpu": "2"}, {"deviceType": "gpu", "deviceIds": [1]}),
        ({"batchSize": 8, "maxBatchDelay": 0}, {}, {"batchSize": 8, "maxBatchDelay": 0, "deviceType": "cpu"}),
    ],
)
def test_settings_hold_what_the_resource_says_and_what_must_be_fixed(
    model: dict[str, Any], limits: dict[str, str], settings: dict[str, Any]
) -> None:
    fixed = {"responseTimeout": 120, "startupTimeout": 120}
    assert told(make_spec(model, limits=limits))["models"][0]["settings"] == fixed | settings


def test_what_is_unknown_is_there_as_null() -> None:
    config = told(make_spec())
    assert config["tls"] is None
    assert config["memoryLimitBytes"] is None
    assert config["models"][0]["path"] is None
