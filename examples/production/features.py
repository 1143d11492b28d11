"""From a table of hours to the network's numbers and back: the one place that training and serving share.

A row is ``{"time": "2026-02-03T17:00", "demand": 71.5, "temperature": 4.2}``: the hour's start, megawatts, degrees.
Standard library only.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

HISTORY = 48
"""Hours that a request brings."""
HORIZON = 24
"""Hours that are predicted."""
FEATURES = HISTORY + HISTORY // 2 + 7 + 4
"""Numbers that the network takes."""

SCALE = 15.0
FORMAT = "%Y-%m-%dT%H:%M"
HOUR = timedelta(hours=1)


def first_hour(history: list[dict[str, Any]]) -> datetime:
    """The hour after the history.

    Raises ``ValueError`` with a message for the caller when the hours do not follow each other.
    """
    times = []
    for place, row in enumerate(history):
        try:
            times.append(datetime.strptime(row["time"], FORMAT))  # noqa: DTZ007 - local time: people follow it
        except ValueError:
            message = f"history[{place}].time: {row['time']} is no hour of any day"
            raise ValueError(message) from None
        if place and times[-1] != times[-2] + HOUR:
            raise ValueError(f"history[{place}].time: expected {times[-2] + HOUR:{FORMAT}}, got {row['time']}")
    return times[-1] + HOUR


def features(history: list[dict[str, Any]]) -> list[float]:
    """The ``FEATURES`` numbers of ``HISTORY`` rows, each about -3..3.

    Demand is taken against its own last day, so that a town twice as large is no other problem; temperatures of two
    hours are enough; the calendar is that of the first predicted hour.

    Raises ``ValueError`` with a message for the caller.
    """
    start = first_hour(history)
    for place, row in enumerate(history):
        for column in ("demand", "temperature"):
            if not math.isfinite(row[column]):
                raise ValueError(f"history[{place}].{column}: expected a finite number")
    mean = _mean(history)
    demand = [(row["demand"] - mean) / SCALE for row in history]
    temperature = [(row["temperature"] - 10) / 10 for row in history[1::2]]
    weekday = [float(start.weekday() == day) for day in range(7)]
    hour, day = 2 * math.pi * start.hour / 24, 2 * math.pi * start.timetuple().tm_yday / 365
    return [*demand, *temperature, *weekday, math.sin(hour), math.cos(hour), math.sin(day), math.cos(day)]


def demand(history: list[dict[str, Any]], output: list[float]) -> list[float]:
    """Megawatts of the next ``HORIZON`` hours: the network says how far each is from the same hour of the last day."""
    yesterday = history[-HORIZON:]
    return [round(max(row["demand"] + SCALE * change, 0.0), 2) for row, change in zip(yesterday, output, strict=True)]


def targets(history: list[dict[str, Any]], future: list[dict[str, Any]]) -> list[float]:
    """What the network should have said: the inverse of `demand`."""
    pairs = zip(history[-HORIZON:], future, strict=True)
    return [(later["demand"] - row["demand"]) / SCALE for row, later in pairs]


def _mean(history: list[dict[str, Any]]) -> float:
    return sum(row["demand"] for row in history[-HORIZON:]) / HORIZON
