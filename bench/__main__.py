"""``python -m bench [NAME ...]``: run the benches (default: all), print their figures, keep their raw data."""

import asyncio
import inspect
import os
import sys
from collections.abc import Callable
from typing import Any

import click

from bench import append, children, events, memory, writes
from bench.figures import save, show
from bench.machine import facts
from testbed.errors import TestbedError
from testbed.progress import say, step


def _ready(**arguments: Any) -> Any:
    from bench import ready  # needs the cluster's programs

    return ready.measure(**arguments)


BENCHES: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "children": (children.measure, {"count": 20}),
    "memory": (memory.measure, {"sizes": (10,)}),
    "events": (events.measure, {"resources": 5, "events": 200}),
    "writes": (writes.measure, {"resources": 3, "resyncs": 2}),
    "ready": (_ready, {"pairs": 1}),
    "append": (append.measure, {"sizes": append.SMALL, "repeats": 1}),
}
"""Each bench by name, with what makes it a quick one."""


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(BENCHES)))
@click.option("--quick", is_flag=True, help="Few samples: to see that it works, not to know.")
def main(names: tuple[str, ...], *, quick: bool) -> None:
    """Measure the operator. `ready` needs the kind cluster; the others start what they need."""
    for name in names or BENCHES:
        measure, few = BENCHES[name]
        before = facts()
        if os.getloadavg()[0] > (os.cpu_count() or 1) / 2:
            say(f"the machine is busy (load {os.getloadavg()[0]:.1f}): absolute times will be worse than they are")
        with step(f"bench {name}"):
            result = measure(**(few if quick else {}))
            if inspect.isawaitable(result):
                result = asyncio.run(result)  # type: ignore[arg-type]  # a coroutine
        show(name, result)
        say(f"raw data: {save(name, result, before)}; load {before['load']} before, {facts()['load']} after")


if __name__ == "__main__":
    try:
        main()
    except TestbedError as error:
        say(f"error: {error}")
        sys.exit(1)
