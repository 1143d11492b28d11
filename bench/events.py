"""What a watch event costs: one that changes nothing for us, and one after which a resource is looked at in vain.

The control is kopf alone, which is given the same events at the same time.
"""

import asyncio
import time

from bench.figures import Result
from bench.objects import Object, api_server, create, each, namespace
from bench.process import BareKopf, OperatorProcess
from torchserve_operator.kube.client import Client
from torchserve_operator.kube.kinds import DEPLOYMENT

_PATIENCE = 120.0


async def measure(resources: int = 100, events: int = 5000, idle_seconds: float = 5.0) -> Result:
    """Measure with ``events`` events of each sort, spread over ``resources``, and ``idle_seconds`` without any."""
    result = Result()
    async with api_server() as (api, client):
        where = await namespace(client, "fleet")
        names = [f"e{number:05}" for number in range(resources)]
        async with OperatorProcess(api) as operator:
            await create(client, where, names)
            await operator.at_rest()
        # A new process: what is measured is not the end of what it did before.
        async with OperatorProcess(api) as operator, BareKopf(api, where) as bare:
            await operator.at_rest()
            idle = await _idle(operator, idle_seconds)
            numbers = range(events)

            async def status(number: int) -> None:
                patch = {"status": {"observedGeneration": number + 2}}
                await _patch(client, where, names[number % resources], patch, "status")

            async def annotation(number: int) -> None:
                await _patch(client, where, names[number % resources], _annotated(number), None)

            quiet = await _spent(operator, bare, numbers, status)
            looked = await _spent(operator, bare, numbers, annotation)
            result.samples |= {"idle_cpu_share": idle, "status": quiet, "annotation": looked}
            result.samples["complaints"] = operator.complaints()
    each_event = quiet["operator"] / quiet["events"]
    result.add("event_cpu_us", each_event * 1e6, "us", "the operator's CPU for an event that changes nothing for us")
    result.add(
        "event_control_cpu_us", quiet["control"] / quiet["control_events"] * 1e6, "us", "kopf alone, same events"
    )
    result.add("event_reconciles", quiet["reconciles"] / quiet["events"], "1", "reconciles for such an event")
    reconciling = looked["operator"] - looked["events"] * each_event * (quiet["reconciles"] == 0)
    result.add(
        "reconcile_cpu_us",
        reconciling / max(1, looked["reconciles"]) * 1e6,
        "us",
        "CPU for a reconcile that finds nothing to do",
    )
    result.add("idle_cpu_percent", idle * 100, "%", f"of one core, with {resources} resources at rest")
    return result


async def _idle(operator: OperatorProcess, seconds: float) -> float:
    cpu, began = operator.cpu(), time.monotonic()
    await asyncio.sleep(seconds)
    return (operator.cpu() - cpu) / (time.monotonic() - began)


async def _spent(operator: OperatorProcess, bare: BareKopf, numbers: range, change: object) -> dict[str, float]:
    """Make the changes; return CPU seconds and what they were spent on."""
    first, first_bare = await operator.events(), await bare.events()
    reconciles, cpu, cpu_bare = await operator.reconciles(), operator.cpu(), bare.cpu()
    began = time.monotonic()
    await each(numbers, change, at_once=8)  # type: ignore[arg-type]  # both are such functions
    deadline = time.monotonic() + _PATIENCE
    while await operator.events() - first < len(numbers) or await bare.events() - first_bare < len(numbers):
        if time.monotonic() > deadline:
            raise RuntimeError(f"not all events came within {_PATIENCE:.0f} s")
        await asyncio.sleep(0.5)
    await operator.at_rest(1.0)
    return {
        "seconds": time.monotonic() - began,
        "events": await operator.events() - first,
        "control_events": await bare.events() - first_bare,
        "reconciles": await operator.reconciles() - reconciles,
        "operator": operator.cpu() - cpu,
        "control": bare.cpu() - cpu_bare,
    }


async def _patch(client: Client, where: str, name: str, patch: Object, subresource: str | None) -> None:
    await client.patch_merge(DEPLOYMENT, where, name, patch, subresource=subresource)


def _annotated(number: int) -> Object:
    return {"metadata": {"annotations": {"bench.example/number": str(number)}}}
