"""Everything before the JVM runs: the model store, the environment, and what the image lacks."""

from __future__ import annotations

import os
from typing import Dict, List, NamedTuple

from .config import Config, Paths, Policy
from .image import TorchServe, find_java, find_torchserve, server_environment
from .jvm import Server, command, failure_file, model_store
from .problem import Problem, ProblemError
from .store import lay_out


class Launch(NamedTuple):
    """All that a start of the JVM needs; a second start (with the plain main) uses the same."""

    config: Config
    paths: Paths
    environment: Dict[str, str]
    java: str
    torchserve: TorchServe

    def start(self, *, graceful: bool) -> Server:
        """Starts the JVM, with our classes or without."""
        line = command(self.config, self.paths, self.environment, self.java, self.torchserve, graceful=graceful)
        return Server(line, self.environment)


class StartError(ProblemError):
    """The server need not be started: it could not serve. `models` has the problems by model, where it is theirs."""

    def __init__(self, problem: Problem, models: Dict[str, Problem]) -> None:
        super().__init__(problem.reason, problem.message)
        self.models = models


def prepare(config: Config, paths: Paths, policy: Policy, inherited: Dict[str, str]) -> Launch:
    """Lays out the model store and finds Java and TorchServe. Raises StartError."""
    for path in (models_log(paths), failure_file(paths)):
        if os.path.exists(path):  # an earlier container of this pod
            os.unlink(path)
    try:
        torchserve = find_torchserve()
        java = find_java(inherited)
        environment = server_environment(inherited, paths.run, os.path.join(paths.server, "config.properties"))
    except ProblemError as error:
        raise StartError(error.problem, {}) from error
    problems = lay_out(config.model_store, config.models, policy.bounds, model_store(paths))
    if problems:
        raise StartError(_summary(config, problems), problems)
    return Launch(config, paths, environment, java, torchserve)


def models_log(paths: Paths) -> str:
    """What log4j2.xml writes for the agent."""
    return os.path.join(paths.run, "logs", "models.log")


def failure(paths: Paths) -> str:
    """The line that GracefulMain left when it could not start; "" when it left none."""
    try:
        with open(failure_file(paths), encoding="utf-8", errors="replace") as file:
            return " ".join(file.read(1000).split())
    except OSError:
        return ""


def _summary(config: Config, problems: Dict[str, Problem]) -> Problem:
    names: List[str] = [model.name for model in config.models if model.name in problems]
    first = problems[names[0]]
    more = " (and %d more models)" % (len(names) - 1) if len(names) > 1 else ""
    return Problem(first.reason, "model %s: %s%s" % (names[0], first.message, more))
