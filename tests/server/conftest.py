"""Fixtures: the images, and containers of them that are removed when their test ends."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import Served, Setup, Start, serve

from testbed import project_images


def _image(variable: str, tag: str) -> str:
    """An image named by the environment, or this project's, built when missing."""
    if variable not in os.environ:
        project_images.named(tag).build()
    return os.environ.get(variable, tag)


@pytest.fixture(scope="session")
def runtime() -> str:
    """The runtime image of this project: TorchServe 0.12, Python 3.13, Java 21."""
    return _image("TORCHSERVE_TEST_IMAGE", project_images.RUNTIME)


@pytest.fixture(scope="session")
def legacy() -> str:
    """An image like upstream's older ones: TorchServe 0.11.1, Python 3.11, Java 17, TEMP in its home."""
    return _image("TORCHSERVE_TEST_LEGACY_IMAGE", project_images.LEGACY)


@pytest.fixture(params=["runtime", "legacy"])
def image(request: pytest.FixtureRequest) -> str:
    """Each of both."""
    name: str = request.getfixturevalue(request.param)
    return name


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts containers that end with the test."""
    with contextlib.ExitStack() as stack:

        def begin(setup: Setup) -> Served:
            # Not tmp_path: its parents are closed to other users, and the container runs as one.
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            return stack.enter_context(serve(setup, folder))

        yield begin
