"""``python -m bench.bare_kopf NAMESPACE``: kopf with one event handler that counts, set up as the operator sets it up.

It watches the same Deployments and nothing else; on SIGUSR1 it prints how many events it was given.
"""

import asyncio
import logging
import signal
import sys
from typing import Any

import kopf

from torchserve_operator.api.names import LABEL_MODEL
from torchserve_operator.kube.client import load_configuration
from torchserve_operator.kube.kinds import DEPLOYMENT
from torchserve_operator.kube.login import kopf_session
from torchserve_operator.kube.watch import NoDiffBase, NoProgress


async def main(namespace: str) -> None:
    """Watch until a signal ends it."""
    logging.getLogger("kopf").setLevel(logging.WARNING)
    configuration = await load_configuration()
    registry = kopf.OperatorRegistry()
    count = 0

    @kopf.on.startup(registry=registry)
    async def startup(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.watching.label_selectors[DEPLOYMENT.group, DEPLOYMENT.version, DEPLOYMENT.plural] = LABEL_MODEL
        settings.scanning.disabled = True
        settings.posting.enabled = False
        settings.persistence.diffbase_storage = NoDiffBase()
        settings.persistence.progress_storage = NoProgress()

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.AiohttpSession:
        return await kopf_session(configuration, lambda _: None)

    @kopf.on.event(DEPLOYMENT.group, DEPLOYMENT.version, DEPLOYMENT.plural, registry=registry)
    async def observe(**_: Any) -> None:
        nonlocal count
        count += 1

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, lambda: print("events", count, flush=True))
    ready = asyncio.Event()
    task = asyncio.create_task(
        kopf.operator(registry=registry, namespaces=[namespace], standalone=True, ready_flag=ready)
    )
    await ready.wait()
    print("watching", flush=True)
    await task


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
