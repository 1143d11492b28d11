"""Figures: what a bench found, as a table for people, lines for programs, and raw data for who doubts them."""

import datetime as dt
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.machine import facts

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Figure:
    """One number.

    Attributes:
        name: Its name, with the unit's suffix: it stays the same from release to release.
        value: The number.
        unit: Its unit, ``1`` for a bare number.
        about: What it says, in a line.
        goal: The most that it should be, if there is such a bound.
    """

    name: str
    value: float
    unit: str
    about: str
    goal: float | None = None

    @property
    def number(self) -> str:
        """The value with three significant digits or so."""
        return f"{self.value:.0f}" if abs(self.value) >= 100 else f"{self.value:.3g}"


@dataclass
class Result:
    """What one bench found.

    Attributes:
        figures: The numbers.
        samples: The raw values that they come from, by name.
        pictures: SVG files by name.
        missing: Why figures could not be had, by their names.
    """

    figures: list[Figure] = field(default_factory=list)
    samples: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, value: float, unit: str, about: str, goal: float | None = None) -> None:
        """Add one figure."""
        self.figures.append(Figure(name, value, unit, about, goal))


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that ``percent`` of ``values`` do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent * len(ordered) / 100) - 1)]


def median(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


def show(name: str, result: Result) -> None:
    """Print a bench's table and a line for each figure."""
    table = Table(title=name, title_justify="left")
    for heading in ("figure", "value", "unit", "goal", "what it is"):
        table.add_column(heading, justify="right" if heading in {"value", "goal"} else "left")
    for figure in result.figures:
        goal = "" if figure.goal is None else f"≤ {figure.goal:g}"
        table.add_row(figure.name, figure.number, figure.unit, goal, figure.about)
    for missing, why in result.missing.items():
        table.add_row(missing, "missing", "", "", why.partition("\n")[0])
    Console(width=150).print(table)
    for figure in result.figures:
        print(f"FIGURE {figure.name} {figure.value:.6g} {figure.unit}", flush=True)


def save(name: str, result: Result, before: Mapping[str, Any], directory: Path = RESULTS) -> Path:
    """Write a bench's raw data and return the file.

    Args:
        name: The bench's name.
        result: What it found.
        before: What the machine was like when it began; what it is like now is added.
        directory: Where to write.
    """
    directory.mkdir(parents=True, exist_ok=True)
    at = dt.datetime.now(dt.UTC)
    document = {
        "bench": name,
        "date": at.isoformat(timespec="seconds"),
        "machine": {"before": dict(before), "after": facts()},
        "figures": [asdict(figure) for figure in result.figures],
        "missing": result.missing,
        "samples": result.samples,
    }
    for picture, svg in result.pictures.items():
        (directory / f"{picture}.svg").write_text(svg, encoding="utf-8")
    path = directory / f"{name}-{at:%Y%m%d-%H%M%S}.json"
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return path
