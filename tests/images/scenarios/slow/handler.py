"""Takes its time to load: ``loadSeconds`` of its parameters, 20 without."""

import time


class Slow:
    """Sleeps in ``initialize``."""

    def initialize(self, context):
        """Loads for ``loadSeconds``."""
        self.seconds = float((context.model_yaml_config or {}).get("loadSeconds", 20))
        time.sleep(self.seconds)

    def handle(self, data, context):
        """Says how long it took."""
        return [{"loadSeconds": self.seconds} for _ in data]
