"""torchserve-operator: one TorchServeModel becomes a running, truthful TorchServe deployment."""
