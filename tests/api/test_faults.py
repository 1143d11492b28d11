"""What breaks between the operator and the API server mends without help, and nothing is written twice for it."""

import asyncio
import contextlib
import io
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from world import World

from testbed.apiserver import ApiServer
from testbed.audit import Mark
from testbed.faultproxy import CutWatch, ExpireWatch, FaultProxy, Hang, LoseAnswer, Refuse
from torchserve_operator.app.logs import set_up_logging
from torchserve_operator.app.operator import Operator, running
from torchserve_operator.kube.client import Client, load_configuration
from torchserve_operator.kube.kinds import DEPLOYMENT, SERVICE
from torchserve_operator.reconcile.projections import RESOURCE, SELECTORS


@dataclass(frozen=True)
class Faulty:
    """A world whose operator reaches the API server through a proxy that misbehaves."""

    world: World
    proxy: FaultProxy
    mark: Mark
    log: io.StringIO

    @contextlib.asynccontextmanager
    async def operator(self, **changes: Any) -> AsyncIterator[Operator]:
        async with running(await self.new_operator(**changes)) as operator:
            yield operator

    async def new_operator(self, **changes: Any) -> Operator:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KUBECONFIG", str(self.proxy.kubeconfig))
            configuration = await load_configuration()
        return Operator(self.world.settings(**changes), configuration)

    async def in_shape(self, operator: Operator, name: str = "digits") -> None:
        """Wait until a resource of two replicas has everything, and the status says so."""

        async def complete() -> bool:
            there = (await self.world.child_names()).values()
            return all(any(found.startswith(name) for found in names) for names in there)

        await self.world.eventually(complete)
        await self.world.condition("Ready", "False", name, reason="Progressing")
        await self.world.at_rest(operator)

    def written(self) -> Counter[str]:
        """Count the successful writes in this world, the test's own left out."""
        writes = self.world.api.audit.writes(self.mark)
        here = [line for line in writes if f" {self.world.namespace}/" in line and not line.startswith("create ")]
        return Counter(here)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Return what the process would log; there must never be a traceback in it."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()
    set_up_logging("INFO", "text", stream)
    yield stream
    root.handlers[:], level = before
    root.setLevel(level)
    assert "Traceback" not in stream.getvalue(), stream.getvalue()
    assert "Unclosed" not in stream.getvalue(), stream.getvalue()


@pytest.fixture
async def faulty(world: World, log: io.StringIO) -> AsyncIterator[Faulty]:
    with FaultProxy(world.api) as proxy:
        yield Faulty(world, proxy, world.api.audit.mark(), log)


@pytest.mark.parametrize(
    ("status", "path"),
    [
        (409, "/deployments/"),
        (429, "/services/"),
        (500, "/configmaps/"),
        (503, "/serviceaccounts/"),
        (409, "/status$"),
        (504, "/status$"),
    ],
)
async def test_a_refused_write_is_tried_again_and_the_others_are_not(faulty: Faulty, status: int, path: str) -> None:
    async with faulty.operator() as operator:
        with faulty.proxy.fault(Refuse(status), method="PATCH", path=path, times=1) as fault:
            await faulty.world.create(replicas=2)
            await faulty.in_shape(operator)
        assert fault.hits == 1
        assert set(faulty.written().values()) == {1}


async def test_the_time_that_the_api_server_asks_for_is_waited(faulty: Faulty) -> None:
    async with faulty.operator() as operator:
        refusal = Refuse(429, retry_after=3)
        with faulty.proxy.fault(refusal, method="PATCH", path="/deployments/", times=1):
            await faulty.world.create(replicas=2)
            await faulty.in_shape(operator)
        patches = [request for request in faulty.proxy.requests if request.method == "PATCH"]
        refused, written = [request for request in patches if "/deployments/" in request.path]
        assert (refused.status, written.status) == (429, 201)
        assert written.time - refused.time >= 3


@pytest.mark.parametrize("refusal", [Refuse(429, retry_after=1), Refuse(500), Refuse(503)], ids=lambda r: r.status)
async def test_lists_that_are_refused_only_delay_the_start(faulty: Faulty, refusal: Refuse) -> None:
    await faulty.world.create(replicas=2)
    with faulty.proxy.fault(refusal, method="GET", path="/deployments$", times=2) as fault:
        async with faulty.operator() as operator:
            await faulty.in_shape(operator)
        assert fault.hits == 2
        assert set(faulty.written().values()) == {1}


async def test_an_operator_that_finds_no_api_server_waits_for_it(faulty: Faulty) -> None:
    operator, stop = await faulty.new_operator(), asyncio.Event()
    with faulty.proxy.fault(Refuse(503)) as fault:
        task = asyncio.create_task(operator.run(stop))
        await asyncio.to_thread(fault.wait)
        assert operator.ready() is not None
        await faulty.world.create(replicas=2)
    await asyncio.wait_for(operator.synced(), 15)
    assert operator.ready() is None
    await faulty.in_shape(operator)
    stop.set()
    await task
    assert "cannot watch yet" in faulty.log.getvalue()


@pytest.mark.parametrize("path", ["/configmaps/", "/deployments/", "/status$"])
async def test_a_lost_answer_is_not_asked_for_twice(faulty: Faulty, path: str) -> None:
    async with faulty.operator() as operator:
        with faulty.proxy.fault(LoseAnswer(), method="PATCH", path=path, times=1) as fault:
            await faulty.world.create(replicas=2)
            await faulty.in_shape(operator)
        assert fault.hits == 1
        assert set(faulty.written().values()) == {1}


async def test_a_request_that_hangs_is_given_up_and_tried_again(faulty: Faulty) -> None:
    async with faulty.operator(api_timeout_seconds=1) as operator:
        with faulty.proxy.fault(Hang(), method="PATCH", path="/deployments/") as fault:
            await faulty.world.create("stuck", replicas=2)
            await asyncio.to_thread(fault.wait)
            # what hangs is one resource's matter
            await faulty.world.eventually(lambda: _hits(fault, 2))
        await faulty.in_shape(operator, "stuck")


async def test_a_hanging_list_is_given_up_and_tried_again(faulty: Faulty) -> None:
    await faulty.world.create(replicas=2)
    with faulty.proxy.fault(Hang(), method="GET", path="/services$", times=2):
        async with faulty.operator(api_timeout_seconds=1) as operator:
            await faulty.in_shape(operator)


async def test_watches_that_are_cut_go_on_where_they_were(faulty: Faulty) -> None:
    async with faulty.operator() as operator:
        await faulty.world.create(replicas=2)
        await faulty.in_shape(operator)
        for _ in range(3):
            assert faulty.proxy.cut_watches() >= len(SELECTORS) - 1
            await _comes_back(faulty.world)
        with faulty.proxy.fault(CutWatch(after_events=1), path="/services$"):
            faulty.proxy.cut_watches()
            for _ in range(3):
                await _comes_back(faulty.world)


async def test_what_went_away_while_a_watch_had_expired_is_found(faulty: Faulty) -> None:
    world = faulty.world
    async with faulty.operator() as operator:
        await world.create("gone", replicas=2)
        await world.create(replicas=2)
        await faulty.in_shape(operator)
        await faulty.in_shape(operator, "gone")
        with (
            faulty.proxy.fault(ExpireWatch(), path="/torchservemodels$", times=1),
            faulty.proxy.fault(ExpireWatch(), path="/deployments$", times=1),
        ):
            with faulty.proxy.fault(Refuse(503), method="GET", path="/(torchservemodels|deployments)$") as blind:
                faulty.proxy.cut_watches()
                await asyncio.to_thread(blind.wait)
                await world.client.request("DELETE", RESOURCE.path(world.namespace, "gone"))
                # the list is empty: not one event tells that it was asked for
                for name in ("gone", "digits"):
                    await world.client.request("DELETE", DEPLOYMENT.path(world.namespace, name))
                assert operator.cache.count(RESOURCE) == operator.cache.count(DEPLOYMENT) == 2

            async def found() -> bool:
                there = [item["metadata"]["name"] for item in await world.all_of(DEPLOYMENT)]
                return operator.cache.count(RESOURCE) == 1 and there == ["digits"]

            await world.eventually(found)
    assert "gone without an event" in faulty.log.getvalue()


async def test_a_change_that_comes_first_with_the_answer_to_a_write_is_not_passed_over(faulty: Faulty) -> None:
    world = faulty.world
    async with faulty.operator():
        with faulty.proxy.fault(Hang(), method="PATCH", path="/status$") as writing:
            await world.create(replicas=2)
            await asyncio.to_thread(writing.wait)
            with faulty.proxy.fault(Refuse(503), method="GET", path="/torchservemodels$") as blind:
                faulty.proxy.cut_watches()
                await asyncio.to_thread(blind.wait)
                await world.patch(RESOURCE, "digits", {"spec": {"replicas": 5}})
                writing.lifted.set()

                async def scaled() -> bool:
                    return ((await world.get(DEPLOYMENT)) or {})["spec"]["replicas"] == 5

                await world.eventually(scaled)


@pytest.mark.parametrize("code", [500, 504])
async def test_an_error_in_a_watch_has_everything_watched_anew(faulty: Faulty, code: int) -> None:
    async with faulty.operator() as operator:
        await faulty.world.create(replicas=2)
        await faulty.in_shape(operator)
        with faulty.proxy.fault(ExpireWatch(code), path="/services$", times=1) as fault:
            faulty.proxy.cut_watches()
            await asyncio.to_thread(fault.wait)
            await faulty.world.eventually(lambda: _is(operator.ready, "the cluster is not being watched"))
        await faulty.world.eventually(lambda: _is(operator.ready, None))
        await _comes_back(faulty.world)
        await faulty.world.at_rest(operator)
        assert operator.metrics.reconciles.labels("failed")._value.get() == 0  # noqa: SLF001  # no public way
    assert "watching broke off; starting again" in faulty.log.getvalue()


@pytest.fixture(scope="module")
def lone_api() -> Iterator[ApiServer]:
    """Return a server that knows nothing of the resource, and that may go away."""
    with ApiServer() as server:
        yield server


@pytest.fixture
async def lone(lone_api: ApiServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setenv("KUBECONFIG", str(lone_api.kubeconfig))
    configuration = await load_configuration()
    async with Client(configuration, "test") as client:
        yield World(lone_api, configuration, client, "default")


async def test_a_definition_that_comes_after_the_operator_is_watched(lone: World, log: io.StringIO) -> None:
    operator, stop = Operator(lone.settings(), lone.configuration), asyncio.Event()
    task = asyncio.create_task(operator.run(stop))
    await lone.eventually(lambda: _is(lambda: "does not know torchserve-operator.dev" in log.getvalue(), True))
    assert operator.ready() is not None
    await asyncio.to_thread(lone.api.kubectl, "apply", "--server-side", "-k", "crds")
    await asyncio.wait_for(operator.synced(), 30)

    async def created() -> bool:
        with contextlib.suppress(Exception):  # not established yet
            await lone.create(replicas=2)
            return True
        return False

    await lone.eventually(created)
    await lone.condition("Ready", "False", reason="Progressing")
    stop.set()
    await task


async def test_an_outage_of_the_api_server_is_got_over(lone: World, log: io.StringIO) -> None:
    async with running(Operator(lone.settings(), lone.configuration)) as operator:
        await lone.create("outage", replicas=2)
        await lone.condition("Ready", "False", "outage", reason="Progressing")
        await lone.at_rest(operator)
        await asyncio.to_thread(lone.api.outage)
        operator.queue.add(("default", "outage"))
        await lone.at_rest(operator)
        mark = lone.api.audit.mark()
        await asyncio.to_thread(lone.api.recover)
        await _comes_back(lone, "outage", 30)
        await lone.at_rest(operator)
        written = [line for line in lone.api.audit.writes(mark) if line.startswith("patch")]
        assert written == ["patch services default/outage"]
        assert operator.healthy() is None
    assert "reconcile failed" not in log.getvalue()


async def _comes_back(world: World, name: str = "digits", seconds: float = 15) -> None:
    """Delete the Service and wait until the operator has made it anew."""
    before = await world.get(SERVICE, name)
    assert before is not None
    await world.client.request("DELETE", SERVICE.path(world.namespace, name))

    async def back() -> bool:
        service = await world.get(SERVICE, name)
        return service is not None and service["metadata"]["uid"] != before["metadata"]["uid"]

    await world.eventually(back, seconds)


async def _is(question: Any, wanted: object) -> bool:
    return bool(question() == wanted)


async def _hits(fault: Any, count: int) -> bool:
    return bool(fault.hits >= count)
