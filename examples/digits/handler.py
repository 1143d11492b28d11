"""TorchServe handler of the digits model.

Request, ``application/json``: ``{"pixels": [64 numbers of 0..16]}``, or the same as 8 rows of 8.
Answer: ``{"label": 3, "probability": 0.998}``. A request that is not this gets a 400 with
``{"error": "..."}``; the others of its batch are answered as usual.

TorchServe takes the one class of this module: a second one, an exception's even, would be refused.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch

PIXELS = 64
DARKEST = 16


def pixels_of(row: dict[str, Any]) -> list[float]:
    """The 64 pixels in one of TorchServe's request dictionaries.

    The value is a parsed object for ``application/json``, bytes for other content types. Raises
    ``ValueError`` with a message for the caller when it is not what the model takes.
    """
    body = row.get("body", row.get("data"))
    if isinstance(body, (bytes, bytearray, str)):
        try:
            body = json.loads(body)
        except ValueError as error:
            raise ValueError(f"body: expected JSON: {error}") from None
    if not isinstance(body, dict) or not isinstance(body.get("pixels"), list):
        message = 'body: expected {"pixels": [64 numbers of 0..16]}'
        raise ValueError(message)  # noqa: TRY004 - one error for all that is wrong with a request
    pixels = body["pixels"]
    if any(isinstance(row, list) for row in pixels):
        pixels = [value for row in pixels for value in (row if isinstance(row, list) else [row])]
    if len(pixels) != PIXELS:
        raise ValueError(f"pixels: expected {PIXELS} numbers, got {len(pixels)}")
    for place, value in enumerate(pixels):
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not 0 <= value <= DARKEST:
            raise ValueError(f"pixels[{place}]: expected a number of 0..{DARKEST}, got {json.dumps(value)[:40]}")
    return pixels


class DigitsHandler:
    """What TorchServe calls: ``initialize`` once a worker, ``handle`` once a batch."""

    def __init__(self) -> None:
        self.model = None
        self.device = torch.device("cpu")

    def initialize(self, context: Any) -> None:
        """Loads ``digits.pt`` of the archive onto the worker's device."""
        properties = context.system_properties
        if torch.cuda.is_available() and properties.get("gpu_id") is not None:
            self.device = torch.device("cuda", int(properties["gpu_id"]))
        path = Path(properties["model_dir"]) / "digits.pt"
        self.model = torch.jit.load(str(path), map_location=self.device).eval()

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        """Answers of a batch, one a request and in its order."""
        answers: list[Any] = [None] * len(data)
        good, images = [], []
        for place, row in enumerate(data):
            try:
                images.append(pixels_of(row))
            except ValueError as error:
                context.set_response_status(400, "Bad Request", place)
                answers[place] = {"error": str(error)}
            else:
                good.append(place)
        if images:
            batch = torch.tensor(images, dtype=torch.float32, device=self.device).reshape(-1, 1, 8, 8) / DARKEST
            with torch.no_grad():
                probabilities, labels = self.model(batch).softmax(dim=1).max(dim=1)
            for place, label, probability in zip(good, labels.tolist(), probabilities.tolist(), strict=True):
                answers[place] = {"label": label, "probability": round(probability, 4)}
        return answers
