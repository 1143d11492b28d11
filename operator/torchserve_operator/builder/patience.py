"""How often and after what waits something is tried again."""

import email.utils
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from torchserve_operator.builder.cancel import Cancellation
from torchserve_operator.builder.errors import BuildError, PassingError

Result = TypeVar("Result")

TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which another try may help."""


def retry_after(header: str, now: float) -> float | None:
    """Return the seconds of a Retry-After header, which has seconds or a date; None for none."""
    if re.fullmatch(r"\s*[0-9]{1,9}\s*", header):
        return float(header)
    try:
        return max(email.utils.parsedate_to_datetime(header).timestamp() - now, 0.0)
    except (ValueError, TypeError, IndexError):
        return None


class TryFailedError(Exception):
    """A try failed.

    Attributes:
        error: What the user reads if it was the last one.
        transient: Whether another try may help.
        retry_after: Seconds to wait as the server said; None if it did not.
    """

    def __init__(self, error: BuildError, *, transient: bool, retry_after: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.transient = transient
        self.retry_after = retry_after

    @property
    def final(self) -> BuildError:
        """What is raised when no more is tried."""
        error = self.error
        return PassingError(error.field, error.message, error.hint) if self.transient else error


@dataclass(frozen=True, slots=True)
class Patience:
    """Tries and the waits between them.

    Attributes:
        tries: In all.
        first: Seconds of the first wait; each is twice the one before.
        longest: Seconds that one wait takes at most.
        longest_asked: The same where the server said how long to wait.
    """

    tries: int = 6
    first: float = 0.5
    longest: float = 15.0
    longest_asked: float = 120.0

    def delay(self, failed: int, retry_after: float | None = None) -> float:
        """Return the seconds to wait after so many failed tries; what the server asks for counts more."""
        if retry_after is not None:
            return min(max(retry_after, 0.0), self.longest_asked)
        return float(min(self.first * 2 ** (failed - 1), self.longest))

    def persist(self, action: Callable[[], Result], cancellation: Cancellation) -> Result:
        """Do it until it succeeds, cannot succeed, or the tries are used up.

        Raises:
            BuildError: The last try's; PassingError if more tries might have helped.
        """
        failed = 0
        while True:
            cancellation.check()
            try:
                return action()
            except TryFailedError as interrupted:
                failed += 1
                if not interrupted.transient or failed >= self.tries:
                    raise interrupted.final from interrupted
                cancellation.wait(self.delay(failed, interrupted.retry_after))
