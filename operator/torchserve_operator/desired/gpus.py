"""Which GPUs a resource list asks for. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from torchserve_operator.api.quantity import parse_quantity

_WHOLE: Final = frozenset(
    {"nvidia.com/gpu", "nvidia.com/gpu.shared", "amd.com/gpu", "gpu.intel.com/i915", "gpu.intel.com/xe"}
)
"""What the vendors' device plugins call a GPU; `.shared` is NVIDIA's name for a time slice."""
_MIG: Final = re.compile(r"nvidia\.com/mig-[0-9]+g\.[0-9]+gb(\.[a-z0-9.]+)?")
"""A slice of a GPU, such as nvidia.com/mig-1g.10gb or nvidia.com/mig-1g.10gb.me."""


@dataclass(frozen=True, slots=True)
class Gpus:
    """What a pod gets.

    Attributes:
        count: GPUs or slices, all kinds together.
        names: The resources' names, as given.
        slices: How many of them are MIG slices.
    """

    count: int
    names: tuple[str, ...]
    slices: int


def is_gpu(name: str) -> bool:
    """Return whether a resource's name is one of a GPU or a part of one."""
    return name in _WHOLE or _MIG.fullmatch(name) is not None


def gpus_of(resources: Mapping[str, str]) -> Gpus:
    """Return the GPUs in a resource list (limits, as extended resources are given there)."""
    counts = {name: int(parse_quantity(value)) for name, value in resources.items() if is_gpu(name)}
    asked = {name: count for name, count in counts.items() if count > 0}
    return Gpus(sum(asked.values()), tuple(asked), sum(count for name, count in asked.items() if "/mig-" in name))
