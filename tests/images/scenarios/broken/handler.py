"""A handler with an import that fails, as a forgotten requirement does."""

import no_such_module_for_test


class Broken:
    """Never made."""

    def initialize(self, context):
        """Never called."""
        no_such_module_for_test.load()

    def handle(self, data, context):
        """Never called."""
        return data
