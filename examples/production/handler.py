"""TorchServe handler of the forecast.

Request, ``application/json``: ``{"history": [48 rows]}``, a row being
``{"time": "2026-02-03T17:00", "demand": 71.5, "temperature": 4.2}``, an hour each, oldest first.
Answer: ``{"from": "2026-02-05T17:00", "demand": [24 numbers]}``. A request that is not this gets a 400 with
``{"error": "..."}``; the others of its batch are answered as usual.

TorchServe takes the one class of this module: a second one, an exception's even, would be refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fastjsonschema
import torch
from features import FORMAT, demand, features, first_hour


def history_of(row: dict[str, Any], check: Any) -> list[dict[str, Any]]:
    """The table in one of TorchServe's request dictionaries, held against the schema by ``check``.

    The value is a parsed object for ``application/json``, bytes for other content types. Raises ``ValueError`` with a
    message for the caller (``fastjsonschema``'s own is one).
    """
    body = row.get("body", row.get("data"))
    if isinstance(body, (bytes, bytearray, str)):
        try:
            body = json.loads(body)
        except ValueError as error:
            raise ValueError(f"body: expected JSON: {error}") from None
    return check(body)["history"]


class ForecastHandler:
    """What TorchServe calls: ``initialize`` once a worker, ``handle`` once a batch."""

    def __init__(self) -> None:
        self.model = None
        self.check = None
        self.device = torch.device("cpu")

    def initialize(self, context: Any) -> None:
        """Loads ``forecast.pt`` and the requests' schema."""
        properties = context.system_properties
        if torch.cuda.is_available() and properties.get("gpu_id") is not None:
            self.device = torch.device("cuda", int(properties["gpu_id"]))
        folder = Path(properties["model_dir"])
        self.model = torch.jit.load(str(folder / "forecast.pt"), map_location=self.device).eval()
        schema = json.loads((folder / "request_schema.json").read_text(encoding="utf-8"))
        self.check = fastjsonschema.compile(schema)

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        """Answers of a batch, one a request and in its order."""
        answers: list[Any] = [None] * len(data)
        good, tables, inputs = [], [], []
        for place, row in enumerate(data):
            try:
                table = history_of(row, self.check)
                inputs.append(features(table))
            except ValueError as error:
                context.set_response_status(400, "Bad Request", place)
                # The validator's words begin with its own name of the body.
                answers[place] = {"error": str(error).removeprefix("data.")}
            else:
                good.append(place)
                tables.append(table)
        if inputs:
            with torch.inference_mode():
                outputs = self.model(torch.tensor(inputs, device=self.device)).tolist()
            for place, table, output in zip(good, tables, outputs, strict=True):
                answers[place] = {"from": first_hour(table).strftime(FORMAT), "demand": demand(table, output)}
        return answers
