"""What can go wrong here, in words for the person at the keyboard."""


class TestbedError(Exception):
    """The testbed cannot go on; the message says what is missing and what to do about it."""

    __test__ = False  # the name begins with Test, pytest must not collect it
