"""Writes JSON values as text that every YAML 1.1 parser (PyYAML, SnakeYAML) reads back as the same values.

JSON is nearly YAML, with four traps: surrogate pairs are no YAML escapes, a float like 1e+16 is a string in YAML 1.1,
some characters that JSON leaves as they are may not stand in YAML, and long keys need a mark.
"""

from __future__ import annotations

from typing import Any, Dict

_LONG_KEY = 1000
_NOT_FINITE = {"nan": ".nan", "inf": ".inf", "-inf": "-.inf"}


def dump(value: Any) -> str:
    """`value` as flow-style YAML, which is JSON but for the escapes."""
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, dict):
        return "{" + ", ".join(_pair(key, item) for key, item in value.items()) + "}"
    return "[" + ", ".join(dump(item) for item in value) + "]"


def dump_document(mapping: Dict[Any, Any]) -> str:
    """One key a line, for whoever looks into the pod."""
    return "{\n" + ",\n".join(_pair(key, item) for key, item in mapping.items()) + "\n}\n"


def _pair(key: Any, item: Any) -> str:
    """YAML looks no more than 1024 characters ahead for the colon, unless it is told that this is a key."""
    written = dump(key)
    return "%s%s: %s" % ("? " if len(written) > _LONG_KEY else "", written, dump(item))


def _float(value: float) -> str:
    text = repr(value)
    if text in _NOT_FINITE:
        return _NOT_FINITE[text]
    if "e" not in text:
        return text
    mantissa, exponent = text.split("e")
    if "." not in mantissa:
        mantissa += ".0"
    return "%se%s" % (mantissa, exponent if exponent[0] in "+-" else "+" + exponent)


def _string(text: str) -> str:
    out = ['"']
    for character in text:
        code = ord(character)
        if character in '"\\':
            out.append("\\" + character)
        elif 0x20 <= code < 0x7F:
            out.append(character)
        elif code <= 0xFF:
            out.append("\\x%02X" % code)
        elif code <= 0xFFFF:
            out.append("\\u%04X" % code)
        else:
            out.append("\\U%08X" % code)
    out.append('"')
    return "".join(out)
