"""A directory of things that are costly to make, each under the hash of everything it was made from.

Nothing is ever changed in place: a thing is made beside its place and renamed into it, so that what is
there is whole, and an interrupted run loses only the piece it was at.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

KEY_LENGTH = 16
"""Hex digits kept of a content key: 64 bits, plenty for the few hundred things that live here."""


def root() -> Path:
    """``$TORCHSERVE_OPERATOR_CACHE``, else ``~/.cache/torchserve-operator``; made when missing."""
    given = os.environ.get("TORCHSERVE_OPERATOR_CACHE")
    path = Path(given) if given else Path.home() / ".cache" / "torchserve-operator"
    path.mkdir(parents=True, exist_ok=True)
    return path.resolve()


def directory(name: str) -> Path:
    """The directory ``name`` of the cache, made when missing."""
    path = root() / name
    path.mkdir(parents=True, exist_ok=True)
    return path


def content_key(parts: Iterable[str | bytes]) -> str:
    """The key of something made from ``parts``: their order and their borders count."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()[:KEY_LENGTH]


def tree_parts(tree: Path) -> Iterator[str | bytes]:
    """What counts in a directory of sources: names, execute bits, contents; in a fixed order."""
    for path in sorted(p for p in tree.rglob("*") if p.is_file() or p.is_symlink()):
        if "__pycache__" in path.parts:
            continue
        yield str(path.relative_to(tree))
        if path.is_symlink():
            yield f"-> {path.readlink()}"
        else:
            yield "x" if os.access(path, os.X_OK) else "-"
            yield path.read_bytes()


@contextmanager
def lock(name: str) -> Iterator[None]:
    """Hold the machine-wide lock ``name``: two runs never make the same thing at once, the second waits."""
    with (directory("locks") / name.replace("/", "_")).open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def publish(target: Path) -> Iterator[Path]:
    """Yield a path beside ``target`` to make a file or directory at; renamed to ``target`` on success.

    An existing target is replaced. On failure whatever was made is removed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        made = workplace / target.name
        yield made
        if target.is_dir() and not target.is_symlink():
            target.rename(workplace / "replaced")
        made.rename(target)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
