"""From a resource to its children: how long, by the API server's clock, beside a bare client that writes the same.

Once one resource at a time, the two taking turns, and once as a burst.
"""

import asyncio
import functools
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

import aiohttp

from bench import histogram
from bench.audit_tail import AuditTail, Write
from bench.figures import Result, median, percentile
from bench.objects import CHILDREN, api_server, create, each, namespace, resource, wanted
from bench.process import OperatorProcess
from testbed.apiserver import ApiServer
from torchserve_operator.kube.client import APPLY, Client
from torchserve_operator.reconcile.projections import RESOURCE

_PATIENCE = 120.0
_PAUSE = 0.05
"""Seconds between one resource and the next: the operator's status is written, the bench's garbage collected."""


@dataclass
class Made:
    """What became of one resource: when its creation was answered, and each child's."""

    created: float = 0.0
    children: list[tuple[str, float]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether all children are there."""
        return len(self.children) == len(CHILDREN)

    @property
    def milliseconds(self) -> float:
        """From the resource's creation to the last child's."""
        return (max(done for _, done in self.children) - self.created) * 1000


class Book:
    """Keeps what the audit log says of each resource."""

    def __init__(self, api: ApiServer) -> None:
        self._tail = AuditTail(api.audit.path)
        self.made: dict[tuple[str, str], Made] = {}
        self.writes = 0

    def read(self) -> None:
        """Read on."""
        for write in self._tail.writes():
            self.writes += 1
            self._enter(write)

    async def until(self, done: Callable[[], bool]) -> None:
        """Read on until something is so."""
        deadline = time.monotonic() + _PATIENCE
        self.read()
        while not done():
            if time.monotonic() > deadline:
                raise RuntimeError(f"not all children are there after {_PATIENCE:.0f} s")
            await asyncio.sleep(0.005)
            self.read()

    def complete(self, where: str, name: str) -> bool:
        """Whether a resource has all its children."""
        found = self.made.get((where, name))
        return found is not None and found.complete

    def _enter(self, write: Write) -> None:
        made = self.made.setdefault((write.namespace, write.name.partition("-")[0]), Made())
        if write.resource == RESOURCE.plural and write.verb == "create":
            made.created = write.done
        elif write.resource in CHILDREN and not made.complete:
            made.children.append((write.resource, write.done))


class BareClient:
    """Writes children as plainly as it can be done: one request after the other, nothing read, nothing compared."""

    def __init__(self, api: ApiServer) -> None:
        self._api = api

    async def __aenter__(self) -> Self:
        trust = ssl.create_default_context(cafile=str(self._api.ca))
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trust), headers={"Authorization": f"Bearer {self._api.token}"}
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def write(self, client: Client, where: str, name: str) -> None:
        """Create a resource that no operator serves, and its children."""
        created = await client.create(RESOURCE, resource(where, name))
        for kind, body in wanted(created):
            url = f"{self._api.url}{kind.path(where, body['metadata']['name'])}"
            query = {"fieldManager": "torchserve-operator", "force": "true"}
            async with self._http.patch(url, params=query, json=body, headers={"Content-Type": APPLY}) as answer:
                answer.raise_for_status()
                await answer.read()


@dataclass(frozen=True)
class Stage:
    """An API server with the operator at work in one namespace, and nobody in another."""

    api: ApiServer
    client: Client
    bare: BareClient
    operator: OperatorProcess
    ours: str
    plain: str


async def measure(count: int = 300) -> Result:
    """Measure with ``count`` resources one at a time, and as many at once."""
    result = Result()
    async with api_server() as (api, client), BareClient(api) as bare:
        ours, plain = await namespace(client, "ours"), await namespace(client, "plain")
        async with OperatorProcess(api, ours) as operator:
            stage = Stage(api, client, bare, operator, ours, plain)
            await _one_at_a_time(result, stage, count)
            await _burst(result, stage, count)
            result.samples["complaints"] = operator.complaints()
    return result


async def _one_at_a_time(result: Result, stage: Stage, count: int) -> None:
    names = [f"s{number:05}" for number in range(count)]
    book = Book(stage.api)
    for name in names:
        await stage.client.create(RESOURCE, resource(stage.ours, name))
        await book.until(functools.partial(book.complete, stage.ours, name))
        await asyncio.sleep(_PAUSE)
        await stage.bare.write(stage.client, stage.plain, name)
        await book.until(functools.partial(book.complete, stage.plain, name))
        await asyncio.sleep(_PAUSE)
    await stage.operator.at_rest()
    taken = [book.made[stage.ours, name].milliseconds for name in names]
    control = [book.made[stage.plain, name].milliseconds for name in names]
    result.samples |= {"one_at_a_time_ms": taken, "one_at_a_time_control_ms": control}
    result.add("children_p50_ms", median(taken), "ms", "resource created → its 6 children written, one at a time")
    result.add("children_p99_ms", percentile(taken, 99), "ms", "the same, 99th percentile")
    result.add("children_control_p50_ms", median(control), "ms", "the same objects by a bare client, in turn")
    result.add("children_control_p99_ms", percentile(control, 99), "ms", "the same, 99th percentile")
    result.add("children_ratio", median(taken) / median(control), "1", "the operator's median over the bare client's")
    title = f"Resource created → its six children written ({count} resources, one at a time)"
    result.pictures["children"] = histogram.svg(title, "milliseconds", {"operator": taken, "bare client": control})


async def _burst(result: Result, stage: Stage, count: int) -> None:
    names = [f"b{number:05}" for number in range(count)]
    book, cpu = Book(stage.api), stage.operator.cpu()
    await create(stage.client, stage.ours, names)
    await book.until(lambda: all(book.complete(stage.ours, name) for name in names))
    await stage.operator.at_rest()
    cpu = stage.operator.cpu() - cpu
    await each(names, lambda name: stage.bare.write(stage.client, stage.plain, name))
    await book.until(lambda: all(book.complete(stage.plain, name) for name in names))
    taken, control = (_span([book.made[at, name] for name in names]) for at in (stage.ours, stage.plain))
    latencies = [book.made[stage.ours, name].milliseconds for name in names]
    result.samples |= {"burst_ms": latencies, "burst_seconds": taken, "burst_control_seconds": control}
    result.add("children_burst_p50_ms", median(latencies), "ms", f"the same in a burst of {count}: waiting included")
    result.add("children_burst_p99_ms", percentile(latencies, 99), "ms", "the same, 99th percentile")
    result.add("children_per_second", count / taken, "1/s", "resources a second in the burst")
    result.add("children_control_per_second", count / control, "1/s", "the same by a bare client, 16 at a time")
    result.add("create_cpu_ms", cpu / count * 1000, "ms", "the operator's CPU for a resource, status writes included")


def _span(made: list[Made]) -> float:
    """Seconds from the first resource's creation to the last child's."""
    return max(done for one in made for _, done in one.children) - min(one.created for one in made)
