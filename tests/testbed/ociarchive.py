"""Image archives written by hand, for images that are a program or two on nothing: no builder, no layers of others.

The format is that of ``docker save``, which ``ctr images import`` and ``docker load`` read.
"""

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Image:
    """One image: files on an optional root file system.

    Attributes:
        reference: its full name and tag.
        entrypoint: the command it runs.
        files: path inside the image -> file on this machine; all become executable.
        base: a tar of a root file system below the files.
    """

    reference: str
    entrypoint: Sequence[str]
    files: Mapping[str, Path] = field(default_factory=dict)
    base: bytes = b""


def write(target: Path, images: Iterable[Image]) -> None:
    """Write ``images`` to the archive ``target``."""
    manifest = []
    with tarfile.open(target, "w") as archive:
        written: set[str] = set()
        for image in images:
            layers = []
            for layer in ([image.base] if image.base else []) + [_layer(image.files)]:
                digest = hashlib.sha256(layer).hexdigest()
                layers.append(digest)
                if digest not in written:
                    _add(archive, f"{digest}.tar", layer)
                    written.add(digest)
            config = json.dumps(_config(image, layers), sort_keys=True).encode()
            name = f"{hashlib.sha256(config).hexdigest()}.json"
            _add(archive, name, config)
            layer_names = [f"{digest}.tar" for digest in layers]
            manifest.append({"Config": name, "RepoTags": [image.reference], "Layers": layer_names})
        _add(archive, "manifest.json", json.dumps(manifest).encode())


def architecture() -> str:
    """This machine's architecture in the images' words."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def _config(image: Image, layers: list[str]) -> dict[str, object]:
    return {
        "architecture": architecture(),
        "os": "linux",
        "config": {"Env": [f"PATH={PATH}"], "Entrypoint": list(image.entrypoint)},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in layers]},
    }


def _layer(files: Mapping[str, Path]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        for place, path in sorted(files.items()):
            info = tarfile.TarInfo(place.lstrip("/"))
            info.size, info.mode = path.stat().st_size, 0o755
            with path.open("rb") as source:
                layer.addfile(info, source)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))
