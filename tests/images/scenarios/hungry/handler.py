"""Fills memory while it loads: ``allocateMiB`` of its parameters, 64 without."""

MIB = 1 << 20


class Hungry:
    """Keeps what it allocated."""

    def initialize(self, context):
        """Allocates, and touches every page: memory nobody wrote to costs nothing."""
        mebibytes = int((context.model_yaml_config or {}).get("allocateMiB", 64))
        self.held = [b"\1" * MIB for _ in range(mebibytes)]

    def handle(self, data, context):
        """Says how much it holds."""
        return [{"allocatedMiB": len(self.held)} for _ in data]
