"""The name that people have for a colour: three functions, which the function handler calls.

Request, ``application/json``: ``{"colour": "#ff8800"}`` or ``{"colour": [255, 136, 0]}``.
Answer: ``{"name": "orange", "probability": 0.97}``. A colour that is none gets a 400 with the reason; the other
requests of its batch are answered as usual.
"""

from __future__ import annotations

from typing import Any

import torch

# palette.tar.gz, unpacked while the image is built
from palette.networks import network
from palette.requests import rgb

NAMES = ("black", "white", "grey", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")


def make(size: str = "small") -> torch.nn.Module:
    """The model, called once a worker; the handler loads the checkpoint into it and puts it onto the device."""
    return network(size, len(NAMES))


def preprocess(data: Any) -> torch.Tensor:
    """One request as the model's input: a tensor (3,) of 0..1. A ``ValueError`` here is this request's 400."""
    return torch.tensor(rgb(data), dtype=torch.float32) / 255


def postprocess(output: torch.Tensor) -> dict[str, Any]:
    """The answer of one of the model's outputs, a tensor (11,) of logits."""
    probability, label = output.softmax(dim=0).max(dim=0)
    return {"name": NAMES[int(label)], "probability": round(float(probability), 4)}
