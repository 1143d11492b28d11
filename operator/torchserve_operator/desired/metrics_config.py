"""`server.metrics.config`: the metrics_config file. Pure.

TorchServe reads it into Java beans: one unknown or misspelt field is an ERROR line in the log and an empty /metrics for
the server's life. So it is checked here, field by field.
Source: org.pytorch.serve.metrics.configuration and ts/metrics/metric_cache_yaml_impl.py of TorchServe 0.12.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

from torchserve_operator.api.errors import FieldError, did_you_mean
from torchserve_operator.api.spec import TorchServeModelSpec

_PATH: Final = "spec.server.metrics.config"
_SECTIONS: Final = ("ts_metrics", "model_metrics")
_KINDS: Final = ("counter", "gauge", "histogram")
_FIELDS: Final = ("name", "unit", "dimensions")


def metrics_yaml(spec: TorchServeModelSpec) -> str | None:
    """Return the file's text, or None where the image's default is used."""
    if spec.server.metrics.config is None:
        return None
    text: str = yaml.safe_dump(spec.server.metrics.config, sort_keys=True, default_flow_style=False)
    return text


def metrics_config_errors(spec: TorchServeModelSpec) -> Iterator[FieldError]:
    """Yield what TorchServe would not take."""
    config = spec.server.metrics.config
    if config is None:
        return
    yield from _unknown(config, ("dimensions", *_SECTIONS), _PATH)
    if "dimensions" in config:  # a place for YAML anchors: TorchServe reads it and does nothing with it
        yield from _names(config["dimensions"], f"{_PATH}.dimensions")
    for section in _SECTIONS:
        path = f"{_PATH}.{section}"
        kinds = config.get(section)
        if not isinstance(kinds, Mapping) or not kinds:
            yield FieldError(path, f"is required: an object of {', '.join(_KINDS)}, each a list of metrics")
            continue
        yield from _unknown(kinds, _KINDS, path)
        seen: dict[str, str] = {}
        for kind in _KINDS:
            if kind in kinds:
                yield from _metrics(kinds[kind], f"{path}.{kind}", seen)


def _metrics(metrics: Any, path: str, seen: dict[str, str]) -> Iterator[FieldError]:
    if not isinstance(metrics, list):
        yield FieldError(path, f"expected a list of metrics, each with {', '.join(_FIELDS)}")
        return
    for index, metric in enumerate(metrics):
        at = f"{path}[{index}]"
        if not isinstance(metric, Mapping):
            yield FieldError(at, f"expected an object with {', '.join(_FIELDS)}")
            continue
        yield from _unknown(metric, _FIELDS, at)
        for field in ("name", "unit"):
            if not isinstance(metric.get(field), str) or not metric[field]:
                yield FieldError(f"{at}.{field}", "is required: text")
        yield from _names(metric.get("dimensions"), f"{at}.dimensions")
        name = metric.get("name")
        if isinstance(name, str) and name:
            if name in seen:
                yield FieldError(f"{at}.name", f'"{name}" is a metric already, at {seen[name]}')
            seen.setdefault(name, at)


def _names(names: Any, path: str) -> Iterator[FieldError]:
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        yield FieldError(path, "is required: a list of dimension names, such as [Level, Hostname]")


def _unknown(given: Mapping[str, Any], known: tuple[str, ...], path: str) -> Iterator[FieldError]:
    for key in given:
        if key not in known:
            hint = did_you_mean(str(key), known) or f"; known here: {', '.join(known)}"
            yield FieldError(f"{path}.{key}", f"is not a field of a metrics_config file{hint}")
