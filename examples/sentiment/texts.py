"""From a request's body to texts: the standard library alone, so that it can be tried out without torch."""

from __future__ import annotations

import json
from typing import Any

MOST = 64
"""Texts in one request."""
LONGEST = 2000
"""Characters of one text; the tokenizer cuts it to the network's length anyway."""


def texts_of(row: dict[str, Any]) -> list[str]:
    """The texts in one of TorchServe's request dictionaries.

    The value is a parsed object for ``application/json``, bytes for other content types. Raises ``ValueError`` with a
    message for the caller.
    """
    body = row.get("body", row.get("data"))
    if isinstance(body, (bytes, bytearray, str)):
        try:
            body = json.loads(body)
        except ValueError as error:
            raise ValueError(f"body: expected JSON: {error}") from None
    if not isinstance(body, dict) or not isinstance(body.get("input"), list):
        message = 'body: expected {"input": ["a text", "another"]}'
        raise ValueError(message)  # noqa: TRY004 - one error for all that is wrong with a request
    texts = body["input"]
    if not 1 <= len(texts) <= MOST:
        raise ValueError(f"input: expected 1 to {MOST} texts, got {len(texts)}")
    for place, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"input[{place}]: expected a text, got {json.dumps(text)[:40]}")
        if len(text) > LONGEST:
            raise ValueError(f"input[{place}]: expected at most {LONGEST} characters, got {len(text)}")
    return texts
