"""How many workers a model shall have now. Pure: the worker loop's later decision goes in as `wanted`."""

from __future__ import annotations

from typing import NamedTuple, Optional

from .config import Bounds
from .management import ModelView

PATIENCE = 5.0
"""Seconds before the same number is asked for again: a server under load takes its time to act on it."""


class Asked(NamedTuple):
    """The last scale call."""

    workers: int
    at: float


def decide(
    bounds: Bounds, view: ModelView, asked: Optional[Asked], now: float, wanted: Optional[int] = None
) -> Optional[int]:
    """The number of workers to ask the server for; None: it has been told already.

    TorchServe's own lower bound is what it was told last, and it restarts dead workers up to it by itself: only a
    number that is outside the policy's bounds, or not reached by the server's list of workers, needs a call.
    """
    target = min(max(view.minimum if wanted is None else wanted, bounds.minimum), bounds.maximum)
    if view.minimum == target and len(view.workers) == target:
        return None
    if asked is not None and asked.workers == target and now - asked.at < PATIENCE:
        return None
    return target
