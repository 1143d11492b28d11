"""Images with the model baked in, built without a Dockerfile, root or privilege: layers streamed to a registry."""
