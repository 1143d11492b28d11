"""TorchServe handler of a Hugging Face text classifier.

Request, ``application/json``: ``{"input": ["a text", "another"]}``.
Answer: ``{"labels": ["positive", "negative"], "scores": [0.998, 0.97]}``, one a text and in their order. A request that
is not this gets a 400 with ``{"error": "..."}``; the others of its batch are answered as usual.

Works with every directory that ``save_pretrained`` wrote for a sequence classifier and its tokenizer, laid beside this
file (a folder among the archiver's extra files is laid out so); the labels are those of index_to_name.json, or else the
model's own.

TorchServe takes the one class of this module: a second one, an exception's even, would be refused.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

# All is in the archive: a missing file is an error at once, not a minute of tries to reach the hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from texts import texts_of

MAX_LENGTH = 128
"""Tokens that the network sees of a text, as BERTweet."""


class SentimentHandler:
    """What TorchServe calls: ``initialize`` once a worker, ``handle`` once a batch."""

    def __init__(self) -> None:
        self.model = None
        self.tokenizer = None
        self.names: dict[str, str] = {}
        self.device = torch.device("cpu")

    def initialize(self, context: Any) -> None:
        """Loads the tokenizer, the network and the labels' names."""
        properties = context.system_properties
        if torch.cuda.is_available() and properties.get("gpu_id") is not None:
            self.device = torch.device("cuda", int(properties["gpu_id"]))
        folder = Path(properties["model_dir"])
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
        network = transformers.AutoModelForSequenceClassification.from_pretrained(str(folder))
        self.model = network.to(self.device).eval()
        self.names = {str(index): name for index, name in network.config.id2label.items()}
        names = folder / "index_to_name.json"
        if names.is_file():
            self.names = json.loads(names.read_text(encoding="utf-8"))

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        """Answers of a batch, one a request and in its order."""
        answers: list[Any] = [None] * len(data)
        good, texts = [], []
        for place, row in enumerate(data):
            try:
                own = texts_of(row)
            except ValueError as error:
                context.set_response_status(400, "Bad Request", place)
                answers[place] = {"error": str(error)}
            else:
                good.append((place, len(texts), len(texts) + len(own)))
                texts += own
        if texts:
            labels, scores = self.classify(texts)
            for place, start, end in good:
                answers[place] = {"labels": labels[start:end], "scores": scores[start:end]}
        return answers

    def classify(self, texts: list[str]) -> tuple[list[str], list[float]]:
        """Labels and their probabilities: all texts of all requests go through the network together."""
        batch = self.tokenizer(texts, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
        with torch.inference_mode():
            scores, labels = self.model(**batch.to(self.device)).logits.softmax(dim=1).max(dim=1)
        return [self.names[str(label)] for label in labels.tolist()], [round(score, 4) for score in scores.tolist()]
