"""The networks, by size."""

from __future__ import annotations

from torch import nn

SIZES = {"small": (16,), "large": (128, 128)}
"""Widths of the hidden layers."""


def network(size: str, outputs: int) -> nn.Sequential:
    """A network from three numbers of 0..1 to ``outputs`` logits.

    Raises ``ValueError`` for a size that there is not.
    """
    if size not in SIZES:
        raise ValueError(f"size: expected one of {', '.join(SIZES)}, got {size}")
    layers: list[nn.Module] = []
    width = 3
    for hidden in SIZES[size]:
        layers += [nn.Linear(width, hidden), nn.ReLU()]
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, outputs))
