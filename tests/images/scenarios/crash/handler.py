"""A worker that is gone without an exception, as after a segmentation fault in a native library."""

import os


class Crash:
    """Ends its process while it loads."""

    def initialize(self, context):
        """Exits with ``exitCode`` of the parameters, 3 without."""
        os._exit(int((context.model_yaml_config or {}).get("exitCode", 3)))

    def handle(self, data, context):
        """Never called."""
        return data
