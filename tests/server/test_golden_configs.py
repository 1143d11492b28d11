"""A real TorchServe starts with every golden spec's files, and does what they say."""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from golden_server import GOLDEN, GoldenServer, serve_golden

NAMES = sorted(path.parent.name for path in GOLDEN.glob("*/spec.yaml"))

NOT_LOGGED = re.compile(
    r"\[agent\] .*|Model server started\.|nvidia-smi not available .*|xpu-smi not available .*"
    r"|WARNING: sun\.reflect\.Reflection\.getCallerClass .*|OpenJDK .* warning: .*"
)
"""What the agent, the JVM and TorchServe's own println write past log4j."""
LOG4J_COMPLAINT = re.compile(r"^(\d{4}-\S+ \d\S* )?\S+ (WARN|ERROR) .*", re.MULTILINE)
"""log4j's own log, as `status` lets it through."""
TEXT_LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\S+ (INFO|WARN|ERROR) +\S+ \S+ - .*|\S.*: .*|")

RAISING = """
class Handler:
    def initialize(self, context):
        raise ValueError('no "weights"')

    def handle(self, data, context):
        return data
"""

Serve = Callable[..., GoldenServer]


@pytest.fixture
def golden(runtime: str) -> Iterator[Serve]:
    """Starts a golden spec's server, which ends with the test."""
    with contextlib.ExitStack() as stack:

        def begin(name: str, image: str = runtime, **more: Any) -> GoldenServer:
            # Not tmp_path: its parents are closed to other users, and the container runs as one.
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            return stack.enter_context(serve_golden(name, folder, image, **more))

        yield begin


def records(server: GoldenServer) -> list[dict[str, Any]]:
    """The server's log, every line of which must be an object."""
    lines = [line for line in server.logs().splitlines() if not NOT_LOGGED.fullmatch(line)]
    found = [json.loads(line) for line in lines]
    assert all({"time", "level", "logger", "thread", "message"} <= record.keys() for record in found)
    return found


def access(found: list[dict[str, Any]]) -> list[str]:
    """The access log's messages."""
    return [record["message"] for record in found if record["logger"] == "ACCESS_LOG"]


def dump(server: GoldenServer) -> dict[str, str]:
    """What TorchServe says that its configuration is."""
    text = next(record["message"] for record in records(server) if "\nTorchserve version:" in record["message"])
    return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)


@pytest.mark.parametrize("name", NAMES)
def test_a_real_torchserve_starts_with_a_specs_files_and_answers(golden: Serve, name: str) -> None:
    server = golden(name)
    server.wait_ready()
    logging = server.spec.get("logging", {})
    assert server.get("/ping")[0] == 200
    assert server.predict({"echo": "ü"}, server.models[0]).json()["echo"] == "ü"
    assert "modelName" in server.inside("http://127.0.0.1:8081/models")

    log = server.logs()
    assert LOG4J_COMPLAINT.findall(log) == [] if logging.get("format") != "text" else "StatusLogger" not in log
    if logging.get("format") == "text":
        assert [line for line in log.splitlines() if not NOT_LOGGED.fullmatch(line)]
        assert "POST /predictions/" in log
        assert "GET /ping" not in log
        return
    found = records(server)
    if logging.get("level", "INFO") in {"INFO", "DEBUG"}:
        assert [r for r in found if r["level"] == "ERROR"] == []
        assert dump(server)["Config file"].endswith("/server/config.properties")
    lines = access(found)
    if logging.get("accessLevel") == "OFF":
        assert lines == []
        return
    assert len([line for line in lines if '"POST /predictions/' in line]) == 1
    assert bool([line for line in lines if '"GET /ping' in line]) == logging.get("pings", False)
    assert bool([line for line in lines if "/models" in line]) == logging.get("pings", False)


def test_the_server_reads_back_every_value_that_was_written(golden: Serve) -> None:
    server = golden("sizes")
    server.wait_ready()
    said = dump(server)
    assert {key: said[key] for key in said if key.startswith(("Netty", "Default", "Maximum", "Number of GPUs"))} == {
        "Number of GPUs": "0",
        "Netty threads": "3",
        "Netty client threads": "4",
        "Default workers per model": "2",
        "Maximum Response Size": "10485760",
        "Maximum Request Size": "104857600",
    }
    # Java counts a survivor space less than -Xmx300m
    assert 280 <= int(said["Max heap size"].removesuffix(" M")) <= 300
    queue = json.loads(server.inside("http://127.0.0.1:8081/models/digits"))[0]["jobQueueStatus"]
    assert queue["remainingCapacity"] == 1000


def test_odd_characters_in_values_arrive_as_they_were_written(golden: Serve) -> None:
    server = golden("free-properties")
    server.wait_ready()
    said = dump(server)
    assert said["Blacklist Regex"] == ".*SECRET.*|TOKEN=.*"
    assert said["Limit Maximum Image Pixels"] == "false"
    assert said["Prefer direct buffer"] == "true"


def test_cors_headers_are_sent_where_the_resource_says_so_and_nowhere_else(golden: Serve) -> None:
    allowed, other = golden("cors"), golden("minimal")
    for server in (allowed, other):
        server.wait_ready()
    headers = allowed.get("/ping", {"Origin": "https://shop.example"})[1]
    assert {name: value for name, value in headers.items() if name.startswith("access-control")} == {
        "access-control-allow-origin": "https://shop.example",
        "access-control-allow-methods": "GET, POST",
        "access-control-allow-headers": "Content-Type, X-Request-Id",
    }
    headers = other.get("/ping", {"Origin": "https://shop.example"})[1]
    assert not [name for name in headers if name.startswith("access-control")]


def test_a_metrics_configuration_gives_each_model_histograms(golden: Serve) -> None:
    server = golden("metrics-config")
    server.wait_ready()
    assert server.predict({}, "digits").status == 200
    page = server.inside("http://127.0.0.1:8082/metrics")
    assert re.search(r'^ts_inference_latency_microseconds_count\{model_name="digits",.*\} 1\.0$', page, re.MULTILINE)
    assert re.search(r'^ts_queue_latency_microseconds_count\{model_name="digits",.*\} 1\.0$', page, re.MULTILINE)
    assert "QueueTime" not in page


def test_an_exception_is_one_json_object_and_its_stack_trace_one_string(golden: Serve) -> None:
    server = golden("minimal", baked="parallelType: bogus\n")
    server.wait_ready()
    found = [record for record in records(server) if "exception" in record]
    assert [record["message"] for record in found] == ["Invalid ParallelType:bogus"]
    trace = found[0]["exception"]
    assert trace.startswith("java.util.NoSuchElementException: No value present\n\tat ")
    assert trace == trace.strip()


def test_what_a_handler_prints_keeps_its_quotes(golden: Serve) -> None:
    server = golden("minimal", handler=RAISING)
    server.wait(lambda status: status["models"] and status["models"][0]["error"])
    said = [record["message"] for record in records(server) if record["logger"] == "MODEL_LOG"]
    assert 'ValueError: no "weights"' in said


def test_a_silent_log_still_tells_the_agent_why_a_model_does_not_load(golden: Serve) -> None:
    server = golden("quiet-logging", handler=RAISING)
    status = server.wait(
        lambda status: status["models"] and (status["models"][0]["error"] or {}).get("reason") == "LoadFailed"
    )
    assert status["models"][0]["error"]["message"] == 'ValueError: no "weights"'
    assert [line for line in server.logs().splitlines() if not NOT_LOGGED.fullmatch(line)] == []


@pytest.mark.parametrize("name", ["two-models", "tls"])
def test_an_older_torchserve_starts_with_the_same_files(golden: Serve, legacy: str, name: str) -> None:
    server = golden(name, legacy)
    server.wait_ready()
    assert server.predict({}, server.models[0]).status == 200
    assert LOG4J_COMPLAINT.findall(server.logs()) == []
    assert dump(server)["Torchserve version"] == "0.11.1"
