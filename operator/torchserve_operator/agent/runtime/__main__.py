"""The agent's entry: `python agent.pyz`, as the container's command."""

from __future__ import annotations

import os
import sys

from . import termination
from .config import Paths, read_config
from .problem import SERVER_FAILED, Problem, ProblemError
from .supervise import Agent, say


def main(version: str = "", paths: Paths = Paths()) -> int:  # noqa: B008 - a tuple of constants
    """Runs the agent in this container; returns the exit code."""
    try:
        os.makedirs(os.path.join(paths.run, "logs"), exist_ok=True)
        os.chdir(paths.run)  # TorchServe writes beside itself what it has no other place for
        with open(os.path.join(paths.server, "agent.json"), encoding="utf-8") as file:
            config = read_config(file.read())
    except (OSError, ProblemError) as error:
        problem = error.problem if isinstance(error, ProblemError) else Problem(SERVER_FAILED, str(error))
        say("%s: %s" % problem)
        termination.write(paths.termination_log, problem)
        return 1
    return Agent(version, config, paths).run()


if __name__ == "__main__":
    sys.exit(main())
