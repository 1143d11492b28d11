"""How much memory the operator's process takes: with nothing, and with resources at rest, pods and all."""

from bench.figures import Result, median
from bench.objects import Agents, Kubelet, api_server, create, each, namespace
from bench.process import BareKopf, OperatorProcess


async def measure(sizes: tuple[int, ...] = (100, 1000), settle: float = 3.0) -> Result:
    """Measure with no resource, and with each number of ``sizes``, after ``settle`` quiet seconds."""
    result = Result()
    async with api_server() as (api, client), Agents() as agents:
        where = await namespace(client, "fleet")
        async with BareKopf(api, where) as bare, OperatorProcess(api) as operator:
            await operator.at_rest(settle)
            control = await bare.memory()
            result.samples["bare_kopf"] = control
            idle = await _sample(result, operator, "idle")
            result.add("idle_memory_mib", idle, "MiB", "the operator with no resource (proportional set size)")
            pss = median([sample["pss"] for sample in control])
            result.add("bare_kopf_memory_mib", pss, "MiB", "kopf alone with one watch, in the same run")
            before, there = idle, 0
            for size in sizes:
                names = [f"m{number:05}" for number in range(there, size)]
                await create(client, where, names)
                await operator.at_rest(settle)
                await each(names, Kubelet(client, where, agents).all)
                await operator.at_rest(settle)
                found = await _sample(result, operator, str(size))
                result.add(f"memory_{size}_mib", found, "MiB", f"with {size} Ready resources, a pod each")
                each_kib = (found - before) * 1024 / (size - there)
                result.add(f"memory_each_of_{size}_kib", each_kib, "KiB", "what each of the last ones added")
                before, there = found, size
            result.samples["complaints"] = operator.complaints()
    return result


async def _sample(result: Result, operator: OperatorProcess, name: str) -> float:
    samples = await operator.memory()
    result.samples[name] = samples
    return median([sample["pss"] for sample in samples])
