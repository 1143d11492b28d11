"""The reader of the agents: what it has and has not heard, from real servers on the loopback."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from torchserve_operator.api.names import AGENT_PORT, CONTAINER
from torchserve_operator.reconcile.agents import AgentReader
from torchserve_operator.status.pods import Pod, project_pod
from torchserve_operator.status.report import Report, parse_report

KEY = ("ns", "digits")
SPEAKS, SILENT = "127.77.0.1", "127.77.0.2"
"""Two addresses of the loopback; an agent listens on the first."""


@pytest.fixture
async def agent() -> AsyncIterator[None]:
    async def status(_: web.Request) -> web.Response:
        return web.json_response({"schema": 1, "state": "Running", "started": True, "ready": True, "models": []})

    application = web.Application()
    application.router.add_get("/status", status)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, SPEAKS, AGENT_PORT).start()
    yield
    await runner.cleanup()


def pod(address: str) -> Pod:
    container: dict[str, Any] = {"name": CONTAINER, "state": {"running": {}}}
    metadata = {"name": "p", "namespace": "ns", "uid": address, "labels": {}}
    return Pod.of(project_pod({"metadata": metadata, "status": {"podIP": address, "containerStatuses": [container]}}))


@contextlib.asynccontextmanager
async def reading() -> AsyncIterator[tuple[AgentReader[Report], asyncio.Queue[Any]]]:
    news: asyncio.Queue[Any] = asyncio.Queue()
    reader = AgentReader(news.put_nowait, parse_report)
    task = asyncio.create_task(reader.run())
    try:
        yield reader, news
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_an_agent_is_awaited_until_it_has_spoken(agent: None) -> None:  # noqa: ARG001  # it listens
    async with reading() as (reader, news):
        reader.track(KEY, [pod(SPEAKS)], settled=False)
        assert reader.awaiting(KEY)
        assert await asyncio.wait_for(news.get(), 5) == KEY
        assert not reader.awaiting(KEY)
        report = reader.reads_of(KEY)[SPEAKS].report
        assert report is not None
        assert report.ready


async def test_an_agent_that_does_not_answer_is_awaited_no_longer_than_the_first_attempt() -> None:
    async with reading() as (reader, news):
        reader.track(KEY, [pod(SILENT)], settled=False)
        assert reader.awaiting(KEY)
        assert await asyncio.wait_for(news.get(), 5) == KEY
        assert not reader.awaiting(KEY)
        assert reader.reads_of(KEY)[SILENT].failures == 1


async def test_without_pods_nobody_is_awaited() -> None:
    reader = AgentReader(lambda _: None, parse_report)
    reader.track(KEY, [], settled=False)
    assert not reader.awaiting(KEY)
