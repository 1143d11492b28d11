"""The Kubernetes layer: client, cache, queue, drift, events, watches. It knows nothing of TorchServe."""
