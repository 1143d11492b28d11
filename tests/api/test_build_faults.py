"""What breaks between the operator and the API server during a build: no Job is lost, and none is made twice."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from test_builds import ARCHIVE, SETTINGS, Cluster, build, has_image, result
from world import World

from testbed.faultproxy import FaultProxy, Hang, LoseAnswer, Refuse
from torchserve_operator.app.operator import Operator, running
from torchserve_operator.kube.client import load_configuration
from torchserve_operator.kube.kinds import JOB
from torchserve_operator.reconcile.projections import RESOURCE


@pytest.fixture
def proxy(world: World) -> Iterator[FaultProxy]:
    with FaultProxy(world.api) as running_proxy:
        yield running_proxy


@contextlib.asynccontextmanager
async def behind(proxy: FaultProxy, world: World, **settings: Any) -> AsyncIterator[Operator]:
    """Run an operator that reaches the API server through the proxy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(proxy.kubeconfig))
        configuration = await load_configuration()
    async with running(Operator(world.settings(**{**SETTINGS, **settings}), configuration)) as operator:
        yield operator


def made(world: World) -> int:
    """Return how many Jobs were made."""
    return sum(line.startswith(f"create batch/jobs {world.namespace}/") for line in world.api.audit.writes())


@pytest.mark.parametrize(
    ("action", "method", "path"),
    [
        (LoseAnswer(), "POST", "/jobs"),
        (Refuse(500), "POST", "/jobs"),
        (Refuse(429), "PATCH", "/configmaps/"),
        (Refuse(503), "GET", "/jobs/"),
        (Hang(), "POST", "/jobs"),
        (LoseAnswer(), "PATCH", "/torchservemodels/digits/status"),
    ],
    ids=["lost", "refused", "plan refused", "read refused", "hangs", "status lost"],
)
async def test_a_build_begins_once_whatever_becomes_of_the_requests(
    world: World, proxy: FaultProxy, action: LoseAnswer | Refuse | Hang, method: str, path: str
) -> None:
    async with behind(proxy, world, api_timeout_seconds=1.0) as operator:
        cluster = Cluster(world)
        with proxy.fault(action, method=method, path=path, times=1) as fault:
            await world.create(build=build(), models=[ARCHIVE])
            await asyncio.to_thread(fault.wait)
            job = await cluster.job()
            await world.condition("ImageReady", "Unknown", reason="Building")
            await world.at_rest(operator)
        assert [item["metadata"]["uid"] for item in await cluster.jobs()] == [job["metadata"]["uid"]]
        assert made(world) == 1
        pod = await cluster.start(job)
        await cluster.ends(pod, result())
        await has_image(world, "1")


async def test_a_cancelled_job_that_cannot_be_deleted_is_deleted_later(world: World, proxy: FaultProxy) -> None:
    async with behind(proxy, world):
        await world.create(build=build(), models=[ARCHIVE])
        first = await Cluster(world).job()
        with proxy.fault(Refuse(500), method="DELETE", path="/jobs/", times=2) as fault:
            await world.patch(RESOURCE, "digits", {"spec": {"build": {"revision": "2"}}})
            await Cluster(world).job(other_than=first["metadata"]["name"])

            async def only_the_second() -> bool:
                return first["metadata"]["name"] not in [job["metadata"]["name"] for job in await world.all_of(JOB)]

            await world.eventually(only_the_second)
        assert fault.hits == 2
        assert made(world) == 2
