"""Progress for people: one line when something begins, one when it is done, each with its time."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

_BEGAN = time.monotonic()


def say(message: str) -> None:
    """Print one line to stderr, after the seconds since the process began (stdout is for answers)."""
    print(f"[{time.monotonic() - _BEGAN:6.1f} s] {message}", file=sys.stderr, flush=True)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Say that ``name`` begins, and when it is done how long it took; a failure is said, too."""
    say(f"{name} ...")
    began = time.monotonic()
    try:
        yield
    except BaseException:
        say(f"{name}: failed after {time.monotonic() - began:.1f} s")
        raise
    say(f"{name}: done in {time.monotonic() - began:.1f} s")
