"""Handlers that a build puts into models' folders. They run in TorchServe's workers, not in the operator."""

from __future__ import annotations

from pathlib import Path

FUNCTION_HANDLER = "torchserve_function_handler.py"
"""The file's name in a model's folder, and the handler of its manifest."""

FUNCTION_SETTINGS = "function.json"
"""What the handler reads, beside it."""


def function_handler() -> bytes:
    """The source of the handler for models that are functions."""
    return (Path(__file__).parent / "function_handler.py").read_bytes()
