"""What the image brings: TorchServe, Java, a user, a `kill` program. Made good where it can be, named where not."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Dict, List, NamedTuple, Optional

from .problem import IMAGE_UNSUITABLE, ProblemError

_KILL = """#!%s -SE
import os, signal, sys
number, pids = signal.SIGTERM, []
arguments = sys.argv[1:]
while arguments:
    word = arguments.pop(0)
    if word in ("-s", "-n") and arguments:
        word = "-" + arguments.pop(0)
    if word.startswith("-") and word != "--" and not pids:
        name = word[1:].upper()
        number = int(name) if name.isdigit() else getattr(signal, name if name.startswith("SIG") else "SIG" + name)
    elif word != "--":
        pids.append(int(word))
status = 0
for pid in pids:
    try:
        os.kill(pid, number)
    except OSError as error:
        print("kill: (%%d) - %%s" %% (pid, error.strerror), file=sys.stderr)
        status = 1
sys.exit(status)
"""


class TorchServe(NamedTuple):
    """The installed package, found without importing it (that would import torch)."""

    home: str
    """The directory that has the package `ts` (model_server_home in TorchServe's words)."""
    version: str
    """"" when the package does not say."""

    @property
    def frontend(self) -> str:
        """The class path of TorchServe's own jars."""
        return os.path.join(self.home, "ts", "frontend", "*")


def find_torchserve() -> TorchServe:
    """Raises ProblemError (ImageUnsuitable) when this Python has no TorchServe."""
    spec = importlib.util.find_spec("ts")
    places = list(spec.submodule_search_locations or []) if spec else []
    for place in places:
        if os.path.isfile(os.path.join(place, "frontend", "model-server.jar")):
            # The real path, as TorchServe's own launcher uses it.
            package = os.path.realpath(place)
            return TorchServe(os.path.dirname(package), _version(package))
    raise ProblemError(
        IMAGE_UNSUITABLE,
        "the image's python (%s, the first on PATH) has no TorchServe: install torchserve into it, or put the Python "
        "that has it first on PATH" % sys.executable,
    )


def _version(package: str) -> str:
    try:
        with open(os.path.join(package, "version.txt"), encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""


def find_java(environment: Dict[str, str]) -> str:
    """The path of java: below $JAVA_HOME, or on PATH. Raises ProblemError (ImageUnsuitable)."""
    home = environment.get("JAVA_HOME")
    if home:
        java = os.path.join(home, "bin", "java")
        if os.access(java, os.X_OK):
            return java
    found = find_program("java", environment)
    if found:
        return found
    where = " (JAVA_HOME is %s)" % home if home else ""
    raise ProblemError(IMAGE_UNSUITABLE, "the image has no java on PATH%s: TorchServe needs Java 11 or newer" % where)


def find_program(name: str, environment: Dict[str, str]) -> Optional[str]:
    """Like shutil.which."""
    for folder in environment.get("PATH", "").split(os.pathsep):
        path = os.path.join(folder, name)
        if folder and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def server_environment(environment: Dict[str, str], run: str, config_file: str) -> Dict[str, str]:
    """The environment of the JVM and its workers: what pod and image set, and what is missing or cannot be.

    TS_CONFIG_FILE is set always: TorchServe lets it beat the command line, and an image may have one of its own.
    """
    complete = dict(environment)
    complete["TS_CONFIG_FILE"] = config_file
    logs = os.path.join(run, "logs")
    writable = {"TEMP": tempfile_folder(), "HOME": _home(run), "LOG_LOCATION": logs, "METRICS_LOCATION": logs}
    for name, folder in writable.items():
        # Images set these to directories of theirs (upstream: TEMP=/home/model-server/tmp), and the image is read-only.
        if not os.access(complete.get(name, ""), os.W_OK):
            complete[name] = folder
    missing = {}
    if not _has_passwd_entry():
        # getpass.getuser(), which torch and others call for cache directories, fails without either.
        missing.update({"USER": "torchserve", "LOGNAME": "torchserve"})
    for name, value in missing.items():
        complete.setdefault(name, value)
    if find_program("kill", complete) is None:
        folder = os.path.join(run, "bin")
        _install_kill(folder)
        complete["PATH"] = "%s%s%s" % (complete.get("PATH", ""), os.pathsep if complete.get("PATH") else "", folder)
    return complete


def tempfile_folder() -> str:
    """The pod's writable directory for what is short-lived; a socket's path must be short too."""
    return "/tmp"  # noqa: S108 - the pod's own emptyDir


def _home(run: str) -> str:
    return "/home/torchserve" if os.access("/home/torchserve", os.W_OK) else run


def _has_passwd_entry() -> bool:
    import pwd

    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        return False
    return True


def _install_kill(folder: str) -> None:
    """TorchServe stops workers with the `kill` program: without one, scaling down answers 500."""
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "kill")
    with open(path, "w", encoding="utf-8") as file:
        file.write(_KILL % sys.executable)
    os.chmod(path, 0o700)


def java_properties(path: str) -> Dict[str, str]:
    """The keys of config.properties that only TorchServe's Python launcher reads, in its own simple way of reading."""
    found = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            key, separator, value = line.strip().partition("=")
            if separator and not key.startswith(("#", "!")):
                found[key.strip()] = value.strip()
    return found


def class_path(torchserve: TorchServe, jar: Optional[str], plugins: Optional[str]) -> str:
    """Our jar first, then TorchServe's, then plugins as TorchServe's launcher adds them."""
    parts: List[str] = [jar] if jar else []
    parts.append(torchserve.frontend)
    if plugins:
        parts.append(plugins if "*" in plugins else plugins + "/*")
    return ":".join(parts)
