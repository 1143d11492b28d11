"""One namespace of a real API server, and short ways to act in it as a user would."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from kubernetes.aio.client.configuration import Configuration

from testbed.apiserver import ApiServer
from torchserve_operator.agent.bundle import AgentBundle
from torchserve_operator.app.operator import Operator, running
from torchserve_operator.app.settings import Settings
from torchserve_operator.kube.client import Client
from torchserve_operator.kube.kinds import CONFIG_MAP, DEPLOYMENT, POD_DISRUPTION_BUDGET, SERVICE, SERVICE_ACCOUNT, Kind
from torchserve_operator.reconcile.projections import RESOURCE

Object = dict[str, Any]

CHILDREN = (SERVICE_ACCOUNT, CONFIG_MAP, SERVICE, DEPLOYMENT, POD_DISRUPTION_BUDGET)
MINIMAL: Object = {"image": "registry.example/digits@sha256:1", "models": [{"name": "digits"}]}


class World:
    """One namespace, and short ways to act in it as a user would."""

    def __init__(self, api: ApiServer, configuration: Configuration, client: Client, namespace: str) -> None:
        self.api = api
        self.configuration = configuration
        self.client = client
        self.namespace = namespace

    def settings(self, **changes: Any) -> Settings:
        return Settings(namespaces=self.namespace, **changes)  # type: ignore[arg-type]  # split by a validator

    @contextlib.asynccontextmanager
    async def operator(self, bundle: AgentBundle | None = None, **changes: Any) -> AsyncIterator[Operator]:
        async with running(Operator(self.settings(**changes), self.configuration, bundle)) as operator:
            yield operator

    async def create(self, name: str = "digits", **spec: Any) -> Object:
        base = {key: value for key, value in MINIMAL.items() if key != "image" or "build" not in spec}
        return await self.client.create(
            RESOURCE, {"metadata": {"namespace": self.namespace, "name": name}, "spec": {**base, **spec}}
        )

    async def patch(self, kind: Kind, name: str, patch: Object) -> Object:
        return await self.client.patch_merge(kind, self.namespace, name, patch)

    async def get(self, kind: Kind, name: str = "digits") -> Object | None:
        return await self.client.get(kind, self.namespace, name)

    async def all_of(self, kind: Kind) -> list[Object]:
        answer = await self.client.request("GET", kind.path(self.namespace))
        return list(answer["items"])

    async def eventually(self, question: Callable[[], Awaitable[Any]], seconds: float = 15.0) -> Any:
        """Return the question's first true answer."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            answer = await question()
            if answer:
                return answer
            assert loop.time() < deadline, f"not so after {seconds} s; last answer: {answer!r}"
            await asyncio.sleep(0.05)

    async def condition(self, kind: str, status: str, name: str = "digits", reason: str | None = None) -> Object:
        async def question() -> Object | None:
            resource = await self.get(RESOURCE, name)
            found = (resource or {}).get("status", {}).get("conditions", [])
            return next(
                (
                    c
                    for c in found
                    if resource is not None
                    and (c["type"], c["status"]) == (kind, status)
                    and reason in {None, c["reason"]}
                    and c["observedGeneration"] == resource["metadata"]["generation"]
                ),
                None,
            )

        answer: Object = await self.eventually(question)
        return answer

    async def at_rest(self, operator: Operator) -> None:
        """Wait until the operator has nothing to do and the API server's events have come in."""
        quiet = 0

        async def question() -> bool:
            nonlocal quiet
            quiet = quiet + 1 if operator.queue.idle else 0
            return quiet > 8

        await self.eventually(question)

    async def child_names(self) -> dict[str, list[str]]:
        return {kind.name: sorted(item["metadata"]["name"] for item in await self.all_of(kind)) for kind in CHILDREN}


def template_of(deployment: Object) -> Object:
    return dict(deployment["spec"]["template"])


def container_of(deployment: Object) -> Object:
    return dict(deployment["spec"]["template"]["spec"]["containers"][0])
