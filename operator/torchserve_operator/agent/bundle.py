"""What is mounted into the pods: the agent as a zipapp, and the Java classes as a jar. Read once, same bytes always."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGE = "torchserve_agent"
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest date a zip can have: the archive depends on its content alone."""


class BundleError(Exception):
    """The package was installed without its jar."""


@dataclass(frozen=True)
class AgentBundle:
    """The agent of this version of the operator."""

    pyz: bytes
    """agent.pyz: run as `python -B agent.pyz`."""
    jar: bytes
    """graceful.jar: first on the JVM's class path."""
    digest: str
    """SHA-256 (hex) over the sources and the jar; the agent reports it as agentVersion."""


@cache
def agent_bundle() -> AgentBundle:
    """The bundle. Raises BundleError when graceful.jar was not built."""
    jar_path = HERE / "graceful.jar"
    if not jar_path.is_file():
        raise BundleError(
            f"{jar_path} is missing: the package's build hook compiles it (pip install), and `python hatch_build.py` "
            "does in a checkout; both need javac"
        )
    jar = jar_path.read_bytes()
    sources = {path.name: path.read_bytes() for path in sorted((HERE / "runtime").glob("*.py"))}
    digest = _digest({**sources, "graceful.jar": jar})
    return AgentBundle(pyz=_zipapp(sources, digest), jar=jar, digest=digest)


def _digest(files: dict[str, bytes]) -> str:
    """Over names and contents, not over the archive: another zlib compresses the same content differently."""
    total = hashlib.sha256()
    for name, data in sorted(files.items()):
        total.update(f"{name}\0{len(data)}\0".encode())
        total.update(data)
    return total.hexdigest()


def _zipapp(sources: dict[str, bytes], digest: str) -> bytes:
    entry = f"from {PACKAGE}.__main__ import main\n\nraise SystemExit(main({digest!r}))\n".encode()
    files = {"__main__.py": entry, **{f"{PACKAGE}/{name}": data for name, data in sources.items()}}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in sorted(files.items()):
            info = zipfile.ZipInfo(name, date_time=_EPOCH)
            info.external_attr = 0o644 << 16
            info.create_system = 3
            archive.writestr(info, data, zipfile.ZIP_DEFLATED, 9)
    return out.getvalue()
