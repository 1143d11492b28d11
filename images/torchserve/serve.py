"""The image's own entry point: becomes TorchServe's Java process.

TorchServe's own starter stays the parent of Java and ignores SIGTERM, so a container of it is killed
only after the whole grace period. Here Java itself is the container's process: it gets the signals and
its exit code is the container's. It still cuts the requests in flight; a stop that loses none is the
operator's agent's, which replaces this entry point in a pod.

Arguments are passed on to TorchServe (``docker run IMAGE --models digits=digits``). The environment
names the files: ``TS_CONFIG_FILE`` and ``TS_LOG_CONFIG``.
"""

from __future__ import annotations

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

CONFIG = "/etc/torchserve/config.properties"
LOG_CONFIG = "/etc/torchserve/log4j2.xml"
MODEL_STORE = "/home/model-server/model-store"


def read_properties(path: Path) -> dict[str, str]:
    """The ``key=value`` lines of a properties file, without comments."""
    pairs = (line.strip().partition("=") for line in path.read_text(encoding="utf-8").splitlines())
    return {key.strip(): value.strip() for key, equals, value in pairs if equals and not key.startswith(("#", "!"))}


def command(arguments: list[str]) -> list[str]:
    """The Java command line for the configured files.

    Raises ``SystemExit`` with one line for the reader when a part is missing.
    """
    config = Path(os.environ.get("TS_CONFIG_FILE", CONFIG))
    if not config.is_file():
        sys.exit(f"serve: TS_CONFIG_FILE: there is no file {config}")
    java = shutil.which("java", path=str(Path(os.environ.get("JAVA_HOME", "/usr")) / "bin"))
    package = find_spec("ts")
    if java is None or package is None or not package.submodule_search_locations:
        sys.exit("serve: this image has no " + ("Java" if java is None else "TorchServe"))
    home = Path(package.submodule_search_locations[0])
    temporary = os.environ.get("TEMP", "/tmp")  # noqa: S108 - the container's own, named by the image
    properties = read_properties(config)
    return [
        java,
        f"-Dmodel_server_home={home.parent}",
        f"-Djava.io.tmpdir={temporary}",
        f"-Dlog4j.configurationFile=file://{os.environ.get('TS_LOG_CONFIG', LOG_CONFIG)}",
        # Only TorchServe's own starter reads this key; Java does not.
        *properties.get("vmargs", "").split(),
        "-cp",
        f"{home}/frontend/*",
        "org.pytorch.serve.ModelServer",
        *("--python", sys.executable),
        *("-f", str(config)),
        *("-s", properties.get("model_store", MODEL_STORE)),
        # No snapshots: after any scale call one would override the configuration at the next start.
        "-ncs",
        *arguments,
    ]


def main() -> None:
    """Replaces this process by Java."""
    line = command(sys.argv[1:])
    os.execv(line[0], line)  # noqa: S606 - no shell is wanted: Java takes over this process


if __name__ == "__main__":
    main()
