"""The agent in a container of a real TorchServe image, as a pod would run it: restricted, read-only, numeric user."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import ssl
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torchserve_operator.agent.bundle import agent_bundle

AGENT = "/opt/torchserve-operator"
STORE = "/home/model-server/model-store"

HANDLER = '''
"""A model whose behaviour is in its model-config.yaml and in its requests."""
import importlib
import json
import os
import time


class Handler:
    def initialize(self, context):
        self.context = context
        self.config = context.model_yaml_config
        time.sleep(self.config.get("loadSeconds", 0))
        if self.config.get("imports"):
            importlib.import_module(self.config["imports"])
        if self.config.get("raises"):
            raise RuntimeError(self.config["raises"])
        if self.config.get("loadMegabytes"):
            self.ballast = os.urandom(1 << 20) * self.config["loadMegabytes"]

    def handle(self, data, context):
        answers = []
        for row in data:
            body = row.get("body") or row.get("data") or {}
            if isinstance(body, (bytes, bytearray)):
                body = json.loads(bytes(body) or b"{}")
            time.sleep(body.get("seconds", 0))
            if body.get("megabytes"):
                self.ballast = os.urandom(1 << 20) * body["megabytes"]
            if body.get("exit"):
                os._exit(1)
            if body.get("status"):
                context.set_response_status(body["status"], "as asked", len(answers))
            answers.append({
                "pid": os.getpid(),
                "batch": len(data),
                "config": self.config,
                "manifest": context.manifest["model"],
                "echo": body.get("echo"),
                "filler": "x" * body.get("size", 0),
            })
        return answers
'''

LOG4J2 = """<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="WARN">
  <Appenders>
    <Console name="console"><PatternLayout pattern="%d{ISO8601} %p %t %c{1} %m%n"/></Console>
    <RollingFile name="models" fileName="/run/torchserve/logs/models.log"
                 filePattern="/run/torchserve/logs/models.log.%i">
      <PatternLayout pattern="%d{UNIX_MILLIS} %p %t %c{1} %m%n"/>
      <SizeBasedTriggeringPolicy size="1MB"/>
      <DefaultRolloverStrategy max="1"/>
    </RollingFile>
  </Appenders>
  <Loggers>
    <Logger name="MODEL_LOG" level="info" additivity="false"><AppenderRef ref="models"/></Logger>
    <Logger name="org.pytorch.serve.wlm" level="warn"><AppenderRef ref="models"/></Logger>
    <Logger name="org.pytorch.serve.archive" level="warn"><AppenderRef ref="models"/></Logger>
    <Logger name="org.pytorch.serve.ModelServer" level="warn"><AppenderRef ref="models"/></Logger>
    <Logger name="ACCESS_LOG" level="off"/>
    <Logger name="TS_METRICS" level="off"/>
    <Logger name="MODEL_METRICS" level="off"/>
    <Root level="warn"><AppenderRef ref="console"/></Root>
  </Loggers>
</Configuration>
"""


def docker(*arguments: str) -> str:
    """Runs the Docker client; its output. An error shows what it said."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"docker {' '.join(arguments)}: {done.stderr}{done.stdout}")
    return done.stdout.strip()


def write_model(
    folder: Path, name: str = "net", *, handler: str = HANDLER, baked: str | None = None, version: str = "0.1"
) -> None:
    """An exploded archive, as torch-model-archiver --archive-format no-archive makes it."""
    (folder / "MAR-INF").mkdir(parents=True)
    model = {"modelName": name, "modelVersion": version, "handler": "handler.py"}
    if baked is not None:
        (folder / "model-config.yaml").write_text(baked, encoding="utf-8")
        model["configFile"] = "model-config.yaml"
    manifest = {"createdOn": "01/01/2026 00:00:00", "runtime": "python", "model": model, "archiverVersion": "0.12.0"}
    (folder / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(manifest), encoding="utf-8")
    (folder / "handler.py").write_text(handler, encoding="utf-8")


@dataclass
class Setup:
    """What a container is started with: agent.json and policy.json by their parts."""

    image: str
    models: list[dict[str, Any]] = field(default_factory=lambda: [model()])
    bounds: dict[str, tuple[int, int]] = field(default_factory=dict)
    store: Path | None = None
    """Mounted as the image's model store; None: one with the model `net`."""
    memory: str | None = None
    drain: tuple[int, int] = (1, 20)
    tls: tuple[Path, Path] | None = None
    jvm_args: tuple[str, ...] = ("-Xmx192m",)
    properties: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    jar: bytes | None = None
    """graceful.jar; None: the one of the package; b"": none."""
    command: tuple[str, ...] = ("python", "-B", f"{AGENT}/agent/agent.pyz")
    user: str = "1000:1000"


def model(name: str = "net", *, path: str | None = None, version: str = "1.0", **keys: Any) -> dict[str, Any]:
    """One entry of agent.json's models; keyword arguments are its parameters."""
    settings = keys.pop("settings", {})
    return {"name": name, "version": version, "path": path, "settings": settings, "parameters": keys}


@dataclass
class Answer:
    """An HTTP answer."""

    status: int
    body: bytes

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


class Served:
    """One running container."""

    def __init__(self, name: str, folder: Path, *, tls: bool) -> None:
        self.name = name
        self.folder = folder
        self.tls = tls
        self.address = docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name)

    def agent(self, path: str) -> Answer:
        """GET on the agent's port."""
        connection = http.client.HTTPConnection(self.address, 8090, timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            return Answer(response.status, response.read())

    def status(self) -> dict[str, Any]:
        """The agent's /status."""
        return self.agent("/status").json()

    def connection(self, timeout: float = 60) -> http.client.HTTPConnection:
        """To the inference port."""
        if self.tls:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return http.client.HTTPSConnection(self.address, 8080, timeout=timeout, context=context)
        return http.client.HTTPConnection(self.address, 8080, timeout=timeout)

    def predict(self, body: dict[str, Any] | None = None, name: str = "net", timeout: float = 60) -> Answer:
        """One prediction over a connection of its own."""
        with contextlib.closing(self.connection(timeout)) as connection:
            connection.request(
                "POST", f"/predictions/{name}", json.dumps(body or {}), {"Content-Type": "application/json"}
            )
            response = connection.getresponse()
            return Answer(response.status, response.read())

    def wait(self, what: Callable[[dict[str, Any]], object], timeout: float = 60) -> dict[str, Any]:
        """Reads /status until `what` holds; the status then. Fails with the container's log."""
        deadline = time.monotonic() + timeout
        seen: Any = None
        while time.monotonic() < deadline:
            try:
                seen = self.status()
                if what(seen):
                    return seen
            except OSError as error:
                seen = error
                if not self.running():
                    break
            time.sleep(0.05)
        raise AssertionError(f"not within {timeout} s: {seen}\n{self.logs()}")

    def wait_ready(self, timeout: float = 90) -> dict[str, Any]:
        """Until the readiness probe would succeed."""
        return self.wait(lambda status: status["ready"], timeout)

    def set_policy(self, bounds: dict[str, tuple[int, int]]) -> None:
        """Replaces policy.json, as the kubelet does: at once."""
        _write_policy(self.folder / "policy", bounds)

    def execute(self, *command: str) -> str:
        """Runs a program in the container."""
        return docker("exec", self.name, *command)

    def signal(self, name: str = "TERM") -> None:
        """Signals the container's first process."""
        docker("kill", "--signal", name, self.name)

    def wait_exit(self, timeout: float = 60) -> int:
        """The exit code, once it has ended."""
        done = subprocess.run(
            ["docker", "wait", self.name], capture_output=True, text=True, timeout=timeout, check=True
        )
        return int(done.stdout)

    def running(self) -> bool:
        """Whether the container runs."""
        return docker("inspect", "-f", "{{.State.Running}}", self.name) == "true"

    def logs(self) -> str:
        """Standard output and error."""
        done = subprocess.run(["docker", "logs", self.name], capture_output=True, text=True, check=True)
        return done.stdout + done.stderr

    def termination(self) -> dict[str, str]:
        """What the kubelet would show as the termination message."""
        return json.loads((self.folder / "termination-log").read_text(encoding="utf-8"))


Start = Callable[[Setup], Served]
"""The `start` fixture: a container that ends with the test."""


@contextlib.contextmanager
def serve(setup: Setup, folder: Path) -> Iterator[Served]:
    """Starts a container and removes it afterwards."""
    _write_files(setup, folder)
    store = setup.store
    if store is None:
        store = folder / "store"
        write_model(store / "net")
    name = f"tso-server-test-{uuid.uuid4().hex[:12]}"
    line = ["run", "--detach", "--name", name, "--label", "torchserve-operator-test=server"]
    line += ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", setup.user]
    line += [
        part
        for path in ("/tmp", "/run/torchserve", "/home/torchserve")
        for part in ("--tmpfs", f"{path}:exec,mode=1777")
    ]
    line += ["--volume", f"{store}:{STORE}:ro", "--volume", f"{folder}/termination-log:/dev/termination-log"]
    for mount in ("agent", "server", "policy", *(("tls",) if setup.tls else ())):
        line += ["--volume", f"{folder}/{mount}:{AGENT}/{mount}:ro"]
    if setup.memory:
        line += ["--memory", setup.memory, "--memory-swap", setup.memory]
    environment = {"HOME": "/home/torchserve", "OMP_NUM_THREADS": "1", **setup.environment}
    line += [part for key, value in environment.items() for part in ("--env", f"{key}={value}")]
    docker(*line, "--entrypoint", setup.command[0], setup.image, *setup.command[1:])
    try:
        yield Served(name, folder, tls=setup.tls is not None)
    finally:
        docker("rm", "--force", "--volumes", name)


def _write_files(setup: Setup, folder: Path) -> None:
    bundle = agent_bundle()
    for name in ("agent", "server", "policy", "tls"):
        (folder / name).mkdir()
    (folder / "agent" / "agent.pyz").write_bytes(bundle.pyz)
    jar = bundle.jar if setup.jar is None else setup.jar
    if jar:
        (folder / "agent" / "graceful.jar").write_bytes(jar)
    (folder / "server" / "log4j2.xml").write_text(LOG4J2, encoding="utf-8")
    (folder / "server" / "agent.json").write_text(json.dumps(_agent_json(setup)), encoding="utf-8")
    (folder / "server" / "config.properties").write_text(_config_properties(setup), encoding="utf-8")
    _write_policy(folder / "policy", setup.bounds or {entry["name"]: (1, 1) for entry in setup.models})
    (folder / "termination-log").touch()
    (folder / "termination-log").chmod(0o666)
    if setup.tls:
        for source, name in zip(setup.tls, ("tls.crt", "tls.key"), strict=True):
            (folder / "tls" / name).write_bytes(source.read_bytes())
            (folder / "tls" / name).chmod(0o644)
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)


def _agent_json(setup: Setup) -> dict[str, Any]:
    tls = {"certificate": f"{AGENT}/tls/tls.crt", "key": f"{AGENT}/tls/tls.key"} if setup.tls else None
    units = {"m": 1 << 20, "g": 1 << 30}
    return {
        "schema": 1,
        "modelStore": STORE,
        "models": setup.models,
        "inference": {"port": 8080, "tls": setup.tls is not None},
        "management": {"port": 8081},
        "metrics": {"port": 8082},
        "agent": {"port": 8090},
        "jvm": {"args": list(setup.jvm_args), "asyncLogging": False},
        "tls": tls,
        "drain": {"minSeconds": setup.drain[0], "maxSeconds": setup.drain[1]},
        "memoryLimitBytes": int(setup.memory[:-1]) * units[setup.memory[-1]] if setup.memory else None,
    }


def _config_properties(setup: Setup) -> str:
    scheme = "https" if setup.tls else "http"
    lines = {
        "inference_address": f"{scheme}://0.0.0.0:8080",
        "management_address": "http://127.0.0.1:8081",
        "metrics_address": "http://127.0.0.1:8082",
        "load_models": ",".join(f"{entry['name']}={entry['name']}" for entry in setup.models),
        "disable_token_authorization": "true",
        "metrics_mode": "prometheus",
        "number_of_netty_threads": "4",
        "job_queue_size": "100",
    }
    if setup.tls:
        lines |= {"private_key_file": f"{AGENT}/tls/tls.key", "certificate_file": f"{AGENT}/tls/tls.crt"}
    return "".join(f"{key}={value}\n" for key, value in (lines | setup.properties).items())


def _write_policy(folder: Path, bounds: dict[str, tuple[int, int]]) -> None:
    models = {name: {"minWorkers": low, "maxWorkers": high} for name, (low, high) in bounds.items()}
    partial = folder / f".{os.getpid()}.partial"
    partial.write_text(json.dumps({"schema": 1, "models": models}), encoding="utf-8")
    partial.replace(folder / "policy.json")
