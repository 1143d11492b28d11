"""The process's life: start, serve, stop within seconds."""

import asyncio
import logging
import signal

from torchserve_operator.app.logs import set_up_logging
from torchserve_operator.app.operator import Operator
from torchserve_operator.app.settings import Settings
from torchserve_operator.app.web import serve
from torchserve_operator.kube.client import load_configuration

logger = logging.getLogger(__name__)


def run(settings: Settings) -> int:
    """Run the operator until SIGTERM or SIGINT; return the exit code."""
    set_up_logging(settings.log_level, settings.log_format)
    return asyncio.run(_run(settings))


async def _run(settings: Settings) -> int:
    operator = Operator(settings, await load_configuration(settings.context))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def take_signals() -> None:
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, stop.set)

    take_signals()
    async with serve(
        settings.http_host, settings.http_port, operator.metrics.registry, operator.healthy, operator.ready
    ) as port:
        logger.info("started", extra={"port": port, "namespaces": list(settings.namespaces) or "all"})
        try:
            await operator.run(stop, take_signals)
        except Exception:
            logger.exception("ended by an error")
            return 1
    logger.info("stopped")
    return 0
