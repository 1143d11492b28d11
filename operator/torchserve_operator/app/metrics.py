"""The operator's own metrics."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What an operator knows when it is asked.

    Attributes:
        writes: Requests that wrote, by verb and kind.
    """

    resources: int
    queue_depth: int
    watch_events: int
    agent_reads: int
    agent_read_failures: int
    writes: Mapping[tuple[str, str], int]


class Metrics:
    """Counters of what the operator does, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.reconciles = Counter(
            "torchserve_operator_reconciles",
            "Reconciles, by how they ended: done, retried or failed.",
            ["result"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "torchserve_operator_reconcile_seconds",
            "How long one reconcile took.",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=self.registry,
        )

    def watch(self, snapshot: Callable[[], Snapshot]) -> None:
        """Expose what an operator knows."""
        self.registry.register(_State(snapshot))


class _State(Collector):
    """Asks for the operator's state when it is scraped."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the names are known when they are collected."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield the state."""
        now = self._snapshot()
        yield GaugeMetricFamily("torchserve_operator_resources", "TorchServeModels known.", value=now.resources)
        yield GaugeMetricFamily("torchserve_operator_queue_depth", "Keys that wait.", value=now.queue_depth)
        yield CounterMetricFamily(
            "torchserve_operator_watch_events", "Watch events taken over.", value=now.watch_events
        )
        yield CounterMetricFamily("torchserve_operator_agent_reads", "Reads of agents.", value=now.agent_reads)
        yield CounterMetricFamily(
            "torchserve_operator_agent_read_failures", "Reads of agents that failed.", value=now.agent_read_failures
        )
        writes = CounterMetricFamily(
            "torchserve_operator_writes", "Requests that write, by verb and kind.", labels=["verb", "kind"]
        )
        for (verb, kind), count in sorted(now.writes.items()):
            writes.add_metric([verb, kind], count)
        yield writes
