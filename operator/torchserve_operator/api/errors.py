"""Errors for people: at which field, what is wrong, what was expected, the nearest valid value."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldError:
    """One error at one field of a resource.

    Attributes:
        path: The field's path as kubectl writes it, e.g. ``spec.models[0].minWorkers``.
        message: One sentence: what is wrong, what was expected.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class InvalidResourceError(ValueError):
    """A resource that cannot be served as written.

    Attributes:
        errors: Every error that was found, never empty.
    """

    def __init__(self, errors: Iterable[FieldError]) -> None:
        self.errors = tuple(errors)
        super().__init__("; ".join(str(error) for error in self.errors))


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that `word` was most likely meant to be, or None where nothing is near."""
    folded = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean "x"?`` for the nearest known word, or an empty string."""
    near = nearest(word, known)
    return f'; did you mean "{near}"?' if near else ""
