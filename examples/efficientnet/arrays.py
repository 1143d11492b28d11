"""From a request's body to an image: NumPy alone, so that it can be tried out without torch."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from numpy.lib import format as npy

SHAPE = (64, 64, 3)
LARGEST = 1 << 16
"""Bytes of a body: an image has 12,416. More is refused before anything is read."""


def image_of(row: dict[str, Any]) -> np.ndarray:
    """The image in one of TorchServe's request dictionaries: uint8 (64, 64, 3).

    Raises ``ValueError`` with a message for the caller.
    """
    body = row.get("body", row.get("data"))
    if not isinstance(body, (bytes, bytearray)):
        message = "body: expected the bytes of a .npy file (Content-Type: application/octet-stream)"
        raise ValueError(message)  # noqa: TRY004 - one error for all that is wrong with a request
    if len(body) > LARGEST:
        raise ValueError(f"body: expected at most {LARGEST} bytes, got {len(body)}")
    file = io.BytesIO(body)
    try:
        # Of the file only the header is parsed: a shape that it lies about costs no memory, and a pickle is never run.
        version = npy.read_magic(file)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, by_columns, kind = read_header(file)
    except Exception:  # noqa: BLE001 - NumPy's parser lets through whatever Python's own has: tokenize.TokenError, ...
        raise ValueError("body: expected a .npy file, got something else") from None
    if shape != SHAPE or kind != np.uint8:
        raise ValueError(f"body: expected uint8 of shape {SHAPE}, got {kind} of shape {shape}")
    pixels = np.frombuffer(body, dtype=np.uint8, offset=file.tell())
    if pixels.size != math.prod(SHAPE):
        raise ValueError(f"body: expected {math.prod(SHAPE)} bytes of pixels, got {pixels.size}")
    return pixels.reshape(SHAPE, order="F" if by_columns else "C")
