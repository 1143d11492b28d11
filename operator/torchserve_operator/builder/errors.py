"""What went wrong with a build, in words that a user can act on."""


class BuildError(Exception):
    """A build cannot go on, and why.

    Attributes:
        field: Where in the resource the cause is, such as `spec.models[0].archive.url`; empty where it is nowhere.
        message: What is wrong and what was expected, one line, without anything secret.
        hint: What to do about it, one line; may be empty.
    """

    def __init__(self, field: str, message: str, hint: str = "") -> None:
        super().__init__(": ".join(filter(None, (field, message))) + (f"; {hint}" if hint else ""))
        self.field = field
        self.message = message
        self.hint = hint


class PassingError(BuildError):
    """A build cannot go on for now: the same build may succeed later, unchanged."""
