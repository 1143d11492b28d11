"""Takes its time to answer: ``serviceSeconds`` of its parameters a batch, 1 without.

A request may ask for its own time: ``{"seconds": 0.2}``; a batch takes the longest of its requests.
"""

import os
import time


class Sleepy:
    """Sleeps in ``handle``; tells who answered and in which company."""

    def initialize(self, context):
        """Reads ``serviceSeconds``."""
        self.seconds = float((context.model_yaml_config or {}).get("serviceSeconds", 1))

    def handle(self, data, context):
        """One answer a request: the worker's process, the batch's size, the seconds slept."""
        bodies = [row.get("body", row.get("data")) for row in data]
        wanted = [body["seconds"] for body in bodies if isinstance(body, dict) and "seconds" in body]
        seconds = float(max(wanted, default=self.seconds))
        time.sleep(seconds)
        return [{"pid": os.getpid(), "batchSize": len(data), "seconds": seconds} for _ in data]
