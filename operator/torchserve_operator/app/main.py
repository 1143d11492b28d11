"""The process's life: start, serve, stop within seconds."""

import asyncio
import logging
import os
import signal
from pathlib import Path
from typing import Any

import kopf
import yaml
from kubernetes.aio.config.config_exception import ConfigException

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


def _ours(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Tell what went wrong in the event loop, but not of the watches that kopf leaves half-way when it is stopped."""
    generator = context.get("asyncgen")
    if generator is None or Path(kopf.__file__).parent not in Path(generator.ag_code.co_filename).parents:
        loop.default_exception_handler(context)


async def _run(settings: Settings) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def take_signals() -> None:
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, stop.set)

    take_signals()
    loop.set_exception_handler(_ours)
    try:
        configuration = await load_configuration(settings.context)
    except (ConfigException, OSError, yaml.YAMLError) as error:
        logger.error(  # noqa: TRY400  # what is missing is no bug: no traceback
            "no cluster to work in: neither a pod's service account nor a kubeconfig that can be used",
            extra={"error": " ".join(str(error).split()), "kubeconfig": os.environ.get("KUBECONFIG", "~/.kube/config")},
        )
        return 1
    operator = Operator(settings, configuration)
    try:
        async with serve(
            settings.http_host, settings.http_port, operator.metrics.registry, operator.healthy, operator.ready
        ) as port:
            logger.info("started", extra={"port": port, "namespaces": list(settings.namespaces) or "all"})
            try:
                await operator.run(stop, take_signals)
            except Exception:
                logger.exception("ended by an error")
                return 1
    except OSError as error:
        logger.error(  # noqa: TRY400  # the same
            "cannot listen for /healthz, /readyz and /metrics; set TORCHSERVE_OPERATOR_HTTP_PORT to a free port",
            extra={"port": settings.http_port, "error": error.strerror or str(error)},
        )
        return 1
    logger.info("stopped")
    return 0
