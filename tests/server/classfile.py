"""Reads the string constants of a compiled Java class: the truth about a program's keys, without a JDK.

Source: The Java Virtual Machine Specification, chapter 4 (the class file format).
"""

from __future__ import annotations

import struct

_SIZES = {3: 4, 4: 4, 5: 8, 6: 8, 7: 2, 8: 2, 9: 4, 10: 4, 11: 4, 12: 4, 15: 3, 16: 2, 17: 4, 18: 4, 19: 2, 20: 2}
"""Bytes after the tag of each kind of constant, but UTF-8 (1), which says its own."""


def string_constants(data: bytes) -> dict[str, str]:
    """The fields that are constant strings (`static final String X = "…"`), by name."""
    pool, offset = _constant_pool(data)
    offset += 6  # access flags, this class, super class
    (interfaces,) = struct.unpack_from(">H", data, offset)
    offset += 2 + 2 * interfaces
    (fields,) = struct.unpack_from(">H", data, offset)
    offset += 2
    found = {}
    for _ in range(fields):
        _, name, _, attributes = struct.unpack_from(">HHHH", data, offset)
        offset += 8
        for _ in range(attributes):
            attribute, length = struct.unpack_from(">HI", data, offset)
            if pool[attribute] == "ConstantValue":
                (index,) = struct.unpack_from(">H", data, offset + 6)
                value = pool.get(index)
                if isinstance(value, int):  # a String constant names its characters
                    found[str(pool[name])] = str(pool[value])
            offset += 6 + length
    return found


def _constant_pool(data: bytes) -> tuple[dict[int, str | int], int]:
    """UTF-8 constants as text and String constants as the index of their text; where the pool ends."""
    magic, _, _, count = struct.unpack_from(">IHHH", data)
    assert magic == 0xCAFEBABE
    pool: dict[int, str | int] = {}
    offset, index = 10, 1
    while index < count:
        tag = data[offset]
        offset += 1
        if tag == 1:
            (length,) = struct.unpack_from(">H", data, offset)
            pool[index] = data[offset + 2 : offset + 2 + length].decode("utf-8", "replace")
            offset += 2 + length
        else:
            if tag == 8:
                (pool[index],) = struct.unpack_from(">H", data, offset)
            offset += _SIZES[tag]
        index += 2 if tag in {5, 6} else 1  # long and double take two places
    return pool, offset
