"""The agent's loop: one thread that watches the JVM, asks it how its models are, and says so."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from typing import Any, Dict, List, Optional

from . import memory, prometheus, statusdoc, termination
from .bounds import Asked, decide
from .config import Config, Paths, Policy, read_policy
from .drain import OutsideDrain, busy_connections
from .jvm import UNSUITABLE, Server
from .loaderrors import LoadErrors
from .logtail import Tail
from .management import Client, ManagementError, Observation
from .problem import DRAIN_DEGRADED, OUT_OF_MEMORY, POLICY_INVALID, SERVER_FAILED, Problem
from .startup import Launch, StartError, failure, models_log, prepare
from .state import ModelState, Round, State, advance, started
from .tls import CertificateWatch
from .web import Answer, WebServer

STARTING, SETTLED, OUTSIDE = 0.25, 1.0, 0.2
"""Seconds between two rounds: while models load, after that, and during a drain that the agent itself watches."""
MEMORY_EVERY = 5.0
"""Seconds between two looks at the workers' memory and the certificate: the kernel walks page tables for the former."""
ALIVE = 30.0
"""Seconds without a round after which the agent itself is taken for dead."""
KILL_AFTER = 3.0
"""Seconds after the drain's bound until the JVM is killed."""


def say(text: str) -> None:
    """One line of the container's log."""
    print("[agent] " + text, flush=True)


class Agent:
    """One container's life. `run()` returns the exit code."""

    def __init__(self, version: str, config: Config, paths: Paths) -> None:
        self._version = version
        self._config = config
        self._paths = paths
        self._policy = Policy("", {})
        self._warnings: Dict[str, Problem] = {}
        self._state = State({model.name: ModelState() for model in config.models})
        self._versions = {model.name: model.version for model in config.models}
        self._launch: Optional[Launch] = None
        self._server: Optional[Server] = None
        self._graceful = os.path.isfile(os.path.join(paths.agent, "graceful.jar"))
        self._client = Client(config.management_port)
        self._tail = Tail(models_log(paths))
        self._errors = LoadErrors()
        self._certificate = CertificateWatch(config.tls)
        self._mounted = self._certificate.look()
        self._asked: Dict[str, Asked] = {}
        self._memory = memory.Memory(None, None, None)
        self._worker_bytes: Dict[int, int] = {}
        self._memory_at = float("-inf")
        self._stats: Optional[Dict[str, Any]] = None
        self._drain: Optional[OutsideDrain] = None
        self._kill_at: Optional[float] = None
        self._told: Dict[str, str] = {}
        self._beat: Optional[float] = None
        self._signals: List[int] = []
        self._status: Dict[str, Any] = {}
        self._publish(time.monotonic())
        self._web = WebServer(config.agent_port, self.answer, holding=["/startupz"])

    # What others may ask: called on the web server's thread, which only reads what _publish() left.

    def answer(self, path: str) -> Optional[Answer]:
        """The agent's HTTP paths."""
        status = self._status
        alive = self._beat is None or time.monotonic() - self._beat < ALIVE
        if path == "/livez":
            return _probe(alive, "the agent's loop hangs")
        if path == "/readyz":
            return _probe(alive and status["ready"], _why_not(status))
        if path == "/startupz":
            return _probe(status["started"], _why_not(status))
        if path == "/status":
            return Answer(200, json.dumps(status).encode("utf-8"), "application/json")
        if path == "/metrics":
            return Answer(200, prometheus.render(status, self._stats), prometheus.CONTENT_TYPE)
        return None

    # The loop.

    def run(self) -> int:
        """Starts the server, watches it, and returns the container's exit code."""
        wake = self._install_signals()
        self._web.start()
        self._read_policy()
        try:
            self._launch = prepare(self._config, self._paths, self._policy, dict(os.environ))
            if not self._graceful:
                self._degrade("graceful.jar is missing")
            self._server = self._launch.start(graceful=self._graceful)
        except StartError as error:
            self._fail(error.problem, error.models)
        except OSError as error:
            self._fail(Problem(SERVER_FAILED, "the server cannot be started: %s" % error), {})
        while True:
            now = time.monotonic()
            if self._server is not None:
                self._server.reap()
                if self._server.exit_code is not None:
                    code = self._ended(self._server.exit_code)
                    if code is not None:
                        return code
            if self._signals and not self._state.draining:
                code = self._stop(now)
                if code is not None:
                    return code
            self._try_round(now)
            self._continue_drain(time.monotonic())
            select.select([wake], [], [], self._pause())
            _drain_pipe(wake)

    def _install_signals(self) -> int:
        """Returns a descriptor that becomes readable at SIGTERM, SIGINT and SIGCHLD."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, lambda number, _: self._signals.append(number))
        signal.signal(signal.SIGINT, lambda number, _: self._signals.append(number))
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        return reader

    def _pause(self) -> float:
        if self._drain is not None:
            return OUTSIDE
        return SETTLED if self._state.fatal is not None or started(self._state) else STARTING

    def _try_round(self, now: float) -> None:
        """A fault of the agent must not end a server that serves: it shows in the log, and lasting, in the probes."""
        try:
            self._round(now)
            self._beat = time.monotonic()
        except Exception as error:  # noqa: BLE001 - see above
            import traceback

            where = traceback.extract_tb(error.__traceback__)[-1]
            say("internal error, please report: %r at %s:%s" % (error, os.path.basename(where[0]), where[1]))

    def _round(self, now: float) -> None:
        """Looks at everything once, and acts on the policy."""
        self._read_policy()
        self._memory = memory.read()
        # Errors before states: a worker that answers was asked after the error was written.
        errors = [error for error in map(self._errors.feed, self._tail.lines()) if error is not None]
        observation = self._observe()
        self._state = advance(
            self._state,
            Round(
                now=time.monotonic(),
                observation=observation,
                errors=errors,
                memory=self._memory,
                memory_limit=self._config.memory_limit,
                bounds=self._policy.bounds,
                versions=self._versions,
            ),
        )
        if observation is not None:
            self._stats = observation.stats if observation.stats is not None else self._stats
            self._keep_bounds(observation, now)
        if now - self._memory_at >= MEMORY_EVERY:
            self._memory_at = now
            self._measure()
        self._publish(time.monotonic())
        self._web.changed()
        self._tell()

    def _observe(self) -> Optional[Observation]:
        if self._server is None:
            return None
        try:
            return self._client.observe(list(self._versions), graceful=self._graceful)
        except ManagementError:
            return None

    def _keep_bounds(self, observation: Observation, now: float) -> None:
        if self._state.draining:
            return
        for name, view in observation.models.items():
            bounds = self._policy.bounds.get(name)
            if view is None or bounds is None:
                continue
            target = decide(bounds, view, self._asked.get(name), now)
            if target is None:
                continue
            self._asked[name] = Asked(target, now)
            try:
                self._client.scale(name, target)
                say("%s: %d workers asked for (policy: %d to %d)" % (name, target, bounds.minimum, bounds.maximum))
            except ManagementError as error:
                say("%s: cannot set %d workers: %s" % (name, target, error))

    def _read_policy(self) -> None:
        try:
            with open(self._paths.policy, "rb") as file:
                policy = read_policy(file.read())
        except OSError as error:
            self._warnings["policy"] = Problem(POLICY_INVALID, "policy.json cannot be read: %s" % error.strerror)
            return
        except ValueError as error:
            self._warnings["policy"] = Problem(POLICY_INVALID, "policy.json is kept as it was: %s" % error)
            return
        self._warnings.pop("policy", None)
        self._policy = policy

    def _measure(self) -> None:
        views = [model.view for model in self._state.models.values() if model.view is not None]
        pids = [worker.pid for view in views for worker in view.workers if worker.pid > 0]
        sizes = {pid: memory.process_bytes(pid) for pid in pids}
        self._worker_bytes = {pid: size for pid, size in sizes.items() if size is not None}
        self._mounted = self._certificate.look()

    def _publish(self, now: float) -> None:
        facts = statusdoc.Facts(
            agent_version=self._version,
            torchserve_version=self._launch.torchserve.version if self._launch is not None else "",
            policy_hash=self._policy.hash,
            graceful=self._graceful,
            pid=self._server.pid if self._server is not None else None,
            memory=self._memory,
            memory_limit=self._config.memory_limit,
            worker_bytes=self._worker_bytes,
            certificate=self._mounted,
            warnings=list(self._warnings.values()),
        )
        self._status = statusdoc.build(self._state, self._config.models, self._policy.bounds, facts, now)

    def _tell(self) -> None:
        """Log lines for what changed; the log is no place for what stays the same."""
        status = self._status
        news = {"": "%s, ready: %s" % (status["state"].lower(), "yes" if status["ready"] else "no")}
        for model in status["models"]:
            if model["error"] is not None:
                news[model["name"]] = "%s: %s" % (model["error"]["reason"], model["error"]["message"])
        for name, text in news.items():
            if self._told.get(name) != text:
                say("%s: %s" % (name, text) if name else text)
        self._told = news

    # Ends.

    def _degrade(self, why: str) -> None:
        self._graceful = False
        message = (
            "%s: keep-alive clients may lose requests when the pod stops, and there are no exact request counters" % why
        )
        self._warnings["drain"] = Problem(DRAIN_DEGRADED, message)
        say(message)

    def _fail(self, problem: Problem, models: Dict[str, Problem]) -> None:
        """The server does not start. /status says why until the kubelet ends the container."""
        say("%s: %s" % (problem.reason, problem.message))
        known = {
            name: model._replace(error=models[name]) if name in models else model
            for name, model in self._state.models.items()
        }
        self._state = self._state._replace(fatal=problem, models=known)
        termination.write(self._paths.termination_log, problem)

    def _stop(self, now: float) -> Optional[int]:
        """SIGTERM: unready at once, and the JVM drains itself; a second signal changes nothing."""
        served = started(self._state)
        self._state = self._state._replace(draining=True)
        self._publish(now)
        if self._server is None:
            return 1
        if not served:
            say("stopping before the models were loaded: nobody was served yet")
            self._server.signal(signal.SIGKILL)
            return 1 if any(model.error is not None for model in self._state.models.values()) else 0
        say("draining, %d to %d seconds" % (self._config.drain_min, self._config.drain_max))
        self._kill_at = now + self._config.drain_max + KILL_AFTER
        if self._graceful:
            self._server.signal(signal.SIGTERM)
        else:
            self._drain = OutsideDrain(now, self._config.drain_min, self._config.drain_max)
        return None

    def _continue_drain(self, now: float) -> None:
        if self._server is None or self._kill_at is None:
            return
        if self._drain is not None and self._drain.done(now, busy=self._busy()):
            self._drain = None
            self._server.signal(signal.SIGTERM)
        if now >= self._kill_at:
            say("the server did not end in time: killed")
            self._kill_at = float("inf")
            self._server.signal(signal.SIGKILL)

    def _busy(self) -> bool:
        queued = sum(model.view.queued for model in self._state.models.values() if model.view is not None)
        try:
            return queued > 0 or busy_connections(self._config.inference_port) > 0
        except OSError:
            return True  # no netlink here: the maximum it is

    def _ended(self, code: int) -> Optional[int]:
        """The JVM is gone: the exit code to pass on, or None when another one was started."""
        if code == UNSUITABLE and self._graceful and self._launch is not None:
            version = self._launch.torchserve.version or "of an unknown version"
            self._degrade("TorchServe %s does not fit the drain's Java classes" % version)
            self._server = self._launch.start(graceful=False)
            return None
        if self._state.draining:
            # The plain server ends by SIGTERM's own code when it was told to, after the drain.
            clean = code == 0 or (not self._graceful and code == 128 + signal.SIGTERM)
            say("the server ended: drained" if clean else "the server ended with exit code %d" % code)
            return 0 if clean else code
        kills = memory.read().oom_kills
        if code == 128 + signal.SIGKILL and kills is not None and kills > (self._state.oom_kills or 0):
            limit = self._config.memory_limit if self._config.memory_limit is not None else self._memory.limit
            message = "the Java server was killed: out of memory, the container's limit is %s" % memory.human(limit)
            problem = Problem(OUT_OF_MEMORY, message)
        else:
            why = failure(self._paths)
            message = "TorchServe's Java server ended with exit code %d%s" % (code, ": " + why if why else "")
            problem = Problem(SERVER_FAILED, message)
        say("%s: %s" % (problem.reason, problem.message))
        termination.write(self._paths.termination_log, problem)
        return code or 1


def _probe(good: bool, why: str) -> Answer:
    return Answer(200, b"ok\n") if good else Answer(503, (why + "\n").encode("utf-8"))


def _why_not(status: Dict[str, Any]) -> str:
    """The kubelet shows this line in its events."""
    if status["state"] in ("Failed", "Draining"):
        return str(status["server"]["message"] or status["state"].lower())
    for model in status["models"]:
        if model["error"] is not None:
            return "%s: %s: %s" % (model["name"], model["error"]["reason"], model["error"]["message"])
    waiting = ["%s %d of %d" % (m["name"], m["readyWorkers"], m["minWorkers"]) for m in status["models"]]
    return "ready workers: %s" % ", ".join(waiting)


def _drain_pipe(descriptor: int) -> None:
    try:
        while os.read(descriptor, 512):
            pass
    except BlockingIOError:
        pass
