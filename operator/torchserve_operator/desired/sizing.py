"""What follows from a pod's limits: threads, heap, workers, queue, probes and the time a stop may take. Pure.

TorchServe's own defaults follow the node (its CPUs, its GPUs, a quarter of its memory); a container's workers then
fight over a fraction of it. Everything here follows the pod.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Final, Literal

from torchserve_operator.api.models import ModelSpec
from torchserve_operator.api.quantity import parse_quantity
from torchserve_operator.api.resources import ResourceList
from torchserve_operator.api.spec import TorchServeModelSpec
from torchserve_operator.desired.gpus import Gpus, gpus_of

MI: Final = 2**20
GI: Final = 2**30

HEAP_LEAST: Final = 128 * MI
"""The frontend idles at about 60 MiB of heap and buffers whole requests there."""
HEAP_MOST: Final = 2 * GI
"""The models live in the workers: a larger heap only delays collections."""
HEAP_UNLIMITED: Final = 1 * GI
"""Without a memory limit the JVM would take a quarter of the node's memory."""

QUEUE_LEAST: Final = 100
"""TorchServe's own default of job_queue_size."""

SHM_UNLIMITED: Final = 1 * GI
SHM_LEAST: Final = 64 * MI
"""What a container has without a volume of its own."""

_SERVER_START: Final = 60
"""Seconds for the JVM, and for unpacking archives, beside the models' own loading."""

DRAIN_LEAST: Final = 5
"""Seconds in which endpoints that still name the pod go away: answers go on for so long, however idle the server."""
_DRAIN_MARGIN: Final = 5
_JVM_STOP: Final = 10
"""Seconds for the JVM's own end: TorchServe's takes 4.5 s."""
_AGENT_STOP: Final = 5
"""Seconds for the agent to see that end, after which the kubelet may kill."""


@dataclass(frozen=True, slots=True)
class Workers:
    """How many workers a model may have."""

    minimum: int
    maximum: int


@dataclass(frozen=True, slots=True)
class Sizing:
    """Effective values: what the spec says, else what its limits imply.

    Attributes:
        cpus: The CPU limit, else the request; None without either. Not rounded.
        memory_limit_bytes: None when unlimited.
        gpus: GPUs that `resources.limits` asks for.
        netty_threads: number_of_netty_threads.
        netty_client_threads: netty_client_threads.
        heap_bytes: The JVM's largest heap.
        worker_threads: Compute threads of one worker (OMP_NUM_THREADS).
        default_workers: default_workers_per_model.
        workers: Each model's bounds, by name.
        device_types: Each model's device, by name.
        job_queue_size: Requests that may wait, per model.
        shm_bytes: The size of /dev/shm.
        startup_seconds: How long the models may take to load before the container is started anew.
        drain_min_seconds: How long answers go on after SIGTERM.
        drain_max_seconds: When requests in work are cut.
        grace_seconds: terminationGracePeriodSeconds.
    """

    cpus: Decimal | None
    memory_limit_bytes: int | None
    gpus: int
    netty_threads: int
    netty_client_threads: int
    heap_bytes: int
    worker_threads: int
    default_workers: int
    workers: Mapping[str, Workers]
    device_types: Mapping[str, Literal["cpu", "gpu"]]
    job_queue_size: int
    shm_bytes: int
    startup_seconds: int
    drain_min_seconds: int
    drain_max_seconds: int
    grace_seconds: int

    @property
    def environment(self) -> dict[str, str]:
        """Variables of the server's container; a variable of the same name in `pod.env` wins."""
        # Python and torch see the host's cores, whatever the limit: 64 threads on 2 CPUs. OpenBLAS and MKL follow OMP.
        return {"OMP_NUM_THREADS": str(self.worker_threads)}


def size(spec: TorchServeModelSpec) -> Sizing:
    """Return what follows from a spec's limits, where the spec does not say it itself."""
    server, models = spec.server, spec.models
    cpus = _cpus(spec)
    memory = _memory_limit(spec.resources.limits)
    gpus = gpus_of(spec.resources.limits)
    threads = max(2, math.ceil(cpus or 1))
    device_types: dict[str, Literal["cpu", "gpu"]] = {model.name: _device_type(model, gpus) for model in models}
    per_cpu = max(1, int(cpus or 1) // len(models))
    workers = {model.name: _workers(model, spec, gpus.count, per_cpu) for model in models}
    most_workers = sum(bounds.maximum for bounds in workers.values())
    drain = DRAIN_LEAST + max(_longest_answer(model) for model in models) + _DRAIN_MARGIN
    return Sizing(
        cpus=cpus,
        memory_limit_bytes=memory,
        gpus=gpus.count,
        netty_threads=server.number_of_netty_threads or threads,
        netty_client_threads=server.netty_client_threads or threads,
        heap_bytes=_heap(server.heap_size, memory),
        worker_threads=max(1, int((cpus or 1) / most_workers)),
        default_workers=server.default_workers_per_model or gpus.count or per_cpu,
        workers=MappingProxyType(workers),
        device_types=MappingProxyType(device_types),
        job_queue_size=server.job_queue_size
        or max(QUEUE_LEAST, *(2 * (model.batch_size or 1) * workers[model.name].maximum for model in models)),
        shm_bytes=SHM_UNLIMITED if memory is None else max(SHM_LEAST, memory // 2),
        # Each worker has its model's startupTimeout, and they all load at once.
        startup_seconds=max(model.startup_timeout for model in models) + _SERVER_START,
        drain_min_seconds=DRAIN_LEAST,
        drain_max_seconds=drain,
        grace_seconds=drain + _JVM_STOP + _AGENT_STOP,
    )


def _cpus(spec: TorchServeModelSpec) -> Decimal | None:
    """Return the limit, else what is set aside: without either, the pod is owed nothing."""
    text = spec.resources.limits.get("cpu", spec.resources.requests.get("cpu"))
    amount = parse_quantity(text) if text is not None else Decimal(0)
    return amount if amount > 0 else None


def _memory_limit(limits: ResourceList) -> int | None:
    return int(parse_quantity(limits["memory"])) if "memory" in limits else None


def _heap(given: str | None, memory: int | None) -> int:
    if given is not None:
        return int(parse_quantity(given))
    if memory is None:
        return HEAP_UNLIMITED
    return min(max(memory // 4, HEAP_LEAST), HEAP_MOST)


def _device_type(model: ModelSpec, gpus: Gpus) -> Literal["cpu", "gpu"]:
    if model.device_type is not None:
        return model.device_type
    return "gpu" if gpus.count or model.device_ids else "cpu"


def _workers(model: ModelSpec, spec: TorchServeModelSpec, gpus: int, per_cpu: int) -> Workers:
    default = spec.server.default_workers_per_model
    if default is None:
        on_gpu = gpus > 0 and model.device_type != "cpu"
        default = (len(model.device_ids) if model.device_ids else gpus) if on_gpu else per_cpu
        # A default that nobody wrote gives way to a bound that somebody did.
        default = min(default, model.max_workers or default)
    minimum = default if model.min_workers is None else model.min_workers
    # TorchServe refuses 0 as the largest number of workers.
    return Workers(minimum, max(1, minimum) if model.max_workers is None else model.max_workers)


def _longest_answer(model: ModelSpec) -> int:
    """Return seconds: a batch waits for more requests, then it may take its time.

    What is queued behind it has no bound of its own (a full queue of slow answers takes hours): it gets what the batch
    in work leaves of its time, which is nearly all of it for answers that do not hang.
    """
    return model.response_timeout + math.ceil((model.max_batch_delay or 100) / 1000)
