"""The sentiment example's requests and sentences."""

import collections
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

Importer = Callable[[str, str], ModuleType]


FOLDER = Path(__file__).resolve().parents[3] / "examples" / "sentiment"


@pytest.mark.parametrize(
    "row", [{"body": {"input": ["a", "b"]}}, {"data": b'{"input": ["a", "b"]}'}, {"body": '{"input": ["a", "b"]}'}]
)
def test_texts_come_parsed_or_as_bytes(module: Importer, row: dict[str, Any]) -> None:
    assert module("sentiment", "texts").texts_of(row) == ["a", "b"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "body: expected JSON"),
        (b"\xff", "body: expected JSON"),
        (None, "body: expected {"),
        (["a"], "body: expected {"),
        ({"input": "a text"}, "body: expected {"),
        ({"input": []}, "input: expected 1 to 64 texts, got 0"),
        ({"input": ["a"] * 65}, "input: expected 1 to 64 texts, got 65"),
        ({"input": ["a", 7]}, r"input\[1\]: expected a text, got 7"),
        ({"input": ["  "]}, r"input\[0\]: expected a text"),
        ({"input": ["a" * 2001]}, r"input\[0\]: expected at most 2000 characters, got 2001"),
    ],
)
def test_what_is_no_list_of_texts_is_refused_with_the_reason(module: Importer, body: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        module("sentiment", "texts").texts_of({"body": body})


def test_the_sentences_are_the_same_for_the_same_seed_and_none_comes_twice(module: Importer) -> None:
    sentences = module("sentiment", "sentences").sentences
    once = sentences(900, 1)
    assert once == sentences(900, 1)
    assert once != sentences(900, 2)
    assert len({text for text, _ in once}) == 900


def test_there_are_as_many_sentences_of_each_label(module: Importer) -> None:
    counts = collections.Counter(label for _, label in module("sentiment", "sentences").sentences(900, 1))
    assert counts == {0: 300, 1: 300, 2: 300}


def test_the_expected_answer_has_a_known_label_for_each_text_of_the_request() -> None:
    request = json.loads((FOLDER / "request.json").read_text(encoding="utf-8"))
    expected = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))
    names = json.loads((FOLDER / "index_to_name.json").read_text(encoding="utf-8"))
    assert len(request["input"]) == len(expected["labels"]) == len(expected["scores"])
    assert set(expected["labels"]) <= set(names.values())
