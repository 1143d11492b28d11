"""How often the operator writes: from a resource's creation until it is Ready, and when nothing happens."""

import asyncio
import time
from collections import Counter

from bench.audit_tail import AuditTail
from bench.figures import Result
from bench.objects import Agents, Kubelet, api_server, create, each, namespace
from bench.process import OperatorProcess
from torchserve_operator.api.names import FIELD_MANAGER
from torchserve_operator.kube.client import Client
from torchserve_operator.reconcile.projections import RESOURCE

_RESYNC = 2.0
"""Seconds between two looks at everything: 600 in earnest."""


async def measure(resources: int = 20, resyncs: int = 3) -> Result:
    """Count the writes of ``resources`` resources that become Ready together, then those of some resyncs at rest."""
    result = Result()
    async with api_server() as (api, client), Agents(serving=False) as agents:
        where = await namespace(client, "fleet")
        names = [f"w{number:05}" for number in range(resources)]
        tail = AuditTail(api.audit.path)
        async with OperatorProcess(api, agent_unsettled_seconds=1) as operator:
            await _become_ready(client, where, names, operator, agents)
        writes = _count(tail)
        async with OperatorProcess(api, resync_seconds=_RESYNC) as operator:
            await asyncio.sleep(resyncs * _RESYNC)
            await operator.at_rest(_RESYNC / 2)
            looked = await operator.reconciles()
            result.samples["complaints"] = operator.complaints()
        rest = _count(tail)
    result.samples |= {"writes": dict(writes), "writes_at_rest": dict(rest), "reconciles_at_rest": looked}
    total = sum(writes.values())
    result.add("writes_per_resource", total / resources, "1", f"created → Ready: {_words(writes, resources)}")
    about = f"after a restart and at {looked} reconciles of what is at rest"
    result.add("writes_at_rest", sum(rest.values()), "1", about, goal=0)
    return result


async def _become_ready(
    client: Client, where: str, names: list[str], operator: OperatorProcess, agents: Agents
) -> None:
    """Play the kubelet's part with the pauses that a real one makes, so that no two steps become one event."""
    kubelet = Kubelet(client, where, agents)
    await create(client, where, names)
    await operator.at_rest(1.0)
    await each(names, kubelet.pod)
    await operator.at_rest(1.0)
    await each(names, kubelet.creating)
    await operator.at_rest(1.0)
    await each(names, lambda name: kubelet.running(name, ready=False))
    await operator.at_rest(1.0)
    agents.serving = True
    await asyncio.sleep(2.0)
    await each(names, lambda name: kubelet.running(name, ready=True))
    await operator.at_rest(1.0)
    deadline = time.monotonic() + 30
    while not all([await _is_ready(client, where, name) for name in names]):
        if time.monotonic() > deadline:
            raise RuntimeError("not every resource is Ready")
        await asyncio.sleep(0.5)


async def _is_ready(client: Client, where: str, name: str) -> bool:
    found = await client.get(RESOURCE, where, name) or {}
    conditions = found.get("status", {}).get("conditions", [])
    return any((condition["type"], condition["status"]) == ("Ready", "True") for condition in conditions)


def _count(tail: AuditTail) -> Counter[str]:
    return Counter(write.resource for write in tail.writes() if write.manager == FIELD_MANAGER)


def _words(writes: Counter[str], resources: int) -> str:
    return ", ".join(f"{count / resources:g} {kind}" for kind, count in sorted(writes.items()))
