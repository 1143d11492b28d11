"""The agent's small pure parts: bounds, memory, log tail, configuration, drain, metrics."""

from __future__ import annotations

import ast
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from torchserve_operator.agent.runtime import prometheus, statusdoc
from torchserve_operator.agent.runtime.bounds import PATIENCE, Asked, decide
from torchserve_operator.agent.runtime.config import Bounds, Model, Tls, read_config, read_policy
from torchserve_operator.agent.runtime.digest import sha256_hex
from torchserve_operator.agent.runtime.drain import OutsideDrain
from torchserve_operator.agent.runtime.logtail import Tail
from torchserve_operator.agent.runtime.management import ModelView, Observation, Worker
from torchserve_operator.agent.runtime.memory import Memory, human, process_bytes, read
from torchserve_operator.agent.runtime.problem import Problem, ProblemError
from torchserve_operator.agent.runtime.state import ModelState, Round, State, advance
from torchserve_operator.agent.runtime.tls import Certificate, CertificateWatch

RUNTIME = Path(statusdoc.__file__).parent


@pytest.mark.parametrize(
    ("bounds", "minimum", "workers", "wanted", "expected"),
    [
        ((1, 4), 1, 1, None, None),
        ((1, 4), 3, 3, None, None),  # inside the bounds: the worker loop's affair
        ((4, 4), 1, 1, None, 4),
        ((1, 2), 4, 4, None, 2),
        ((0, 2), 0, 0, None, None),
        ((0, 0), 1, 1, None, 0),
        ((2, 4), 2, 1, None, 2),  # a list that never got there
        ((1, 4), 1, 1, 3, 3),
        ((1, 4), 1, 1, 9, 4),
    ],
)
def test_workers_are_asked_for_only_outside_the_bounds(
    bounds: tuple[int, int], minimum: int, workers: int, wanted: int | None, expected: int | None
) -> None:
    view = ModelView(minimum, minimum, tuple(Worker(str(i), "READY", i) for i in range(workers)), 0)
    assert decide(Bounds(*bounds), view, None, 0.0, wanted) == expected


def test_the_same_number_is_not_asked_for_at_every_round() -> None:
    view = ModelView(1, 1, (), 0)
    assert decide(Bounds(4, 4), view, Asked(4, 10.0), 10.0 + PATIENCE / 2) is None
    assert decide(Bounds(4, 4), view, Asked(4, 10.0), 10.0 + PATIENCE) == 4
    assert decide(Bounds(3, 3), view, Asked(4, 10.0), 10.0) == 3


def test_memory_is_read_from_both_kinds_of_cgroup(tmp_path: Path) -> None:
    v2 = tmp_path / "v2"
    v2.mkdir()
    (v2 / "memory.max").write_text("536870912\n")
    (v2 / "memory.current").write_text("1234\n")
    (v2 / "memory.events").write_text("low 0\noom 3\noom_kill 2\noom_group_kill 0\n")
    assert read(str(v2)) == Memory(512 << 20, 1234, 2)
    (v2 / "memory.max").write_text("max\n")
    assert read(str(v2)).limit is None
    v1 = tmp_path / "v1" / "memory"
    v1.mkdir(parents=True)
    (v1 / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    (v1 / "memory.usage_in_bytes").write_text("99\n")
    (v1 / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n")
    assert read(str(tmp_path / "v1")) == Memory(None, 99, 5)
    assert read(str(tmp_path / "nothing")) == Memory(None, None, None)


def test_a_process_memory_is_its_share_or_what_is_resident(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "status").write_text("Name:\tpython\nVmRSS:\t  300 kB\n")
    assert process_bytes(7, str(tmp_path)) == 300 << 10
    (tmp_path / "7" / "smaps_rollup").write_text("0-1 rollup\nRss:  300 kB\nPss:  200 kB\n")
    assert process_bytes(7, str(tmp_path)) == 200 << 10
    assert process_bytes(8, str(tmp_path)) is None


@pytest.mark.parametrize(
    ("size", "expected"),
    [(512 << 20, "512Mi"), (2 << 30, "2Gi"), (1500 << 20, "1500Mi"), (1000, "1000"), (None, "unlimited")],
)
def test_sizes_are_written_as_quantities(size: int | None, expected: str) -> None:
    assert human(size) == expected


def test_a_log_is_followed_through_rotation_and_half_lines(tmp_path: Path) -> None:
    log = tmp_path / "models.log"
    tail = Tail(str(log))
    assert tail.lines() == []
    with log.open("a") as file:
        file.write("one\ntw")
        file.flush()
        assert tail.lines() == ["one"]
        file.write("o\n")
        file.flush()
        assert tail.lines() == ["two"]
        file.write("three\n")
    log.rename(tmp_path / "models.log.1")
    log.write_text("four\n")
    assert tail.lines() == ["three", "four"]
    assert tail.lines() == []


CONFIG: dict[str, Any] = {
    "schema": 1,
    "modelStore": "/store",
    "models": [{"name": "net", "version": "1.0", "path": None, "settings": {}, "parameters": None}],
    "inference": {"port": 8080, "tls": False},
    "management": {"port": 8081},
    "metrics": {"port": 8082},
    "agent": {"port": 8090},
    "jvm": {"args": ["-Xmx1g"], "asyncLogging": True},
    "tls": {"certificate": "c", "key": "k"},
    "drain": {"minSeconds": 5, "maxSeconds": 30},
    "memoryLimitBytes": None,
}


def test_agent_json_is_read() -> None:
    config = read_config(json.dumps(CONFIG))
    assert config.models == [Model("net", "1.0", None, {}, {})]
    assert config.tls == Tls("c", "k")
    assert (config.drain_min, config.drain_max, config.memory_limit) == (5, 30, None)


@pytest.mark.parametrize("key", sorted(set(CONFIG) - {"metrics"}))  # the metrics port is TorchServe's own affair
def test_an_incomplete_agent_json_is_told_and_not_a_traceback(key: str) -> None:
    broken = {name: value for name, value in CONFIG.items() if name != key}
    with pytest.raises(ProblemError, match=f"agent.json is not as expected: KeyError\\('{key}'"):
        read_config(json.dumps(broken))


def test_a_policy_is_read_with_its_hash() -> None:
    data = b'{"schema": 1, "models": {"net": {"minWorkers": 1, "maxWorkers": 4}}}'
    policy = read_policy(data)
    assert policy.bounds == {"net": Bounds(1, 4)}
    assert policy.hash == hashlib.sha256(data).hexdigest() == sha256_hex(data)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"schema": 2, "models": {}}',
        '{"schema": 1, "models": {"net": {"minWorkers": 1}}}',
        '{"schema": 1, "models": {"net": {"minWorkers": 3, "maxWorkers": 2}}}',
        '{"schema": 1, "models": {"net": {"minWorkers": -1, "maxWorkers": 2}}}',
    ],
)
def test_a_broken_policy_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_policy(text.encode())


def test_a_renewed_certificate_is_noticed_and_a_missing_file_is_not_one(tmp_path: Path) -> None:
    tls = Tls(str(tmp_path / "tls.crt"), str(tmp_path / "tls.key"))
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).write_text("old")
    watch = CertificateWatch(tls)
    first = watch.look()
    assert first is not None
    assert not first.changed
    (tmp_path / "tls.crt").unlink()
    assert watch.look() == first
    (tmp_path / "tls.crt").write_text("new")
    renewed = watch.look()
    assert renewed is not None
    assert renewed.changed
    assert renewed.mounted != first.mounted
    # a pod that was started with the renewed one names the same
    assert CertificateWatch(tls).look() == renewed._replace(changed=False)
    assert CertificateWatch(None).look() is None


def test_a_drain_from_outside_waits_for_the_minimum_and_for_quiet_at_most_the_maximum() -> None:
    drain = OutsideDrain(0.0, 2.0, 10.0)
    assert not drain.done(1.0, busy=False)
    assert not drain.done(1.9, busy=True)
    assert not drain.done(2.1, busy=False), "quiet for a moment only"
    assert drain.done(2.7, busy=False)
    busy = OutsideDrain(0.0, 2.0, 10.0)
    assert not busy.done(9.9, busy=True)
    assert busy.done(10.0, busy=True)


def status_and_stats() -> tuple[dict[str, Any], dict[str, Any]]:
    view = ModelView(1, 2, (Worker("9000", "READY", 44), Worker("9001", "LOADING", -1)), queued=3, in_flight=4)
    bounds = {"net": Bounds(1, 2)}
    seen = Round(5.0, Observation({"net": view}, None), [], Memory(1 << 30, 5, 1), None, bounds, {"net": "1.0"})
    state = advance(State({"net": ModelState()}), seen)
    facts = statusdoc.Facts(
        "hash", "0.12.0", "policy", True, 12, Memory(1 << 30, 5, 1), None, {44: 2048}, Certificate(False, "ab"),
        [Problem("DrainDegraded", "why")],
    )  # fmt: skip
    status = statusdoc.build(state, [Model("net", "1.0", None, {}, {})], bounds, facts, 5.0)
    model = {"inFlight": 4, "requests": {"200": 5, "499": 1}, "seconds": 1.5, "buckets": [2, 2, 1]}
    return status, {"connections": 2, "inFlight": 4, "bounds": [0.1, 1.0], "models": {"net": model}}


def test_the_status_document_has_the_shape_that_the_operator_reads() -> None:
    status, _ = status_and_stats()
    assert json.loads(json.dumps(status)) == {
        "schema": 1,
        "agentVersion": "hash",
        "policyHash": "policy",
        "state": "Running",
        "started": True,
        "ready": True,
        "server": {"torchserveVersion": "0.12.0", "graceful": True, "pid": 12, "message": ""},
        "models": [
            {
                "name": "net",
                "version": "1.0",
                "minWorkers": 1,
                "maxWorkers": 2,
                "workers": [
                    {"id": "9000", "status": "READY", "pid": 44, "memoryBytes": 2048},
                    {"id": "9001", "status": "LOADING", "pid": -1, "memoryBytes": None},
                ],
                "readyWorkers": 1,
                "queued": 3,
                "inFlight": 4,
                "error": None,
            }
        ],
        "memory": {"limitBytes": 1 << 30, "usageBytes": 5, "oomKills": 1},
        "tls": {"certificateChanged": False, "mountedHash": "ab"},
        "warnings": [{"reason": "DrainDegraded", "message": "why"}],
    }


def test_metrics_are_what_prometheus_reads() -> None:
    text = prometheus.render(*status_and_stats()).decode()
    samples = {
        (sample.name.removeprefix("torchserve_operator_"), *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples[("model_requests_total", "200", "net")] == 5
    assert samples[("model_requests_total", "499", "net")] == 1
    assert samples[("model_request_duration_seconds_bucket", "0.1", "net")] == 2
    assert samples[("model_request_duration_seconds_bucket", "1", "net")] == 4
    assert samples[("model_request_duration_seconds_bucket", "+Inf", "net")] == 5
    assert samples[("model_request_duration_seconds_count", "net")] == 5
    assert samples[("model_request_duration_seconds_sum", "net")] == 1.5
    assert samples[("model_workers", "READY", "net")] == 1
    assert samples[("worker_memory_bytes", "9000", "net")] == 2048
    assert ("worker_memory_bytes", "9001", "net") not in samples
    assert prometheus.render(status_and_stats()[0], None)


def test_label_values_are_escaped() -> None:
    out = prometheus.Exposition()
    out.add("x", "gauge", "About.", [({"model": 'a"b\\c\nd'}, 1)])
    (family,) = text_string_to_metric_families(out.text().decode())
    assert family.samples[0].labels == {"model": 'a"b\\c\nd'}


@pytest.mark.parametrize("path", sorted(RUNTIME.glob("*.py")), ids=lambda path: path.name)
def test_the_agent_is_python_38_and_imports_nothing_heavy(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    top = {
        (alias.name if isinstance(node, ast.Import) else node.module or "").split(".")[0]
        for node in tree.body
        if isinstance(node, (ast.Import, ast.ImportFrom)) and getattr(node, "level", 0) == 0
        for alias in node.names
    }
    light = {
        "__future__", "contextlib", "importlib", "json", "os", "re", "select", "selectors", "shutil", "signal",
        "socket", "stat", "struct", "subprocess", "sys", "threading", "time", "typing",
    }  # fmt: skip
    assert top <= light, "every pod pays for what the agent imports"
