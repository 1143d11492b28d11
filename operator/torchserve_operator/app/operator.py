"""The operator: kopf watches, a queue of keys, workers that reconcile, and a reader of agents."""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import kopf
from kopf._core.engines.peering import Identity
from kubernetes.aio.client.configuration import Configuration

from torchserve_operator.agent.bundle import AgentBundle, agent_bundle
from torchserve_operator.api.names import FIELD_MANAGER
from torchserve_operator.app.metrics import Metrics, Snapshot
from torchserve_operator.app.settings import Settings
from torchserve_operator.kube.cache import Cache, Key
from torchserve_operator.kube.client import ApiError, Client
from torchserve_operator.kube.events import Recorder
from torchserve_operator.kube.family import Family
from torchserve_operator.kube.login import kopf_session
from torchserve_operator.kube.queue import KeyedQueue
from torchserve_operator.kube.watch import Watcher
from torchserve_operator.reconcile.agents import AgentReader
from torchserve_operator.reconcile.projections import PROJECTIONS, RESOURCE, SELECTORS, owner_of
from torchserve_operator.reconcile.reconcile import Reconciler, RetryLaterError
from torchserve_operator.status.build_words import Progress, parse_progress
from torchserve_operator.status.report import Report, parse_report

logger = logging.getLogger(__name__)

_SWEEP_PAUSE = 1.0
"""Seconds between two sweeps, however often a broken watch lists anew."""
_BUILDERS_AT_ONCE = 4
"""How many builders are read at once: there are few."""
_SYNC_PATIENCE = 30.0
"""Seconds after which the first lists are compared with the cluster again."""


class _Everything(Collection[asyncio.Task[Any]]):
    """All tasks there will ever be.

    When it stops, kopf waits 5 s for each task in the loop that is not ignored, and cancels it. What runs beside it
    here, the caller of `run` included, is not kopf's to end.
    """

    def __contains__(self, _: object) -> bool:
        return True

    def __iter__(self) -> Iterator[asyncio.Task[Any]]:
        return iter(asyncio.all_tasks())

    def __len__(self) -> int:
        return len(asyncio.all_tasks())


class Operator:
    """One operator process's work, from `start` to `stop`. Several may live in one process, in tests.

    Args:
        settings: How it works.
        configuration: The API server.
        bundle: The agent that new pods are started with; this package's own where absent.
    """

    def __init__(self, settings: Settings, configuration: Configuration, bundle: AgentBundle | None = None) -> None:
        self.settings = settings
        self._bundle = bundle or agent_bundle()
        self.metrics = Metrics()
        self.queue: KeyedQueue[Key] = KeyedQueue()
        self.cache = Cache(owner_of, PROJECTIONS)
        self.client = Client(configuration, FIELD_MANAGER, settings.api_timeout_seconds)
        self.reader: AgentReader[Report] = AgentReader(
            self.queue.add,
            parse_report,
            unsettled=settings.agent_unsettled_seconds,
            settled=settings.agent_settled_seconds,
            concurrency=settings.agent_concurrency,
            timeout=settings.agent_timeout_seconds,
        )
        self.builders: AgentReader[Progress] = AgentReader(
            self.queue.add,
            parse_progress,
            unsettled=settings.agent_unsettled_seconds,
            concurrency=_BUILDERS_AT_ONCE,
            timeout=settings.agent_timeout_seconds,
        )
        self.watcher = Watcher(
            self.cache, self.queue.add, SELECTORS, settings.namespaces or (None,), settings.api_timeout_seconds
        )
        self._synced = asyncio.Event()
        self._watching = asyncio.Event()
        self._configuration = configuration
        self._beat = time.monotonic()
        self._reconciler = Reconciler(
            self.client,
            self.cache,
            self.reader,
            Recorder(self.client, FIELD_MANAGER, socket.gethostname()),
            builders=self.builders,
            build_defaults=settings.build_defaults(),
            again=self.queue.add,
            bundle=self._bundle,
        )
        self.metrics.watch(self._snapshot)

    def healthy(self) -> str | None:
        """Return what is wrong with the process, or None."""
        stale = time.monotonic() - self._beat
        return f"the event loop has not turned for {stale:.0f} s" if stale > 30 else None

    def ready(self) -> str | None:
        """Return what the operator waits for, or None."""
        if not self._watching.is_set():
            return "the cluster is not being watched"
        return None if self._synced.is_set() else "the caches are not in step with the cluster yet"

    async def synced(self) -> None:
        """Wait until the caches are in step with the cluster."""
        await self._synced.wait()

    async def run(self, stop: asyncio.Event, spawned: Callable[[], None] = lambda: None) -> None:
        """Work until `stop` is set.

        Args:
            stop: Ends it; is also set when it ends by itself.
            spawned: Called each time when kopf was started, which takes the process's signals for itself.

        Raises:
            BaseExceptionGroup: Watching failed for good.
        """
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.client)
            background = [
                asyncio.create_task(self._heartbeat(), name="heartbeat"),
                asyncio.create_task(self._resync(), name="resync"),
                asyncio.create_task(self._sweep_relisted(), name="sweep"),
                *(asyncio.create_task(self.reader.run(), name="agents") for _ in range(self.reader.concurrency)),
                *(asyncio.create_task(self.builders.run(), name="builders") for _ in range(self.builders.concurrency)),
                *(asyncio.create_task(self._work(), name="worker") for _ in range(self.settings.workers)),
            ]
            tasks = [asyncio.create_task(self._watch(stop, spawned), name="watch"), *background]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                stop.set()
                for task in background:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, stop: asyncio.Event, spawned: Callable[[], None]) -> None:
        """Run kopf; it ends when `stop` is set, or when a watch stream breaks in a way that it cannot mend."""
        registry = kopf.OperatorRegistry()
        self.watcher.register(registry)

        @kopf.on.startup(registry=registry)
        async def startup(settings: kopf.OperatorSettings, **_: Any) -> None:
            self.watcher.configure(settings)

        @kopf.on.login(registry=registry)
        async def login(**_: Any) -> kopf.AiohttpSession:
            return await kopf_session(self._configuration, self.watcher.listed)

        async def watch() -> None:
            tasks = await kopf.spawn_tasks(
                registry=registry,
                clusterwide=not self.settings.namespaces,
                namespaces=self.settings.namespaces,
                standalone=True,
                # kopf's own asks for the user's name, which a numeric user has none of
                identity=Identity(socket.gethostname()),
                stop_flag=stop,
                ready_flag=self._watching,
            )
            spawned()
            await kopf.run_tasks(tasks, ignored=_Everything())

        delay = 1.0
        while await self._servable(stop):
            began = time.monotonic()
            family = Family()
            try:
                await family.start(watch())
            except Exception as error:  # noqa: BLE001  # whatever it was: what was missed is found by the next list
                logger.warning("watching broke off; starting again", extra={"error": str(error)})
                delay = 1.0 if time.monotonic() - began > 60 else min(30.0, delay * 2)
                self._watching.clear()
                await family.end()
                await _pause(stop, delay)
            else:
                stop.set()
                await family.end()

    async def _servable(self, stop: asyncio.Event) -> bool:
        """Wait until there is everything to watch; return whether it is to be watched."""
        told = None
        while not stop.is_set():
            try:
                await _unless(stop, self.watcher.servable(self.client))
            except ApiError as error:
                if str(error) != told:
                    told = str(error)
                    logger.warning("cannot watch yet", extra={"error": told})
                await _pause(stop, max(1.0, error.retry_after or 0.0))
            else:
                return not stop.is_set()
        return False

    async def _resync(self) -> None:
        """Bring the caches in step, let the workers begin, then look at everything again from time to time."""
        await self._first_sync()
        self._synced.set()
        logger.info(
            "in step with the cluster",
            extra={"resources": self.cache.count(RESOURCE), "agent": self._bundle.digest[:12]},
        )
        while True:
            await asyncio.sleep(self.settings.resync_seconds)
            try:
                await self.watcher.sweep(self.client)
            except ApiError as error:
                logger.warning("sweep failed", extra={"error": str(error)})
            for key in self.cache.keys(RESOURCE):
                self.queue.add(key)

    async def _sweep_relisted(self) -> None:
        """Find what went away while a kind was not watched, whenever kopf lists it anew."""
        await self._synced.wait()
        while True:
            kinds = await self.watcher.relisted()
            while True:
                try:
                    # the resources first: what belonged to one that is gone must not be made anew
                    await self.watcher.sweep(self.client, {RESOURCE, *kinds})
                except ApiError as error:
                    logger.warning("sweep failed", extra={"error": str(error)})
                    await asyncio.sleep(max(1.0, error.retry_after or 0.0))
                else:
                    break
            await asyncio.sleep(_SWEEP_PAUSE)

    async def _first_sync(self) -> None:
        """Wait until everything that is in the cluster is in the caches.

        Otherwise the first reconciles would write what is there already, or take a child that was not listed yet for
        a missing one.
        """
        await self._watching.wait()
        while True:
            try:
                there = await self.watcher.sweep(self.client)
            except ApiError as error:
                logger.warning("cannot list yet", extra={"error": str(error)})
                await asyncio.sleep(1)
                continue
            deadline = time.monotonic() + _SYNC_PATIENCE
            while time.monotonic() < deadline:
                missing = (
                    (kind, name)
                    for kind, found in there.items()
                    for namespace, name, revision in found
                    if (self.cache.revision(kind, namespace, name) or 0) < revision
                )
                if next(missing, None) is None:
                    return
                await asyncio.sleep(0.05)

    async def _work(self) -> None:
        await self._synced.wait()
        while True:
            key = await self.queue.take()
            try:
                await self._reconcile(key)
            finally:
                self.queue.done(key)

    async def _reconcile(self, key: Key) -> None:
        name = "/".join(key)
        try:
            with self.metrics.seconds.time():
                await self._reconciler.reconcile(key)
        except RetryLaterError as later:
            delay = self.queue.retry(key, later.at_least, later.retry_after)
            self.metrics.reconciles.labels("retried").inc()
            logger.info("to be tried again", extra={"resource": name, "cause": str(later), "seconds": round(delay, 1)})
        except Exception:
            self.queue.retry(key)
            self.metrics.reconciles.labels("failed").inc()
            logger.exception("reconcile failed", extra={"resource": name})
        else:
            self.queue.succeeded(key)
            self.metrics.reconciles.labels("done").inc()

    async def _heartbeat(self) -> None:
        while True:
            self._beat = time.monotonic()
            await asyncio.sleep(1)

    def _snapshot(self) -> Snapshot:
        return Snapshot(
            resources=self.cache.count(RESOURCE),
            queue_depth=len(self.queue),
            watch_events=self.watcher.events,
            agent_reads=self.reader.reads,
            agent_read_failures=self.reader.failures,
            writes=dict(self.client.writes),
        )


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    """Sleep, but not beyond `stop`."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do some work, but not beyond `stop`."""
    task, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
    finally:
        task.cancel()
        stopped.cancel()


@asynccontextmanager
async def running(operator: Operator) -> AsyncIterator[Operator]:
    """Run an operator beside the block; used by tests and benches."""
    stop = asyncio.Event()
    task = asyncio.create_task(operator.run(stop))
    synced = asyncio.create_task(operator.synced())
    try:
        await asyncio.wait({task, synced}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        yield operator
    finally:
        synced.cancel()
        stop.set()
        await task
