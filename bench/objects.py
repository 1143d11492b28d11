"""What the benches put into an API server: resources, and a kubelet's part played for their pods."""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar

from aiohttp import web

from testbed.apiserver import ApiServer
from testbed.definition import wait_established
from torchserve_operator.agent.bundle import agent_bundle
from torchserve_operator.api.names import AGENT_PORT, API_VERSION, CONTAINER, KIND
from torchserve_operator.api.parse import parse_spec
from torchserve_operator.desired.children import children
from torchserve_operator.desired.render import in_write_order
from torchserve_operator.kube.client import Client, load_configuration
from torchserve_operator.kube.kinds import CONFIG_MAP, DEPLOYMENT, POD, Kind
from torchserve_operator.reconcile.projections import RESOURCE

Object = dict[str, Any]
T = TypeVar("T")

_AGENTS = [f"127.78.0.{last}" for last in range(1, 255)]
"""Where the agents of all pretended pods may answer: the first address that no other bench has taken."""
CHILDREN = ("configmaps", "configmaps", "configmaps", "deployments", "serviceaccounts", "services")
"""What a plain resource has, as the audit log names it."""
SPEC: Object = {
    "image": "registry.example/digits@sha256:" + "1" * 64,
    "models": [{"name": "digits", "minWorkers": 1, "maxWorkers": 2, "batchSize": 8}],
    "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "2Gi"}},
}


@asynccontextmanager
async def api_server() -> AsyncIterator[tuple[ApiServer, Client]]:
    """A fresh API server that knows the resource, with addresses for thousands of Services, and a client of it."""
    # Starting it waits by sleeping, and nothing else is to be done meanwhile.
    with ApiServer(arguments=["--service-cluster-ip-range=10.0.0.0/12"]) as api:
        api.kubectl("apply", "--server-side", "-k", "crds")
        wait_established(api)
        with _kubeconfig(api):
            configuration = await load_configuration()
        async with Client(configuration, "bench", timeout=60.0) as client:
            yield api, client


async def namespace(client: Client, name: str) -> str:
    """Create a namespace; return its name."""
    await client.request("POST", "/api/v1/namespaces", body={"metadata": {"name": name}})
    return name


def resource(where: str, name: str) -> Object:
    """A TorchServeModel."""
    metadata = {"namespace": where, "name": name}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": SPEC}


async def create(client: Client, where: str, names: Iterable[str], at_once: int = 16) -> None:
    """Create TorchServeModels."""
    await each(names, lambda name: client.create(RESOURCE, resource(where, name)), at_once)


def wanted(created: Object) -> list[tuple[Kind, Object]]:
    """The children of a resource as the operator would write them, in its order."""
    made = children(created["metadata"], parse_spec(created["spec"]), agent_bundle())
    return [(kind, {"apiVersion": kind.api_version, "kind": kind.name, **body}) for kind, body in in_write_order(made)]


async def each(items: Iterable[T], work: Callable[[T], Awaitable[Any]], at_once: int = 16) -> None:
    """Do some work for each item, a bounded number at once."""
    rest = iter(items)

    async def worker() -> None:
        for item in rest:
            await work(item)

    await asyncio.gather(*(worker() for _ in range(at_once)))


class Kubelet:
    """Plays deployment controller, scheduler and kubelet for resources with one replica.

    Args:
        client: The API server.
        where: The resources' namespace.
        agents: Who answers for the pods' agents.
    """

    def __init__(self, client: Client, where: str, agents: "Agents") -> None:
        self._client = client
        self._where = where
        self._address = agents.address

    async def pod(self, name: str) -> None:
        """Make the pod that the Deployment asks for; nothing runs yet."""
        deployment = await self._client.get(DEPLOYMENT, self._where, name)
        assert deployment is not None, f"there is no Deployment {name}"
        template = deployment["spec"]["template"]
        labels = {**template["metadata"]["labels"], "pod-template-hash": "5d4f8c7b9"}
        metadata = {**template["metadata"], "name": f"{name}-5d4f8c7b9-x2x4z", "labels": labels}
        body = {"metadata": {**metadata, "namespace": self._where}, "spec": template["spec"]}
        await self._client.create(POD, body)
        await self._status(name, {"phase": "Pending", "conditions": [_condition("PodScheduled", value=True)]})

    async def creating(self, name: str) -> None:
        """Pull the image and mount what there is to mount."""
        state = {"waiting": {"reason": "ContainerCreating"}}
        conditions = [_condition("PodScheduled", value=True), _condition("Ready", value=False)]
        await self._status(name, _container("Pending", state, conditions, ready=False))

    async def running(self, name: str, *, ready: bool) -> None:
        """Start the container; or, if ``ready``, see its probes succeed."""
        state = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
        conditions = [_condition("PodScheduled", value=True), _condition("Ready", value=ready)]
        status = _container("Running", state, conditions, ready=ready)
        await self._status(name, {**status, "podIP": self._address, "podIPs": [{"ip": self._address}]})

    async def all(self, name: str) -> None:
        """Bring a pod from nothing to ready."""
        await self.pod(name)
        await self.running(name, ready=True)

    async def _status(self, name: str, status: Object) -> None:
        patch = {"status": status}
        await self._client.patch_merge(POD, self._where, f"{name}-5d4f8c7b9-x2x4z", patch, subresource="status")


class Agents:
    """Answers for the agents of all pretended pods, while the block lasts.

    Attributes:
        serving: Whether their servers have loaded their models.
        address: Where all of them answer.
        reads: How often one was read.
    """

    def __init__(self, *, serving: bool = True) -> None:
        self.serving = serving
        self.address = ""
        self.reads = 0
        policy = next(b for k, b in wanted(_nobodys()) if k == CONFIG_MAP and b["metadata"]["name"] == "nobody-policy")
        self._policy = hashlib.sha256(policy["data"]["policy.json"].encode()).hexdigest()

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_get("/status", self._status)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        for address in _AGENTS:
            with contextlib.suppress(OSError):
                await web.TCPSite(self._runner, address, AGENT_PORT).start()
                self.address = address
                return self
        raise RuntimeError(f"port {AGENT_PORT} is taken at each of {_AGENTS[0]} to {_AGENTS[-1]}")

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _status(self, _: web.Request) -> web.Response:
        self.reads += 1
        ready = int(self.serving)
        model = {"name": "digits", "version": "1.0", "minWorkers": 1, "readyWorkers": ready, "error": None}
        state = {"started": self.serving, "ready": self.serving, "state": "Running" if self.serving else "Starting"}
        return web.json_response({"schema": 1, "policyHash": self._policy, "models": [model], "warnings": [], **state})


@contextlib.contextmanager
def _kubeconfig(api: ApiServer) -> Any:
    before = os.environ.get("KUBECONFIG")
    os.environ["KUBECONFIG"] = str(api.kubeconfig)
    try:
        yield
    finally:
        if before is None:
            del os.environ["KUBECONFIG"]
        else:
            os.environ["KUBECONFIG"] = before


def _nobodys() -> Object:
    body = resource("nowhere", "nobody")
    return {**body, "metadata": {**body["metadata"], "uid": "0"}}


def _condition(kind: str, *, value: bool) -> Object:
    return {"type": kind, "status": str(value), "lastTransitionTime": "2026-01-01T00:00:00Z"}


def _container(phase: str, state: Object, conditions: list[Object], *, ready: bool) -> Object:
    container = {
        "name": CONTAINER,
        "state": state,
        "ready": ready,
        "restartCount": 0,
        "image": SPEC["image"],
        "imageID": SPEC["image"] if "running" in state else "",
    }
    return {"phase": phase, "conditions": conditions, "containerStatuses": [container]}
