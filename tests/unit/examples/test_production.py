"""The forecast's table: from hours to the network's numbers and back."""

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

Importer = Callable[[str, str], ModuleType]

FOLDER = Path(__file__).resolve().parents[3] / "examples" / "production"


@pytest.fixture
def history() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FOLDER / "request.json").read_text(encoding="utf-8"))["history"]
    return found


def test_a_table_becomes_as_many_numbers_as_the_network_takes(module: Importer, history: list[dict[str, Any]]) -> None:
    features = module("production", "features")
    found = features.features(history)
    assert len(found) == features.FEATURES
    assert all(math.isfinite(value) and abs(value) < 6 for value in found)


def test_what_is_predicted_is_the_inverse_of_what_is_learned(module: Importer, history: list[dict[str, Any]]) -> None:
    features = module("production", "features")
    future = [{"demand": 50.0 + hour} for hour in range(features.HORIZON)]
    output = features.targets(history, future)
    assert features.demand(history, output) == pytest.approx([row["demand"] for row in future], abs=0.01)


def test_demand_is_never_negative(module: Importer, history: list[dict[str, Any]]) -> None:
    features = module("production", "features")
    assert set(features.demand(history, [-1000.0] * features.HORIZON)) == {0.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"time": "2026-02-30T00:00"}, r"history\[3\].time: 2026-02-30T00:00 is no hour of any day"),
        ({"time": "2020-01-01T00:00"}, r"history\[3\].time: expected 2025-11-22T03:00, got 2020-01-01T00:00"),
        ({"demand": math.nan}, r"history\[3\].demand: expected a finite number"),
        ({"temperature": math.inf}, r"history\[3\].temperature: expected a finite number"),
    ],
)
def test_a_table_with_a_fault_is_refused_at_its_place(
    module: Importer, history: list[dict[str, Any]], change: dict[str, Any], message: str
) -> None:
    features = module("production", "features")
    broken = copy.deepcopy(history)
    broken[3] |= change
    with pytest.raises(ValueError, match=message):
        features.features(broken)


def test_the_town_is_the_same_on_every_machine(module: Importer) -> None:
    town = module("production", "town")
    table = town.rows()
    heldout = town.read(FOLDER / "heldout.csv")
    assert heldout == table[-len(heldout) :]


def test_the_request_is_the_first_of_the_held_out_ones(module: Importer, history: list[dict[str, Any]]) -> None:
    town = module("production", "town")
    assert history == town.read(FOLDER / "heldout.csv")[: len(history)]


def test_the_expected_answer_is_nearer_to_the_truth_than_the_day_before(
    module: Importer, history: list[dict[str, Any]]
) -> None:
    town, features = module("production", "town"), module("production", "features")
    expected = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))
    truth = town.read(FOLDER / "heldout.csv")[len(history) :][: features.HORIZON]
    assert expected["from"] == truth[0]["time"]

    def off(guess: list[float]) -> float:
        return sum(abs(value - row["demand"]) for value, row in zip(guess, truth, strict=True))

    assert off(expected["demand"]) < 0.75 * off([row["demand"] for row in history[-features.HORIZON :]])
