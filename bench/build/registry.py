"""The registry of the bench, and the base image in it: as large as wanted, never in memory as a whole."""

import hashlib
import http.client
import json
import random
import tarfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from testbed.base_images import OCI_MANIFEST, put_manifest
from torchserve_operator.builder.build import own_platform

PIECE = 1 << 20
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_TIMEOUT = 300.0


def noise(seed: int, size: int) -> Iterator[bytes]:
    """Bytes that no compression makes smaller, the same for the same seed, in pieces."""
    source = random.Random(seed)  # noqa: S311  nothing is kept secret with it
    for start in range(0, size, PIECE):
        yield source.randbytes(min(PIECE, size - start))


def push_base(host: str, path: str, tag: str, layer_sizes: list[int]) -> str:
    """Push an image with a layer of each of these sizes, in bytes; return its reference."""
    layers = [push_blob(host, path, _tar(number, size), _LAYER_TYPE) for number, size in enumerate(layer_sizes)]
    platform = own_platform()
    config = {
        "architecture": platform.architecture,
        "os": platform.os,
        "config": {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], "Cmd": ["serve"]},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
        "history": [{"created_by": f"layer {number}"} for number in range(len(layers))],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": push_blob(host, path, iter([json.dumps(config).encode()]), _CONFIG_TYPE),
        "layers": layers,
    }
    put_manifest(host, path, tag, OCI_MANIFEST, manifest)
    return f"{host}/{path}:{tag}"


def _tar(number: int, size: int) -> Iterator[bytes]:
    """A layer of one file."""
    entry = tarfile.TarInfo(f"opt/base/{number}.bin")
    entry.size = size
    yield entry.tobuf(tarfile.GNU_FORMAT)
    yield from noise(number, size)
    yield b"\0" * (-size % tarfile.BLOCKSIZE + 2 * tarfile.BLOCKSIZE)


def push_blob(host: str, path: str, pieces: Iterator[bytes], media_type: str = _LAYER_TYPE) -> dict[str, Any]:
    """Push a blob as plainly as it can be done, in one request, hashed on the way; return its descriptor."""
    digest, size = hashlib.sha256(), 0

    def counted() -> Iterator[bytes]:
        nonlocal size
        for piece in pieces:
            digest.update(piece)
            size += len(piece)
            yield piece

    connection = http.client.HTTPConnection(host, timeout=_TIMEOUT)
    try:
        place = _asked(connection, "POST", f"/v2/{path}/blobs/uploads/")
        place = _asked(connection, "PATCH", place, counted())
        mark = "&" if "?" in place else "?"
        _asked(connection, "PUT", f"{place}{mark}digest=sha256:{digest.hexdigest()}")
    finally:
        connection.close()
    return {"mediaType": media_type, "digest": f"sha256:{digest.hexdigest()}", "size": size}


def _asked(connection: http.client.HTTPConnection, method: str, path: str, body: Iterator[bytes] | None = None) -> str:
    """Ask, and return the path of the answer's Location."""
    headers = {"Content-Type": "application/octet-stream"}
    headers |= {"Content-Length": "0"} if body is None else {"Transfer-Encoding": "chunked"}
    connection.request(method, path, body, headers, encode_chunked=body is not None)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status >= 300:
        raise RuntimeError(f"{method} {path}: {answer.status} {text[:300].decode(errors='replace')}")
    parts = urlsplit(answer.headers["Location"])
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
