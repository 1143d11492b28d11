"""From a request's data to numbers: the standard library alone, so that it can be tried out without torch."""

from __future__ import annotations

import re
from typing import Any


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
