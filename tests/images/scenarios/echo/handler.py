"""Answers at once with what it was sent."""


class Echo:
    """Returns each request's body."""

    def initialize(self, context):
        """Nothing to load."""

    def handle(self, data, context):
        """The bodies as they came."""
        return [row.get("body", row.get("data")) or "" for row in data]
