"""Real servers on the loopback, and builds against them."""

import hashlib
from collections.abc import Iterator

import pytest

from testbed.base_images import Pushed, push_image
from testbed.builds import BASE_LAYERS, Builder, plan_for
from testbed.image_reader import ImageReader
from testbed.oci_registry import OciRegistry
from testbed.registryproxy import RegistryProxy


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OciRegistry]:
    """An open registry that all tests share: each takes repositories of its own."""
    with OciRegistry(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture
def proxy(registry: OciRegistry) -> Iterator[RegistryProxy]:
    """What misbehaves before it."""
    with RegistryProxy(registry.host) as server:
        yield server


@pytest.fixture
def space(request: pytest.FixtureRequest) -> str:
    """A part of repositories' paths that no other test has."""
    return f"t{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]}"


@pytest.fixture
def base(registry: OciRegistry, space: str) -> Pushed:
    """A base image of two layers."""
    return push_image(registry.host, f"{space}/base", "1", BASE_LAYERS)


@pytest.fixture
def image(registry: OciRegistry, space: str) -> ImageReader:
    """Reads what was built."""
    return ImageReader(registry.host, f"{space}/image")


@pytest.fixture
def builder(registry: OciRegistry, base: Pushed, space: str) -> Builder:
    """Builds against the open registry."""
    assert base.name == f"{registry.host}/{space}/base"
    return Builder(plan_for(registry.host, space))


@pytest.fixture
def through_proxy(registry: OciRegistry, proxy: RegistryProxy, base: Pushed, space: str) -> Builder:
    """The same, through the proxy."""
    assert base.name == f"{registry.host}/{space}/base"
    return Builder(plan_for(registry.host, space, {registry.host: proxy.url}))
