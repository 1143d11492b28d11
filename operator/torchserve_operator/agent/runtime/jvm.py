"""The Java server as a child process: its command line, its end, and everybody else's children."""

from __future__ import annotations

import os
import signal
import sys
from typing import Dict, List, Optional

from .config import Config, Paths
from .image import TorchServe, class_path, java_properties

PLAIN_MAIN = "org.pytorch.serve.ModelServer"
GRACEFUL_MAIN = "dev.torchserve_operator.GracefulMain"
UNSUITABLE = 87
"""GracefulMain's exit code when it does not fit the image's TorchServe."""

_PREFIX = "-Ddev.torchserve_operator."
_LOG4J = "-Dlog4j.configurationFile="
_ASYNC = "-Dlog4j2.contextSelector=org.apache.logging.log4j.core.async.AsyncLoggerContextSelector"


def command(
    config: Config, paths: Paths, environment: Dict[str, str], java: str, torchserve: TorchServe, *, graceful: bool
) -> List[str]:
    """The Java command, with all that TorchServe's own launcher (ts/model_server.py) passes on.

    Snapshots are off (-ncs): each scale call would write one, and it would override config.properties at a restart.
    """
    config_file = os.path.join(paths.server, "config.properties")
    properties = java_properties(config_file)
    arguments = [argument for argument in properties.get("vmargs", "").split() if not argument.startswith(_LOG4J)]
    arguments += [argument for argument in config.jvm_args if argument not in arguments]
    line = [java, "-Dmodel_server_home=%s" % torchserve.home]
    line.append("%sfile://%s" % (_LOG4J, os.path.join(paths.server, "log4j2.xml")))
    if environment.get("TEMP"):
        line.append("-Djava.io.tmpdir=%s" % environment["TEMP"])
    if config.async_logging:
        # TorchServe's async_logging sets the same, but only after log4j has started: nothing changes then.
        line.append(_ASYNC)
    line += arguments
    jar = None
    if graceful:
        jar = os.path.join(paths.agent, "graceful.jar")
        line += [
            "%smodels=%s" % (_PREFIX, ",".join(model.name for model in config.models)),
            "%sdrain.minSeconds=%d" % (_PREFIX, config.drain_min),
            "%sdrain.maxSeconds=%d" % (_PREFIX, config.drain_max),
            "%sfailure=%s" % (_PREFIX, failure_file(paths)),
        ]
    line += ["-cp", class_path(torchserve, jar, properties.get("plugins_path"))]
    line.append(GRACEFUL_MAIN if graceful else PLAIN_MAIN)
    line += ["--python", sys.executable, "-f", config_file, "-s", model_store(paths), "-ncs"]
    return line


def model_store(paths: Paths) -> str:
    """The model store that the agent lays out."""
    return os.path.join(paths.run, "model-store")


def failure_file(paths: Paths) -> str:
    """Where GracefulMain leaves the cause of a failed start, in one line."""
    return os.path.join(paths.run, "server-failure")


class Server:
    """The running JVM. Not for several threads."""

    def __init__(self, line: List[str], environment: Dict[str, str]) -> None:
        # Python ignores SIGPIPE, and a child would inherit that.
        self.pid = os.posix_spawn(line[0], line, environment, setsigdef=[signal.SIGPIPE, signal.SIGXFSZ])
        self.exit_code: Optional[int] = None
        """As a shell counts: 128 + the signal that ended it; None while it runs."""

    def signal(self, number: int) -> None:
        """Does nothing once it has ended."""
        if self.exit_code is None:
            os.kill(self.pid, number)

    def reap(self) -> None:
        """Collects every ended child: as the container's first process we inherit orphans."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.pid:
                self.exit_code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
