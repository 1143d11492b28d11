"""Container images, built once per content: the Debian base, and whatever a build context says.

An image carries the content key it was built from as a label; a build whose key is already there is skipped.
"""

import fnmatch
import hashlib
import re
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from testbed import cache, engine, registry
from testbed.errors import TestbedError
from testbed.progress import say, step

KEY_LABEL = "torchserve-operator.dev/content-key"

ALWAYS_LEFT_OUT = ("__pycache__", "*.pyc", ".git", ".venv", "*.egg-info", ".mypy_cache", ".ruff_cache", ".pytest_cache")


def build(
    context: Path,
    tag: str,
    build_args: Mapping[str, str] | None = None,
    *,
    dockerfile: str = "Dockerfile",
    include: Mapping[str, Path] | None = None,
    target: str | None = None,
) -> str:
    """Build ``context`` as image ``tag`` unless ``tag`` already is that very content; return the image ID.

    What counts as content: the context's files (without what its ``.dockerignore`` names), the build arguments,
    the target stage, and the IDs of the images that the Dockerfile or the arguments name.

    Args:
        context: the directory to build.
        tag: the image's name and tag.
        build_args: ``--build-arg`` values; those that name a local image count with that image's ID.
        dockerfile: path of the Dockerfile inside the context.
        include: more files or directories for the context: path inside it -> place on this machine.
        target: the stage to stop at.

    Raises:
        TestbedError: no such Dockerfile, or the build failed (the message ends with the builder's words).
    """
    arguments = dict(build_args or {})
    if not (context / dockerfile).is_file():
        raise TestbedError(f"{context} has no {dockerfile}")
    engine.ensure()
    bases = sorted({*arguments.values(), *_literal_bases((context / dockerfile).read_text())})
    ids = {base: image_id(base) or "" for base in bases}
    with tempfile.TemporaryDirectory(prefix=".context-", dir=cache.root()) as workplace:
        archive = Path(workplace) / "context.tar"
        write_context(archive, context, include or {})
        with archive.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        key = cache.content_key([digest, dockerfile, target or "", *_flat(arguments), *_flat(ids)])
        with cache.lock(f"image-{tag}"):
            if not is_current(tag, key):
                options = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
                options += ["--target", target] if target else []
                options += ["--label", f"{KEY_LABEL}={key}"]
                with step(f"building image {tag}"):
                    engine.docker_pipe(["build", "-t", tag, "-f", dockerfile, *options, "-"], archive)
    return image_id(tag) or ""


def push(tag: str) -> str:
    """Push ``tag`` to the local registry; return the digest (``sha256:...``).

    The image's reference for pods (and for this machine) is then ``registry.reference(tag)``.
    """
    registry.ensure()
    reference = registry.reference(tag)
    engine.docker("tag", tag, reference)
    with step(f"pushing {reference}"):
        output = engine.docker("push", reference)
    found = re.search(r"digest: (sha256:[0-9a-f]{64})", output)
    if not found:
        raise TestbedError(f"`docker push {reference}` named no digest:\n{output[-500:]}")
    return found.group(1)


def image_id(name: str) -> str | None:
    """The local image's ID, None when there is no such image."""
    found = engine.inspect("image", name) if name else None
    return str(found["Id"]) if found else None


def is_current(tag: str, key: str) -> bool:
    """Whether the local image ``tag`` was made from the content with this key."""
    found = engine.inspect("image", tag)
    labels = (found or {}).get("Config", {}).get("Labels") or {}
    return bool(labels.get(KEY_LABEL) == key)


def pull(reference: str) -> None:
    """Pull an image that is not here yet; only where an image registry answers."""
    if image_id(reference) is None:
        with step(f"pulling {reference}"):
            engine.docker("pull", "-q", reference)


def debian_base(release: str = "trixie") -> str:
    """The tag of a small Debian image, made or fetched when missing: ``testbed/debian:trixie-slim``.

    Where an image registry answers it is Debian's own; otherwise debootstrap makes it from the mirror of this
    machine's apt sources. Certificate authorities that this machine was given are added, for this machine only.
    """
    from testbed import debian

    tag = f"testbed/debian:{release}-slim"
    debian.ensure_base(release, tag)
    return tag


def _flat(pairs: Mapping[str, str]) -> Iterator[str]:
    for name, value in sorted(pairs.items()):
        yield name
        yield value


def _literal_bases(dockerfile: str) -> set[str]:
    """Images that FROM and COPY --from name outright; stage names among them are no images and count for nothing."""
    names = re.findall(r"^\s*FROM\s+(?:--platform=\S+\s+)?(\S+)", dockerfile, re.MULTILINE | re.IGNORECASE)
    names += re.findall(r"^\s*COPY\s+--from=(\S+)", dockerfile, re.MULTILINE | re.IGNORECASE)
    return {name for name in names if "$" not in name and name != "scratch"}


def _ignored(context: Path) -> list[str]:
    path = context / ".dockerignore"
    lines = [line.strip().rstrip("/") for line in path.read_text().splitlines()] if path.is_file() else []
    patterns = [line.removeprefix("/") for line in lines if line and not line.startswith("#")]
    if any(pattern.startswith("!") for pattern in patterns):
        raise TestbedError(f"{path}: exceptions (!) are not supported by the testbed's builder")
    return patterns


def write_context(target: Path, context: Path, include: Mapping[str, Path]) -> None:
    """Write the context as a tar that is the same for the same content: sorted, no times, no owners."""
    patterns = _ignored(context)
    places = {name: path for name, path in _walk(context, "") if not _matches(name, patterns)}
    for name, path in include.items():
        places.update(_walk(path, name) if path.is_dir() else [(name, path)])
    with tarfile.open(target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, path in sorted(places.items()):
            info = archive.gettarinfo(str(path), arcname=name)
            info.mtime, info.uid, info.gid, info.uname, info.gname = 0, 0, 0, "", ""
            info.mode = 0o755 if info.isdir() or info.mode & 0o100 else 0o644
            if info.isreg():
                with path.open("rb") as source:
                    archive.addfile(info, source)
            else:
                archive.addfile(info)
    if target.stat().st_size > 1 << 30:
        say(f"the build context {context} has {target.stat().st_size >> 20} MiB: does a .dockerignore miss something?")


def _walk(directory: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    for path in sorted(directory.rglob("*")):
        parts = path.relative_to(directory).parts
        if not any(fnmatch.fnmatch(part, pattern) for part in parts for pattern in ALWAYS_LEFT_OUT):
            yield "/".join((prefix, *parts) if prefix else parts), path


def _matches(name: str, patterns: list[str]) -> bool:
    """Whether .dockerignore's patterns leave out ``name`` or a directory that it lies in."""
    parts = name.split("/")
    heads = ["/".join(parts[: depth + 1]) for depth in range(len(parts))]
    return any(
        fnmatch.fnmatch(head, pattern) or fnmatch.fnmatch(head, pattern.removeprefix("**/"))
        for head in heads
        for pattern in patterns
    )
