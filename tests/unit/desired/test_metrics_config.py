"""`server.metrics.config`: one wrong field would empty /metrics."""

import copy
from typing import Any

import pytest
import yaml

from torchserve_operator.desired.metrics_config import metrics_config_errors, metrics_yaml
from unit.desired.specs import make_spec

METRIC = {"name": "n", "unit": "ms", "dimensions": ["Level"]}
RIGHT: dict[str, Any] = {
    "dimensions": ["Level", "Hostname"],
    "ts_metrics": {"counter": [METRIC], "histogram": [METRIC | {"name": "h"}]},
    "model_metrics": {"gauge": [dict(METRIC)]},
}


def errors_of(config: dict[str, Any]) -> list[str]:
    """The errors, as path below config and message."""
    spec = make_spec(server={"metrics": {"config": config}})
    return [str(error).removeprefix("spec.server.metrics.config.") for error in metrics_config_errors(spec)]


def changed(*path: str | int, value: Any) -> dict[str, Any]:
    """The right one with one value set (None: removed)."""
    config = copy.deepcopy(RIGHT)
    place: Any = config
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    if value is None:
        del place[path[-1]]
    return config


def test_a_right_configuration_is_taken_and_written_as_yaml() -> None:
    assert errors_of(RIGHT) == []
    assert errors_of(changed("dimensions", value=None)) == []
    text = metrics_yaml(make_spec(server={"metrics": {"config": RIGHT}}))
    assert text is not None
    assert yaml.safe_load(text) == RIGHT


def test_without_a_configuration_there_is_no_file_and_no_error() -> None:
    assert metrics_yaml(make_spec()) is None
    assert list(metrics_config_errors(make_spec())) == []


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (changed("mode", value="prometheus"), "mode: is not a field of a metrics_config file"),
        (
            changed("ts_metric", value={}),
            'ts_metric: is not a field of a metrics_config file; did you mean "ts_metrics"?',
        ),
        (changed("dimensions", value="Level"), "dimensions: is required: a list of dimension names"),
        (changed("model_metrics", value=None), "model_metrics: is required"),
        (changed("ts_metrics", value=[]), "ts_metrics: is required"),
        (
            changed("ts_metrics", "counters", value=[]),
            "ts_metrics.counters: is not a field of a metrics_config file; did",
        ),
        (changed("ts_metrics", "counter", value={}), "ts_metrics.counter: expected a list of metrics"),
        (changed("ts_metrics", "counter", value=["n"]), "ts_metrics.counter[0]: expected an object"),
        (changed("ts_metrics", "counter", 0, "unit", value=None), "ts_metrics.counter[0].unit: is required: text"),
        (changed("ts_metrics", "counter", 0, "name", value=7), "ts_metrics.counter[0].name: is required: text"),
        (changed("ts_metrics", "counter", 0, "dimension", value=[]), "ts_metrics.counter[0].dimension: is not a field"),
        (
            changed("model_metrics", "gauge", 0, "dimensions", value=[1]),
            "model_metrics.gauge[0].dimensions: is required",
        ),
        (
            changed("ts_metrics", "histogram", 0, "name", value="n"),
            'ts_metrics.histogram[0].name: "n" is a metric already',
        ),
    ],
)
def test_a_field_that_torchserve_does_not_know_or_misses_is_an_error(config: dict[str, Any], expected: str) -> None:
    found = errors_of(config)
    assert len(found) == 1
    assert found[0].startswith(expected)
