"""The name that people have for a colour: three functions, which the function handler calls.

Request, ``application/json``: ``{"colour": "#ff8800"}`` or ``{"colour": [255, 136, 0]}``.
Answer: ``{"name": "orange", "probability": 0.97}``. A colour that is none gets a 400 with the reason; the other
requests of its batch are answered as usual.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from networks import network  # networks.tar.gz, unpacked while the image is built

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


def rgb(data: Any) -> list[int]:
    """Red, green and blue of a request, 0..255 each.

    Raises ``ValueError`` with a message for the caller.
    """
    if not isinstance(data, dict) or "colour" not in data:
        raise ValueError('expected {"colour": "#ff8800"} or {"colour": [255, 136, 0]}')
    colour = data["colour"]
    if isinstance(colour, str):
        if not re.fullmatch("#[0-9a-fA-F]{6}", colour):
            raise ValueError(f"colour: expected # and six hex digits, got {colour[:20]!r}")
        return list(bytes.fromhex(colour[1:]))
    numbers = isinstance(colour, list) and all(type(part) is int and 0 <= part <= 255 for part in colour)
    if not numbers or len(colour) != 3:
        raise ValueError("colour: expected #rrggbb or three whole numbers of 0..255")
    return colour
