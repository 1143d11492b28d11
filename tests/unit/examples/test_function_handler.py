"""The colours' requests."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

Importer = Callable[[str, str], ModuleType]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"colour": "#ff8800"}, [255, 136, 0]),
        ({"colour": "#FF8800"}, [255, 136, 0]),
        ({"colour": [0, 255, 1]}, [0, 255, 1]),
    ],
)
def test_a_colour_is_text_or_three_numbers(module: Importer, data: Any, expected: list[int]) -> None:
    assert module("function-handler", "palette.requests").rgb(data) == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "expected {"),
        ([1, 2, 3], "expected {"),
        ({"color": "#ff8800"}, "expected {"),
        ({"colour": "#gggggg"}, "six hex digits, got '#gggggg'"),
        ({"colour": "ff8800"}, "six hex digits"),
        ({"colour": "#ff8800\n"}, "six hex digits"),
        ({"colour": [1, 2]}, "three whole numbers"),
        ({"colour": [1, 2, 256]}, "three whole numbers"),
        ({"colour": [1, 2, -1]}, "three whole numbers"),
        ({"colour": [1, 2, 0.5]}, "three whole numbers"),
        ({"colour": [True, False, True]}, "three whole numbers"),
        ({"colour": None}, "three whole numbers"),
    ],
)
def test_what_is_no_colour_is_refused_with_the_reason(module: Importer, data: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        module("function-handler", "palette.requests").rgb(data)
