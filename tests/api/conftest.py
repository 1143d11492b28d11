"""A real API server without nodes; the tests play the kubelet where one is needed."""

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from world import World

from testbed.apiserver import ApiServer
from testbed.definition import wait_established
from torchserve_operator.kube.client import Client, load_configuration


@pytest.fixture(scope="session")
def api() -> Iterator[ApiServer]:
    """Return a server that knows the resource."""
    with ApiServer() as server:
        server.kubectl("apply", "--server-side", "-k", "crds")
        wait_established(server)
        yield server


@pytest.fixture
async def world(api: ApiServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig))
    configuration = await load_configuration()
    namespace = f"t-{uuid.uuid4().hex[:8]}"
    async with Client(configuration, "test") as client:
        await client.request("POST", "/api/v1/namespaces", body={"metadata": {"name": namespace}})
        yield World(api, configuration, client, namespace)
