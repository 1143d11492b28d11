"""The end of a build before its end: everything that takes long asks here whether it shall go on."""

import threading

from torchserve_operator.builder.errors import BuildError


class BuildCancelledError(BuildError):
    """The build was told to stop."""

    def __init__(self) -> None:
        super().__init__("", "the build was cancelled", "")


class Cancellation:
    """Set once, by a signal or by a part of the build that failed; seen by all threads."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """End the build at the next look."""
        self._event.set()

    @property
    def cancelled(self) -> bool:
        """Whether the build shall end."""
        return self._event.is_set()

    def check(self) -> None:
        """Go on, or raise BuildCancelledError."""
        if self._event.is_set():
            raise BuildCancelledError

    def wait(self, seconds: float) -> None:
        """Wait, or raise BuildCancelledError as soon as the build shall end."""
        if self._event.wait(seconds):
            raise BuildCancelledError
