"""kopf as the watch layer: events go into the cache and the keys into the queue, nothing else.

An exception in a handler would lose its event for good, so a handler does what cannot fail; and because kopf never
reports what went away before it listed again, `sweep` compares the cache with the cluster (facts measured on kopf
1.45).
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import kopf

from torchserve_operator.kube.cache import Cache, Key
from torchserve_operator.kube.client import ApiError, Client
from torchserve_operator.kube.kinds import Kind

logger = logging.getLogger(__name__)


class NoDiffBase(kopf.DiffBaseStorage):
    """Keeps no last-handled state: users' objects carry no annotation of ours."""

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> Any:  # noqa: ARG002  # kopf's signature
        """Return an empty essence."""
        return {}

    def fetch(self, *, body: kopf.Body) -> Any:  # noqa: ARG002  # kopf's signature
        """Return nothing: nothing was kept."""
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: Any) -> None:
        """Keep nothing."""


class NoProgress(kopf.ProgressStorage):
    """Keeps no handlers' progress: there are only event handlers."""

    def fetch(self, *, key: Any, body: kopf.Body) -> Any:  # noqa: ARG002  # kopf's signature
        """Return nothing: nothing was kept."""
        return None

    def store(self, *, key: Any, record: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """Keep nothing."""

    def purge(self, *, key: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """Remove nothing."""

    def touch(self, *, body: kopf.Body, patch: kopf.Patch, value: Any) -> None:
        """Touch nothing."""

    def clear(self, *, essence: Any) -> Any:
        """Return the essence as it is: there is nothing of ours in it."""
        return essence


class _Forever:
    """Delays between a request's attempts, in seconds, without an end.

    kopf would stop watching for good after its last one; an outage of the API server lasts as long as it lasts.
    """

    def __iter__(self) -> Iterator[float]:
        yield from (0.5, 1.0, 2.0)
        while True:
            yield 5.0


class Watcher:
    """Keeps a cache in step with the cluster and says which resources to look at.

    Args:
        cache: Where objects go.
        enqueue: Called with the key of each resource that may have changed.
        selectors: The kinds to watch, each with a label selector for the API server or None.
        namespaces: Where to watch; None among them is the whole cluster.
        timeout: The most that one list may take, in seconds.
    """

    def __init__(
        self,
        cache: Cache,
        enqueue: Callable[[Key], None],
        selectors: Mapping[Kind, str | None],
        namespaces: Sequence[str | None] = (None,),
        timeout: float = 30.0,
    ) -> None:
        self._cache = cache
        self._enqueue = enqueue
        self._selectors = dict(selectors)
        self._namespaces = tuple(namespaces)
        self._paths = {kind.path(namespace): kind for kind in self._selectors for namespace in self._namespaces}
        self._timeout = timeout
        self._listed: set[Kind] = set()
        self._wake = asyncio.Event()
        self.events = 0

    def register(self, registry: kopf.OperatorRegistry) -> None:
        """Register one event handler for each kind."""
        for kind in self._selectors:
            self._register(registry, kind)

    def configure(self, settings: kopf.OperatorSettings) -> None:
        """Set kopf up as a mere watcher."""
        for kind, selector in self._selectors.items():
            if selector is not None:
                settings.watching.label_selectors[kind.group, kind.version, kind.plural] = selector
        settings.watching.chunk_size = 500
        settings.scanning.disabled = True
        settings.peering.standalone = True
        settings.posting.enabled = False
        settings.persistence.diffbase_storage = NoDiffBase()
        settings.persistence.progress_storage = NoProgress()
        settings.queueing.idle_timeout = 0.5
        settings.queueing.exit_timeout = 0.5
        settings.networking.request_timeout = self._timeout
        settings.networking.error_backoffs = _Forever()
        # kopf would kill the process this long after watching broke off, although it is taken up again
        settings.process.ultimate_exiting_timeout = None

    def observe(self, kind: Kind, event_type: str | None, body: Mapping[str, Any]) -> None:
        """Take over one event."""
        self.events += 1
        metadata = body["metadata"]
        key = (
            self._cache.drop(kind, metadata.get("namespace", ""), metadata["name"])
            if event_type == "DELETED"
            else self._cache.put(kind, body)
        )
        if key is not None:
            self._enqueue(key)

    def listed(self, path: str) -> None:
        """Take note that a list was asked for anew: what went away before it has had no event."""
        kind = self._paths.get(path)
        if kind is not None:
            self._listed.add(kind)
            self._wake.set()

    async def relisted(self) -> Collection[Kind]:
        """Wait for kinds that were listed anew since the last call, and return them."""
        await self._wake.wait()
        self._wake.clear()
        kinds, self._listed = self._listed, set()
        return kinds

    async def servable(self, client: Client) -> None:
        """Return if every kind can be found and listed.

        kopf looks once at what kinds there are: a definition that comes later, it would never watch.

        Raises:
            ApiError: Some kind cannot.
        """
        groups = (await client.request("GET", "/apis"))["groups"]
        known = {version["groupVersion"] for group in groups for version in group["versions"]}
        for kind in self._selectors:
            if kind.group and kind.api_version not in known:
                raise ApiError(404, "NotFound", f"{kind.name}: the API server does not know {kind.api_version}")
            for namespace in self._namespaces:
                await client.request("GET", kind.path(namespace), params={"limit": "1"})

    async def sweep(
        self, client: Client, kinds: Collection[Kind] | None = None
    ) -> dict[Kind, set[tuple[str, str, int]]]:
        """Forget what is gone from the cluster; return what is there: namespace, name and resourceVersion by kind.

        Args:
            client: The API server.
            kinds: Which to compare, in the order of the selectors; all of them where absent.

        Raises:
            ApiError: Some kind cannot be listed.
        """
        there: dict[Kind, set[tuple[str, str, int]]] = {}
        for kind in (kind for kind in self._selectors if kinds is None or kind in kinds):
            before = {(at, self._cache.revision(kind, *at)) for at in self._cache.keys(kind)}
            found = there[kind] = set()
            for namespace in self._namespaces:
                async for metadata in client.list_metadata(kind, namespace, self._selectors[kind]):
                    found.add((metadata["namespace"], metadata["name"], int(metadata["resourceVersion"])))
            names = {(namespace, name) for namespace, name, _ in found}
            for at, revision in before:
                # One that was written again since the list began is there, whatever the list says.
                if at not in names and self._cache.revision(kind, *at) == revision:
                    key = self._cache.drop(kind, *at)
                    logger.info("gone without an event", extra={"kind": kind.name, "object": "/".join(at)})
                    if key is not None:
                        self._enqueue(key)
        return there

    def _register(self, registry: kopf.OperatorRegistry, kind: Kind) -> None:
        @kopf.on.event(kind.group, kind.version, kind.plural, registry=registry, id=f"observe-{kind.plural}")
        async def observe(event: Any, **_: Any) -> None:
            self.observe(kind, event["type"], event["object"])
