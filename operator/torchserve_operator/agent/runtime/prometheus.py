"""The agent's /metrics: the JVM's exact counters, and what the agent itself knows. Text exposition format 0.0.4."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Optional, Tuple

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "torchserve_operator_"

Labels = Dict[str, str]


class Exposition:
    """Collects metrics in order; `text()` is what a scrape gets."""

    def __init__(self) -> None:
        self._lines: List[str] = []

    def add(self, name: str, kind: str, about: str, samples: Iterable[Tuple[Labels, Optional[float]]]) -> None:
        """One metric. A sample of None is left out; a metric without samples too."""
        lines = [_sample(PREFIX + name, labels, value) for labels, value in samples if value is not None]
        if lines:
            self._lines += ["# HELP %s%s %s" % (PREFIX, name, about), "# TYPE %s%s %s" % (PREFIX, name, kind)]
            self._lines += lines

    def histogram(self, name: str, about: str, series: Iterable[Tuple[Labels, List[float], List[int], float]]) -> None:
        """Series of labels, upper bounds, counts per bucket (one more than bounds) and sum."""
        full = PREFIX + name
        lines: List[str] = []
        for labels, bounds, buckets, total in series:
            count = 0
            for index, bucket in enumerate(buckets):
                count += bucket
                bound = _number(bounds[index]) if index < len(bounds) else "+Inf"
                lines.append(_sample(full + "_bucket", dict(labels, le=bound), count))
            lines += [_sample(full + "_sum", labels, total), _sample(full + "_count", labels, count)]
        if lines:
            self._lines += ["# HELP %s %s" % (full, about), "# TYPE %s histogram" % full, *lines]

    def text(self) -> bytes:
        """Everything added."""
        return ("\n".join(self._lines) + "\n").encode("utf-8")


def render(status: Dict[str, Any], stats: Optional[Dict[str, Any]]) -> bytes:
    """The metrics of a status document (statusdoc.py) and of the JVM's statistics (StatsHandler), if any."""
    out = Exposition()
    server = status["server"]
    out.add(
        "agent_info",
        "gauge",
        "The agent and the server it runs.",
        [({"agent": status["agentVersion"], "torchserve": server["torchserveVersion"]}, 1)],
    )
    out.add("ready", "gauge", "1 while the readiness probe succeeds.", [({}, int(status["ready"]))])
    out.add("draining", "gauge", "1 after SIGTERM.", [({}, int(status["state"] == "Draining"))])
    models = status["models"]
    out.add(
        "model_workers",
        "gauge",
        "Worker processes by state.",
        [({"model": m["name"], "status": s}, n) for m in models for s, n in _by_status(m["workers"]).items()],
    )
    for key, name, about in (
        ("minWorkers", "model_workers_min", "The policy's lower bound."),
        ("maxWorkers", "model_workers_max", "The policy's upper bound."),
        ("queued", "model_queued_requests", "Requests that wait for a worker."),
    ):
        out.add(name, "gauge", about, [({"model": m["name"]}, m[key]) for m in models])
    out.add(
        "worker_memory_bytes",
        "gauge",
        "A worker's proportional set size.",
        [({"model": m["name"], "worker": w["id"]}, w["memoryBytes"]) for m in models for w in m["workers"]],
    )
    memory = status["memory"] or {}
    out.add("memory_limit_bytes", "gauge", "The container's memory limit.", [({}, memory.get("limitBytes"))])
    out.add(
        "memory_usage_bytes", "gauge", "The container's memory, file cache included.", [({}, memory.get("usageBytes"))]
    )
    out.add(
        "oom_kills_total", "counter", "Processes of the container killed for memory.", [({}, memory.get("oomKills"))]
    )
    if stats is not None:
        _add_requests(out, stats)
    return out.text()


def _add_requests(out: Exposition, stats: Dict[str, Any]) -> None:
    models = sorted(stats["models"].items())
    out.add("connections", "gauge", "Open connections to the inference port.", [({}, stats["connections"])])
    out.add("in_flight_requests", "gauge", "Requests of any kind in work, pings left out.", [({}, stats["inFlight"])])
    out.add(
        "model_in_flight_requests",
        "gauge",
        "Requests received and not answered yet, those in the queue included.",
        [({"model": name}, model["inFlight"]) for name, model in models],
    )
    out.add(
        "model_requests_total",
        "counter",
        "Requests by status code; 499: the client went away before the answer.",
        [({"model": name, "code": c}, n) for name, model in models for c, n in sorted(model["requests"].items())],
    )
    out.histogram(
        "model_request_duration_seconds",
        "From a request's header to its whole answer, queue included; 499 left out.",
        [({"model": name}, stats["bounds"], model["buckets"], model["seconds"]) for name, model in models],
    )


def _by_status(workers: List[Dict[str, Any]]) -> Dict[str, int]:
    counts = {"READY": 0}
    for worker in workers:
        counts[worker["status"]] = counts.get(worker["status"], 0) + 1
    return counts


def _sample(name: str, labels: Labels, value: float) -> str:
    inner = ",".join('%s="%s"' % (key, _escaped(text)) for key, text in labels.items())
    return "%s%s %s" % (name, "{%s}" % inner if inner else "", _number(value))


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def _escaped(text: str) -> str:
    return str(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
