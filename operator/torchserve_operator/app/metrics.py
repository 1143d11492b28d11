"""The operator's own metrics."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from torchserve_operator.reconcile.projections import RESOURCE

if TYPE_CHECKING:
    from torchserve_operator.app.operator import Operator


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

    def watch(self, operator: "Operator") -> None:
        """Expose what an operator knows."""
        self.registry.register(_State(operator))


class _State(Collector):
    """Reads the operator's state when it is asked."""

    def __init__(self, operator: "Operator") -> None:
        self._operator = operator

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the names are known when they are collected."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield the state."""
        operator = self._operator
        yield GaugeMetricFamily(
            "torchserve_operator_resources", "TorchServeModels known.", value=operator.cache.count(RESOURCE)
        )
        yield GaugeMetricFamily("torchserve_operator_queue_depth", "Keys that wait.", value=len(operator.queue))
        yield CounterMetricFamily(
            "torchserve_operator_watch_events", "Watch events taken over.", value=operator.watcher.events
        )
        yield CounterMetricFamily("torchserve_operator_agent_reads", "Reads of agents.", value=operator.reader.reads)
        yield CounterMetricFamily(
            "torchserve_operator_agent_read_failures", "Reads of agents that failed.", value=operator.reader.failures
        )
        writes = CounterMetricFamily(
            "torchserve_operator_writes", "Requests that write, by verb and kind.", labels=["verb", "kind"]
        )
        for (verb, kind), count in sorted(operator.client.writes.items()):
            writes.add_metric([verb, kind], count)
        yield writes
