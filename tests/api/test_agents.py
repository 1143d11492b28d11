"""The agents' words and what the operator makes of them: pods are played by the test, agents are real HTTP servers."""

import asyncio
import contextlib
import hashlib
import itertools
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from world import Object, World, template_of

from torchserve_operator.api.names import AGENT_PORT, ANNOTATION_CERTIFICATE, ANNOTATION_POLICY, CONTAINER
from torchserve_operator.app.operator import Operator
from torchserve_operator.kube.kinds import CONFIG_MAP, DEPLOYMENT, POD
from torchserve_operator.reconcile.projections import RESOURCE

_addresses = itertools.count(1)

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Agent:
    """One agent on a loopback address of its own: says `report`, or whatever `answer` says instead."""

    address: str
    report: Object
    answer: Answer | None = None
    reads: int = 0
    _runner: web.AppRunner | None = field(default=None, repr=False)

    async def _status(self, request: web.Request) -> web.StreamResponse:
        self.reads += 1
        return web.json_response(self.report) if self.answer is None else await self.answer(request)

    async def listen(self) -> None:
        application = web.Application()
        application.router.add_get("/status", self._status)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.address, AGENT_PORT).start()

    async def fall_silent(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def is_read(self, world: World, times: int = 1) -> None:
        """Wait until it was asked so many times more."""
        goal = self.reads + times

        async def asked() -> bool:
            return self.reads >= goal

        await world.eventually(asked)


def report(ready: int = 1, **changes: Any) -> Object:
    model = {"name": "digits", "version": "1.0", "minWorkers": 1, "maxWorkers": 1, "readyWorkers": ready, "error": None}
    return {
        "schema": 1, "state": "Running" if ready else "Starting", "started": bool(ready), "ready": bool(ready),
        "policyHash": "", "server": {"message": ""}, "models": [model], "tls": None, "warnings": [],
    } | changes  # fmt: skip


@pytest.fixture
async def agent() -> AsyncIterator[Agent]:
    """Return an agent that still loads; its address is no other test run's."""
    number = next(_addresses)
    running = Agent(f"127.{os.getpid() % 250 + 1}.{os.getpid() // 250 % 250}.{number}", report(0))
    await running.listen()
    yield running
    await running.fall_silent()


class Pods:
    """Plays the kubelet for the pods of one resource."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def start(self, agent: Agent, name: str = "digits-1", *, ready: bool = False) -> None:
        """Make a pod of the current template, whose container runs."""
        deployment = await self._world.eventually(lambda: self._world.get(DEPLOYMENT))
        metadata = template_of(deployment)["metadata"]
        annotations = metadata.get("annotations") or {}
        await self._world.client.create(
            POD,
            {
                "metadata": {
                    "namespace": self._world.namespace,
                    "name": name,
                    "labels": metadata["labels"],
                    "annotations": annotations,
                },
                "spec": {"containers": [{"name": CONTAINER, "image": "registry.example/digits"}]},
            },
        )
        await self.say(name, address=agent.address, ready=ready)

    async def say(self, name: str = "digits-1", *, address: str | None = None, ready: bool) -> None:
        """Write the pod's status as the kubelet does."""
        running = {
            "name": CONTAINER, "image": "registry.example/digits", "imageID": "registry.example/digits@sha256:1",
            "ready": ready, "restartCount": 0, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
        }  # fmt: skip
        conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
        status: Object = {"phase": "Running", "containerStatuses": [running], "conditions": conditions}
        if address is not None:
            status |= {"podIP": address, "podIPs": [{"ip": address}]}
        await self._world.client.patch_merge(POD, self._world.namespace, name, {"status": status}, "status")


@contextlib.asynccontextmanager
async def served(world: World, **settings: Any) -> AsyncIterator[tuple[Operator, Pods]]:
    async with world.operator(**{"agent_unsettled_seconds": 0.2, **settings}) as operator:
        await world.create()
        await world.condition("Ready", "False", reason="Progressing")
        yield operator, Pods(world)


def failed(operator: Operator) -> float:
    return float(operator.metrics.reconciles.labels("failed")._value.get())  # noqa: SLF001  # no public way


async def test_a_pod_that_loads_and_then_answers_makes_the_resource_ready(world: World, agent: Agent) -> None:
    async with served(world) as (operator, pods):
        await pods.start(agent)
        condition = await world.condition("Ready", "False", reason="ModelsLoading")
        assert condition["message"] == "loading digits"
        agent.report = report(1)
        await pods.say(ready=True)
        await world.condition("Ready", "True", reason="Answering")
        await world.condition("ModelsReady", "True")
        resource = await world.get(RESOURCE)
        assert resource is not None
        assert resource["status"]["workers"] == "1/1"
        assert resource["status"]["image"] == "registry.example/digits@sha256:1"
        assert failed(operator) == 0


async def test_a_model_that_cannot_load_is_told_in_the_agents_words(world: World, agent: Agent) -> None:
    async with served(world) as (_, pods):
        agent.report["models"][0]["error"] = {"reason": "LoadFailed", "message": "ModuleNotFoundError: No module 'foo'"}
        await pods.start(agent)
        condition = await world.condition("Stalled", "True", reason="LoadFailed")
        assert condition["message"] == "model digits: ModuleNotFoundError: No module 'foo'"


async def test_an_agent_that_falls_silent_is_told_of_after_the_third_time_and_no_earlier(
    world: World, agent: Agent
) -> None:
    async with served(world) as (operator, pods):
        await pods.start(agent)
        await world.condition("Ready", "False", reason="ModelsLoading")

        async def sorry(_: web.Request) -> web.Response:
            return web.Response(status=503)

        seen: set[str] = set()

        async def unreachable() -> bool:
            resource = await world.get(RESOURCE)
            assert resource is not None
            found = next(c for c in resource["status"]["conditions"] if c["type"] == "Ready")
            seen.add(found["reason"])
            failures = max(operator.reader.reads_of((world.namespace, "digits")).values(), key=lambda r: r.failures)
            assert found["reason"] == "ModelsLoading" or failures.failures >= 3
            return bool(found["reason"] == "AgentUnreachable")

        agent.answer = sorry
        await world.eventually(unreachable)
        assert seen == {"ModelsLoading", "AgentUnreachable"}
        assert "HTTP status 503" in (await world.condition("Ready", "False"))["message"]
        agent.answer = None
        await world.condition("Ready", "False", reason="ModelsLoading")
        await agent.fall_silent()
        condition = await world.condition("Ready", "False", reason="AgentUnreachable")
        assert "Connection refused" in condition["message"]
        assert agent.address not in condition["message"]


async def test_what_was_known_of_a_pod_that_answers_is_kept_while_its_agent_is_silent(
    world: World, agent: Agent
) -> None:
    async with served(world, agent_settled_seconds=0.2) as (operator, pods):
        agent.report = report(1)
        await pods.start(agent, ready=True)
        await world.condition("ModelsReady", "True")
        await agent.fall_silent()
        await world.eventually(lambda: _failures(operator, 4))
        await world.at_rest(operator)
        await world.condition("Ready", "True", reason="Answering")
        await world.condition("ModelsReady", "True")


async def test_a_changed_policy_touches_each_pod_once(world: World, agent: Agent) -> None:
    async with served(world) as (operator, pods):
        await pods.start(agent)
        await agent.is_read(world, 2)
        agent.report = report(1, policyHash=await _policy(world))
        await pods.say(ready=True)
        await world.condition("Ready", "True")
        mark = world.api.audit.mark()
        models = [{"name": "digits", "minWorkers": 2, "maxWorkers": 2}]
        await world.patch(RESOURCE, "digits", {"spec": {"models": models}})

        async def touched() -> str | None:
            pod = await world.get(POD, "digits-1")
            assert pod is not None
            found: str | None = pod["metadata"]["annotations"].get(ANNOTATION_POLICY)
            return found

        wanted = await world.eventually(touched)
        # the kubelet takes a while, and the agent says the old hash until then
        await agent.is_read(world, 3)
        agent.report = report(2, policyHash=wanted)
        await world.condition("ModelsReady", "True")
        await world.at_rest(operator)
        writes = world.api.audit.writes(mark)
        assert [line for line in writes if " pods " in line] == [f"patch pods {world.namespace}/digits-1"]
        assert template_of(await world.get(DEPLOYMENT) or {})["metadata"]["annotations"].get(ANNOTATION_POLICY) is None


async def test_a_renewed_certificate_rolls_the_pods_once(world: World, agent: Agent) -> None:
    async with served(world) as (operator, pods):
        agent.report = report(1)
        await pods.start(agent, ready=True)
        await world.condition("Ready", "True")
        before = await world.get(DEPLOYMENT)
        assert before is not None
        agent.report = report(1, tls={"certificateChanged": True, "mountedHash": "abc123"})

        async def renewed() -> Object | None:
            deployment = await world.get(DEPLOYMENT)
            assert deployment is not None
            found = template_of(deployment)["metadata"].get("annotations", {}).get(ANNOTATION_CERTIFICATE)
            return deployment if found == "abc123" else None

        rolled = await world.eventually(renewed)
        assert rolled["metadata"]["generation"] == before["metadata"]["generation"] + 1
        # the old pod goes on saying so while the new one starts, which does not
        await agent.is_read(world, 2)
        new = Agent(f"{agent.address}0", report(1))
        await new.listen()
        await pods.start(new, "digits-2", ready=True)
        await new.is_read(world, 1)
        await world.client.request("DELETE", POD.path(world.namespace, "digits-1"), params={"gracePeriodSeconds": "0"})
        await world.condition("Reconciling", "False")
        await world.condition("Ready", "True")
        await world.at_rest(operator)
        await new.fall_silent()
        after = await world.get(DEPLOYMENT)
        assert after is not None
        assert after["spec"] == rolled["spec"]
        assert after["metadata"]["generation"] == rolled["metadata"]["generation"]


async def test_a_settled_agent_is_read_seldom_and_at_once_when_its_pod_changes(world: World, agent: Agent) -> None:
    async with served(world, agent_settled_seconds=600) as (operator, pods):
        await pods.start(agent)
        await agent.is_read(world, 5)
        agent.report = report(1)
        await pods.say(ready=True)
        await world.condition("ModelsReady", "True")
        await world.at_rest(operator)
        before = agent.reads
        await asyncio.sleep(1)  # five turns of an unsettled one
        assert agent.reads == before
        reading = asyncio.create_task(agent.is_read(world))
        await pods.say(ready=False)
        await reading


async def test_a_pod_that_is_gone_is_read_no_more(world: World, agent: Agent) -> None:
    async with served(world) as (operator, pods):
        await pods.start(agent)
        await agent.is_read(world, 2)
        await world.client.request("DELETE", POD.path(world.namespace, "digits-1"), params={"gracePeriodSeconds": "0"})
        await world.eventually(lambda: _nobody(operator, world))
        before = agent.reads
        await asyncio.sleep(1)
        assert agent.reads == before


async def _text(text: str, **more: Any) -> web.Response:
    return web.Response(text=text, **more)


async def _redirect(request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound(f"http://{request.host}/elsewhere")


async def _endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" " * 65536)


async def _bomb(_: web.Request) -> web.StreamResponse:
    response = web.Response(body=b" " * (1 << 25), headers={"Content-Type": "application/json"})
    response.enable_compression(web.ContentCoding.deflate)
    return response


async def _slow(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.05)


async def _cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"{")
    assert request.transport is not None
    request.transport.abort()
    return response


def says(body: object) -> Answer:
    text = body if isinstance(body, str) else json.dumps(body)
    return lambda _: _text(text, content_type="application/json")


BAD: list[tuple[str, Answer, str]] = [
    ("no JSON", says("<html>"), "Expecting value"),
    ("a list", says([]), "no status document"),
    ("null", says(None), "no status document"),
    ("another schema", says({"schema": 2}), "schema 1"),
    ("models that are none", says({"schema": 1, "models": 5}), "no status document"),
    ("a model without a name", says({"schema": 1, "models": [{}]}), "no status document"),
    ("an infinite count", says('{"schema": 1, "models": [{"name": "m", "readyWorkers": Infinity}]}'), "no status"),
    ("a count below nothing", says({"schema": 1, "models": [{"name": "m", "readyWorkers": -1}]}), "count of workers"),
    ("a count beyond all", says({"schema": 1, "models": [{"name": "m", "minWorkers": 10**30}]}), "count of workers"),
    ("a deep document", says("[" * 100_000), "recursion"),
    ("no text", lambda _: _text("", status=200), "Expecting value"),
    ("bytes that are no text", lambda _: _bytes(b'{"schema": "\xff'), "codec"),
    ("a redirect", _redirect, "HTTP status 302"),
    ("an error", lambda _: _text("no", status=500), "HTTP status 500"),
    ("a body without an end", _endless, "longer than 1048576 bytes"),
    ("a compressed body", _bomb, ""),
    ("a slow body", _slow, "no answer within 0.3 s"),
    ("half an answer", _cut, ""),
]  # fmt: skip


async def _bytes(body: bytes) -> web.Response:
    return web.Response(body=body)


@pytest.mark.parametrize(("answer", "words"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
async def test_whatever_a_pod_answers_it_harms_nobody_else(
    world: World, agent: Agent, answer: Answer, words: str
) -> None:
    agent.answer = answer
    async with served(world, agent_timeout_seconds=0.3, agent_unsettled_seconds=0.05) as (operator, pods):
        await pods.start(agent)
        condition = await world.condition("Ready", "False", reason="AgentUnreachable")
        assert words in condition["message"]
        assert agent.address not in condition["message"]
        agent.answer = None
        await world.condition("Ready", "False", reason="ModelsLoading")
        assert failed(operator) == 0


async def test_long_words_are_cut_and_odd_ones_are_written_once(world: World, agent: Agent) -> None:
    async with served(world) as (operator, pods):
        agent.report["models"][0]["error"] = {"reason": "Odd" * 1000, "message": "\ud800" + "x" * 100_000}
        await pods.start(agent)
        condition = await world.condition("Ready", "False", reason="LoadFailed")
        assert len(condition["message"]) <= 2000
        await world.at_rest(operator)
        mark = world.api.audit.mark()
        await agent.is_read(world, 3)
        operator.queue.add((world.namespace, "digits"))
        await world.at_rest(operator)
        assert [line for line in world.api.audit.writes(mark) if world.namespace in line] == []


async def _policy(world: World) -> str:
    """Return the hash of the policy as it is in the cluster now."""
    found = await world.get(CONFIG_MAP, "digits-policy")
    assert found is not None
    return hashlib.sha256(found["data"]["policy.json"].encode()).hexdigest()


async def _failures(operator: Operator, count: int) -> bool:
    return operator.reader.failures >= count


async def _nobody(operator: Operator, world: World) -> bool:
    return not operator.reader.reads_of((world.namespace, "digits"))
