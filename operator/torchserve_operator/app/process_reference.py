"""The reference pages of the process: its settings and its metrics, from the code's own words."""

from collections.abc import Iterator
from typing import Any, Final

from prometheus_client.core import Metric

from torchserve_operator.app.metrics import Metrics, Snapshot
from torchserve_operator.app.settings import PREFIX, Settings

NOTICE: Final = "<!-- Generated from operator/torchserve_operator/app by `make generate`; do not edit. -->\n"

_SETTINGS_INTRODUCTION: Final = f"""\
`torchserve-operator run` reads its settings from environment variables. Each has a default that suits a cluster of
any size. A wrong value, and a variable `{PREFIX}*` that is no setting, end the process with exit code 2
and a line that names it; the variables that Kubernetes sets beside a Service called torchserve-operator are passed
over.
"""
_METRICS_INTRODUCTION: Final = """\
What the operator says of itself on `/metrics`, in Prometheus' text format. `/healthz` answers 200 while the process
works, `/readyz` while the cluster is watched and the caches are in step with it; else 503 and the reason.
"""


def settings_page() -> str:
    """Return the page of the settings: variable, type, default, description."""
    properties = Settings.model_json_schema()["properties"]
    rows = [
        f"| `{PREFIX}{name.upper()}` | {_type(schema)} | {_default(schema.get('default'))} | {schema['description']} |"
        for name, schema in properties.items()
    ]
    head = ["| variable | type | default | |", "| --- | --- | --- | --- |"]
    return "\n".join([NOTICE, "# Settings\n", _SETTINGS_INTRODUCTION, *head, *rows]) + "\n"


def metrics_page() -> str:
    """Return the page of the operator's own metrics: name, type, labels, description."""
    rows = [
        f"| `{family.name}{'_total' if family.type == 'counter' else ''}` | {family.type} "
        f"| {', '.join(f'`{label}`' for label in _labels(family))} | {family.documentation} |"
        for family in sorted(families(), key=lambda family: (not family.name.startswith("torchserve"), family.name))
    ]
    head = ["| name | type | labels | |", "| --- | --- | --- | --- |"]
    return "\n".join([NOTICE, "# Metrics\n", _METRICS_INTRODUCTION, *head, *rows]) + "\n"


def families() -> Iterator[Metric]:
    """Yield every metric that an operator can show, each with an example of its labels."""
    metrics = Metrics()
    metrics.reconciles.labels("done")
    writes = {("apply", "Deployment"): 0}
    metrics.watch(lambda: Snapshot(0, 0, watch_events=0, agent_reads=0, agent_read_failures=0, writes=writes))
    yield from metrics.registry.collect()


def _labels(family: Metric) -> list[str]:
    return sorted({label for sample in family.samples for label in sample.labels} - {"le"})


def _type(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(option) for option in schema["anyOf"] if option["type"] != "null")
    if "enum" in schema:
        return " \\| ".join(f"`{value}`" for value in schema["enum"])
    if schema["type"] == "array":
        return "names, separated by commas"
    if "exclusiveMinimum" in schema:
        return f"{schema['type']}, more than {schema['exclusiveMinimum']:g}"
    if "minimum" in schema:
        return f"{schema['type']} {schema['minimum']}..{schema['maximum']}"
    if schema["type"] == "object":
        return "JSON object"
    return str(schema["type"])


def _default(value: object) -> str:
    return "" if value in (None, [], {}, "") else f"`{value:g}`" if isinstance(value, float) else f"`{value}`"
