"""Quantities: what they are worth, and how the API server writes them."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve_operator.api.quantity import canonical_quantity, parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", "0"),
        ("1", "1"),
        (2, "2"),
        ("+2", "2"),
        ("-1", "-1"),
        ("1.5", "1.5"),
        (".5", "0.5"),
        ("5.", "5"),
        ("500m", "0.5"),
        ("100u", "0.0001"),
        ("1n", "1e-9"),
        ("2k", "2000"),
        ("3M", "3e6"),
        ("1G", "1e9"),
        ("1T", "1e12"),
        ("1P", "1e15"),
        ("1E", "1e18"),
        ("1e3", "1000"),
        ("1E3", "1000"),
        ("12e-1", "1.2"),
        ("1Ki", "1024"),
        ("1Mi", str(2**20)),
        ("1.5Gi", str(3 * 2**29)),
        ("1Ti", str(2**40)),
        ("1Pi", str(2**50)),
        ("1Ei", str(2**60)),
    ],
)
def test_a_quantity_is_worth_its_number_times_its_suffix(text: str | int, value: str) -> None:
    assert parse_quantity(text) == Decimal(value)


@pytest.mark.parametrize(
    "text", ["", " 1", "1 ", "1\n", "one", "1GB", "1gi", "1K", "1 Gi", "--1", "1e", ".", "1.2.3", "1mi", "٣", "1e1000"]
)
def test_what_is_no_quantity_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity; write a number with an optional suffix"):
        parse_quantity(text)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("1000m", "1"),
        ("1024Mi", "1Gi"),
        ("0.5", "500m"),
        ("0.5Gi", "512Mi"),
        ("1.5Gi", "1536Mi"),
        ("512Ki", "512Ki"),
        ("0.5Ki", "512"),
        ("1e9", "1e9"),
        ("1000e6", "1e9"),
        ("1000k", "1M"),
        ("1500", "1500"),
        ("2000", "2k"),
        ("2147483648", "2147483648"),
        ("+2G", "2G"),
        ("0Mi", "0"),
        ("1m", "1m"),
        ("100u", "1m"),
        ("1.0001Ki", "1025"),
        ("8Ei", "9223372036854775807"),
        ("1e30", "9223372036854775807"),
    ],
)
def test_the_canonical_form_is_the_api_servers(text: str, canonical: str) -> None:
    assert canonical_quantity(text) == canonical


numbers = st.decimals(min_value=0, max_value=10**6, places=1, allow_nan=False, allow_infinity=False)
suffixes = st.sampled_from(["", "k", "M", "G", "Mi", "Gi", "e3", "E2"])
quantities = st.builds(lambda number, suffix: f"{number}{suffix}", numbers, suffixes)


@given(quantities)
def test_the_canonical_form_keeps_the_value_to_a_thousandth_or_a_byte(text: str) -> None:
    difference = parse_quantity(canonical_quantity(text)) - parse_quantity(text)
    assert 0 <= difference < (1 if text.endswith("i") else Decimal("0.001"))


@given(quantities)
def test_the_canonical_form_is_its_own(text: str) -> None:
    once = canonical_quantity(text)
    assert canonical_quantity(once) == once


@given(st.text(max_size=12))
def test_any_text_is_a_finite_quantity_or_no_quantity(text: str) -> None:
    try:
        amount = parse_quantity(text)
    except ValueError:
        return
    assert amount.is_finite()
