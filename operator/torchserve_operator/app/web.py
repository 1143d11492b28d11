"""/healthz, /readyz and /metrics."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest


@asynccontextmanager
async def serve(
    host: str | None,
    port: int,
    registry: CollectorRegistry,
    healthy: Callable[[], str | None],
    ready: Callable[[], str | None],
) -> AsyncIterator[int]:
    """Serve while the block runs; yields the port.

    Args:
        host: The address, or None for every one.
        port: The port; 0 for any free one.
        registry: What /metrics shows.
        healthy: Returns what is wrong with the process, or None.
        ready: Returns what it waits for, or None.
    """

    def answer(question: Callable[[], str | None]) -> Callable[[web.Request], object]:
        async def handle(_: web.Request) -> web.Response:
            problem = question()
            return web.Response(text=f"{problem or 'ok'}\n", status=503 if problem else 200)

        return handle

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/healthz", answer(healthy))  # type: ignore[arg-type]  # aiohttp's Handler is a union of callables
    app.router.add_get("/readyz", answer(ready))  # type: ignore[arg-type]  # the same
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, shutdown_timeout=1)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
