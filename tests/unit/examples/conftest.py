"""Modules of an example, imported as they import each other: by their bare names, from their own folder."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"

Importer = Callable[[str, str], ModuleType]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Importer]:
    """``module("production", "features")`` imports examples/production/features.py; gone again after the test."""
    before = set(sys.modules)

    def load(folder: str, name: str) -> ModuleType:
        monkeypatch.syspath_prepend(EXAMPLES / folder)
        return importlib.import_module(name)

    yield load
    for name in set(sys.modules) - before:
        if str(EXAMPLES) in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]
