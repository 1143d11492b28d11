"""Specs for tests: the least that is valid, with changes."""

from typing import Any

from torchserve_operator.api.parse import parse_spec
from torchserve_operator.api.spec import TorchServeModelSpec


def make_spec(
    *models: dict[str, Any], limits: dict[str, str] | None = None, requests: dict[str, str] | None = None, **fields: Any
) -> TorchServeModelSpec:
    """Return a spec with these models (default: one called m), limits and further fields."""
    resources = {"limits": limits or {}, "requests": requests or {}}
    named = [{"name": "m"} | model for model in models] or [{"name": "m"}]
    return parse_spec({"image": "registry.example/m:1", "models": named, "resources": resources} | fields)
