"""A town's electricity, hour by hour: generated, the same on every machine (standard library only).

Demand follows the hour of the day, the day of the week and the weather; the weather follows the season and has a
memory of days. So the same hour of yesterday is a fair guess, and not the best one.
"""

from __future__ import annotations

import csv
import math
import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from features import FORMAT

SEED = 11
START = datetime(2023, 1, 2)  # noqa: DTZ001 - the town's local time, a Monday
HOURS = 3 * 52 * 7 * 24

DAY = [-14, -16, -17, -17, -16, -12, -4, 5, 10, 9, 8, 8, 9, 8, 7, 6, 8, 12, 16, 15, 11, 5, -3, -9]
"""Megawatts against the day's mean, hour by hour."""
WEEK = [2.0, 2.5, 2.5, 2.0, 0.0, -9.0, -12.0]
"""The same for the days of the week, from Monday."""


def rows() -> list[dict[str, Any]]:
    """Three years of rows, oldest first."""
    chance = random.Random(SEED)  # noqa: S311 - data, not secrets
    weather = habit = 0.0
    table = []
    for hour in range(HOURS):
        time = START + timedelta(hours=hour)
        weather = 0.99 * weather + chance.gauss(0, 0.7)
        habit = 0.9 * habit + chance.gauss(0, 0.8)
        season = -math.cos(2 * math.pi * (time.timetuple().tm_yday - 15) / 365)
        temperature = 10 + 9 * season + 4 * math.sin(2 * math.pi * (time.hour - 9) / 24) + weather
        heating = 1.1 * max(16 - temperature, 0) + 0.9 * max(temperature - 22, 0)
        shape = DAY[time.hour] * (0.6 if time.weekday() >= 5 else 1.0)
        demand = 60 + shape + WEEK[time.weekday()] + heating + habit
        row = {
            "time": time.strftime(FORMAT),
            "demand": round(max(demand, 0.0), 1),
            "temperature": round(temperature, 1),
        }
        table.append(row)
    return table


def write(table: list[dict[str, Any]], path: Path) -> None:
    """Writes rows as CSV."""
    with path.open("w", encoding="ascii", newline="") as file:
        lines = csv.DictWriter(file, ["time", "demand", "temperature"], lineterminator="\n")
        lines.writeheader()
        lines.writerows(table)


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a CSV file."""
    with path.open(encoding="ascii", newline="") as file:
        return [
            {"time": line["time"], "demand": float(line["demand"]), "temperature": float(line["temperature"])}
            for line in csv.DictReader(file)
        ]
