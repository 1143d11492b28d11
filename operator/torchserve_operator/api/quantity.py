"""Kubernetes quantities: ``500m`` CPUs, ``2Gi`` of memory.

The API server hands quantities back in its canonical form (``1000m`` comes back as ``1``): compare canonical forms, or
an unchanged object looks changed for ever. Rules: apimachinery's `resource.Quantity`.
"""

import re
from decimal import ROUND_CEILING, Decimal
from typing import Final

_BINARY: Final = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_SHAPE: Final = re.compile(
    r"(?P<number>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))(?P<suffix>[KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,3})?"
)

PATTERN: Final = r"^\+?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE][+-]?[0-9]{1,3}))?$"
"""What a non-negative quantity looks like, for the CRD's schema."""

_GREATEST: Final = 2**63 - 1
"""The API server caps a quantity here: ``8Ei`` comes back as this number."""


def parse_quantity(text: str | float) -> Decimal:
    """Return the quantity's value in its base unit (CPUs, bytes).

    Raises:
        ValueError: The text is no quantity.
    """
    match = _SHAPE.fullmatch(str(text))
    if match is None:
        raise ValueError(f'"{text}" is not a quantity; write a number with an optional suffix, such as 500m or 2Gi')
    number, suffix = Decimal(match["number"]), match["suffix"] or ""
    if suffix in _BINARY:
        return number * _BINARY[suffix]
    if suffix in _DECIMAL:
        return number.scaleb(_DECIMAL[suffix])
    return number.scaleb(int(suffix[1:]))


def canonical_quantity(text: str | float) -> str:
    """Return the quantity as the API server writes it: ``1000m`` as ``1``, ``1024Mi`` as ``1Gi``, ``0.5`` as ``500m``.

    The suffix's family (binary, decimal, exponent) is kept. As in a pod's resources, a part below a thousandth is
    rounded up, and nothing is greater than 2^63-1.

    Raises:
        ValueError: The text is no quantity.
    """
    value = parse_quantity(text)
    if value > _GREATEST:
        return str(_GREATEST)
    suffix = _SHAPE.fullmatch(str(text))["suffix"] or ""  # type: ignore[index]  # parse_quantity has matched it
    if suffix in _BINARY and abs(value) >= 1024:
        whole, unit = int(value.to_integral_value(rounding=ROUND_CEILING)), ""
        for name in _BINARY:
            if whole % 1024:
                break
            whole, unit = whole // 1024, name
        return f"{whole}{unit}"
    amount, exponent = int(value.scaleb(3).to_integral_value(rounding=ROUND_CEILING)), -3
    if amount == 0:
        return "0"
    while amount % 1000 == 0 and exponent < 18:
        amount, exponent = amount // 1000, exponent + 3
    if suffix[:1] in {"e", "E"} and len(suffix) > 1:
        return f"{amount}e{exponent}" if exponent else str(amount)
    return str(amount) + next(name for name, power in _DECIMAL.items() if power == exponent)
