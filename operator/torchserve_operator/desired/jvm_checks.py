"""The JVM's options against the memory limit and against what the operator sets itself. Pure."""

import re
from collections.abc import Iterator
from typing import Final

from torchserve_operator.api.errors import FieldError
from torchserve_operator.api.quantity import canonical_quantity
from torchserve_operator.api.spec import TorchServeModelSpec
from torchserve_operator.desired.sizing import MI, Sizing

HEAP_LEAST: Final = 64 * MI
"""With less, the frontend ends while it starts."""
JVM_BEYOND_HEAP: Final = 96 * MI
"""What the frontend's code, threads and buffers take beside an idle heap."""
WORKER_LEAST: Final = 100 * MI
"""What a Python process with torch, and without a model, holds for itself alone."""

_OWN: Final = (
    (re.compile(r"-Dlog4j2?\.(configurationFile|configuration|contextSelector)=?.*"), "it is made of spec.logging"),
    (re.compile(r"-Dmodel_server_home=.*"), "it is where the image has TorchServe"),
    (re.compile(r"-Djava\.io\.tmpdir=.*"), "only /tmp is writable there"),
    (re.compile(r"(-cp|-classpath|--class-path)(=.*)?|-jar"), "the agent makes the class path; see plugins_path"),
)
"""Options that the agent gives itself; a second one would take the server's ground away."""
_HEAP_OPTION: Final = re.compile(r"-Xmx.*|-XX:(MaxHeapSize=.*|(Max|Min|Initial)RAM(Percentage|Fraction)?=.*)")
_INITIAL_HEAP: Final = re.compile(r"-Xms([0-9]+)([kKmMgG]?)")
_JAVA_UNITS: Final = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}


def jvm_errors(spec: TorchServeModelSpec, sizing: Sizing) -> Iterator[FieldError]:
    """Yield a heap that does not fit its limit, and options that contradict another setting."""
    yield from _heap(spec, sizing)
    for index, option in enumerate(spec.server.vmargs):
        path = f"spec.server.vmargs[{index}]"
        if _HEAP_OPTION.fullmatch(option):
            yield FieldError(path, f"{option}: the heap has a field of its own: set spec.server.heapSize")
            continue
        why = next((why for pattern, why in _OWN if pattern.fullmatch(option)), None)
        if why is not None:
            yield FieldError(path, f"{option} is set by the operator: {why}")
        initial = _INITIAL_HEAP.fullmatch(option)
        if initial and int(initial[1]) * _JAVA_UNITS[initial[2].lower()] > sizing.heap_bytes:
            yield FieldError(
                path, f"{option} is more than the largest heap, {_size(sizing.heap_bytes)}; Java would not start"
            )


def _heap(spec: TorchServeModelSpec, sizing: Sizing) -> Iterator[FieldError]:
    heap, limit = sizing.heap_bytes, sizing.memory_limit_bytes
    given = spec.server.heap_size
    path = "spec.resources.limits.memory" if given is None else "spec.server.heapSize"
    shown = f"the JVM's heap of {_size(heap)}" if given is None else f"the heap, {given},"
    if heap < HEAP_LEAST:
        yield FieldError(path, f"is {given}; TorchServe's frontend needs at least {_size(HEAP_LEAST)}")
    elif limit is not None and heap >= limit:
        yield FieldError(
            path,
            f"{shown} does not fit the memory limit of {spec.resources.limits['memory']}; "
            "leave room for the workers, or raise the limit",
        )
    elif limit is not None:
        workers = sum(bounds.minimum for bounds in sizing.workers.values())
        needed = heap + JVM_BEYOND_HEAP + workers * WORKER_LEAST
        if needed > limit:
            yield FieldError(
                path,
                f"{shown} leaves {_size(limit - heap)} of the memory limit of {spec.resources.limits['memory']}; the "
                f"JVM itself and {workers} worker{'' if workers == 1 else 's'} need at least {_size(needed - heap)} "
                f"before any model: raise the limit to {_size(needed)} or more",
            )


def _size(amount: int) -> str:
    return canonical_quantity(f"{-(-amount // MI)}Mi")
