"""Follows a log file that may be rotated, or may not be there yet."""

from __future__ import annotations

import os
from typing import BinaryIO, List, Optional

_BLOCK = 1 << 18
"""Bytes read at a time; what a flood writes beyond that waits for the next call."""
_LINE = 8192
"""Longer lines are cut: what we look for is at the beginning."""


class Tail:
    """The complete lines written to `path` since the last call."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: Optional[BinaryIO] = None
        self._rest = b""

    def lines(self) -> List[str]:
        """Never raises for a file that is missing or unreadable: there is nothing to read, then."""
        found = self._read()
        if self._rotated():
            # What was written to the old file after our read is read before it is left.
            found += self._read()
            self._close()
            found += self._read()
        return found

    def _read(self) -> List[str]:
        if self._file is None:
            try:
                self._file = open(self._path, "rb")  # noqa: SIM115 - kept open between calls
            except OSError:
                return []
        data = self._rest + self._file.read(_BLOCK)
        lines = data.split(b"\n")
        self._rest = lines.pop()[:_LINE]
        return [line[:_LINE].decode("utf-8", "replace") for line in lines]

    def _rotated(self) -> bool:
        if self._file is None:
            return False
        try:
            now = os.stat(self._path)
        except OSError:
            return False
        mine = os.fstat(self._file.fileno())
        return (now.st_ino, now.st_dev) != (mine.st_ino, mine.st_dev) or now.st_size < self._file.tell()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None
        self._rest = b""
