"""What an archive of any format must keep to: where its entries may lie, how many they may be and how large."""

import re
from typing import NoReturn

from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.files import MAX_FILES

MAX_ENTRIES = 2 * MAX_FILES
"""Folders count too."""
MAX_RATIO = 200
"""How many bytes one byte may inflate to. Weights hardly compress at all, source code ten to one; a bomb of zeros is
1,000 to 1, and one whose entries share their bytes is far beyond."""
RATIO_COUNTS_FROM = 64 << 20
"""Smaller ones harm nobody, whatever they are made of."""

_DRIVE = re.compile(r"[A-Za-z]:")


def shown(name: str) -> str:
    """Return an entry's name as it can be printed: one line, at most 100 characters."""
    text = ascii(name)[1:-1] if any(not character.isprintable() for character in name) else name
    return text if len(text) <= 100 else f"{text[:97]}..."


class Rules:
    """The rules for one archive; it counts what it has seen.

    Attributes:
        name: The archive's name, for messages.
        field: Where in the resource it is given.
        limit: The most bytes that its files may have together.
    """

    def __init__(self, name: str, field: str, limit: int) -> None:
        self.name = name
        self.field = field
        self.limit = limit
        self._entries = 0
        self._inflated = 0

    def refuse(self, message: str, hint: str = "") -> NoReturn:
        """Raise the error that says what is wrong with the archive."""
        raise BuildError(self.field, f"{self.name} {message}", hint)

    def damaged(self, detail: str) -> NoReturn:
        """Raise the error for bytes that are not what somebody once packed."""
        self.refuse(f"is damaged: {detail}", "make it anew and upload it again")

    def path(self, name: str) -> str:
        """Return the path of an entry, normalised; empty for the archive's own root.

        `./handler.py` and `a//b` are how some tools write and are brought in shape; what leaves the archive makes the
        whole of it suspect.
        """
        self._entries += 1
        if self._entries > MAX_ENTRIES:
            self.refuse(f"has more than {MAX_ENTRIES:,} entries")
        if "\0" in name:
            self.refuse(f'has an entry whose name has a NUL: "{shown(name)}"')
        if name.startswith("/") or _DRIVE.match(name):
            self.refuse(f'has an entry with an absolute path: "{shown(name)}"', "pack it with relative paths")
        if "\\" in name:
            self.refuse(f'has an entry with a backslash in its name: "{shown(name)}"', "pack it with / between folders")
        parts = [part for part in name.split("/") if part not in {"", "."}]
        if ".." in parts:
            self.refuse(f'has an entry that leaves the archive: "{shown(name)}"')
        return "/".join(parts)

    def file(self, name: str, size: int) -> None:
        """Count a file of `size` bytes."""
        self._inflated += size
        if self._inflated > self.limit:
            self.refuse(
                f'unpacks to more than the limit of {self.limit:,} bytes, reached at "{shown(name)}"',
                "raise maxSize if that is meant",
            )

    def ratio(self, packed: int) -> None:
        """Compare what was counted with the size of the archive itself, in bytes."""
        if self._inflated > RATIO_COUNTS_FROM and self._inflated > MAX_RATIO * packed:
            self.refuse(
                f"unpacks to {self._inflated:,} bytes from {packed:,}: a zip bomb is made like this, a model is not",
                "pack the files without compression if that is meant",
            )
