"""Tells which settings it was started with."""

import os


class Baked:
    """Its archives carry a model-config.yaml that contradicts every resource of the tests."""

    def initialize(self, context):
        """Keeps what the worker was given."""
        properties = context.system_properties
        self.seen = {
            "config": context.model_yaml_config or {},
            "batchSize": properties.get("batch_size"),
            "gpuId": properties.get("gpu_id"),
            "pid": os.getpid(),
        }

    def handle(self, data, context):
        """The settings, and the size of this batch."""
        return [{**self.seen, "requests": len(data)} for _ in data]
