"""Small base images for the builder's tests, pushed with nothing but HTTP: layers, config, manifest or index."""

import hashlib
import json
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


@dataclass(frozen=True)
class Pushed:
    """An image in a registry.

    Attributes:
        name: `HOST/PATH`.
        digest: Of its manifest or index.
        layers: The digests of its layers.
    """

    name: str
    digest: str
    layers: tuple[str, ...]
    manifest: Mapping[str, Any] = field(default_factory=dict)


def digest_of(content: bytes) -> str:
    """`sha256:…`."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def push_image(
    host: str,
    path: str,
    tag: str,
    layers: Sequence[bytes],
    *,
    architecture: str = "amd64",
    env: Sequence[str] = ("PATH=/usr/bin",),
    docker: bool = False,
) -> Pushed:
    """Push an image whose layers are these bytes, to a registry that is open and speaks plain HTTP."""
    vendor = "vnd.docker.image.rootfs.diff.tar" if docker else "vnd.oci.image.layer.v1.tar"
    config = json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "created": "2026-01-02T03:04:05Z",
            "config": {"Env": list(env), "Cmd": ["serve"]},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]},
            "history": [{"created_by": f"layer {number}"} for number in range(len(layers))],
        }
    ).encode()
    config_type = "vnd.docker.container.image.v1+json" if docker else "vnd.oci.image.config.v1+json"
    media_type = DOCKER_MANIFEST if docker else OCI_MANIFEST
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": _push_blob(host, path, config, f"application/{config_type}"),
        "layers": [_push_blob(host, path, layer, f"application/{vendor}") for layer in layers],
    }
    digest = put_manifest(host, path, tag, media_type, manifest)
    return Pushed(f"{host}/{path}", digest, tuple(digest_of(layer) for layer in layers), manifest)


def push_index(host: str, path: str, tag: str, images: Mapping[str, Pushed]) -> str:
    """Push an index of images by platform (`linux/arm64`); return its digest."""
    entries = []
    for platform, image in images.items():
        system, architecture, *variant = platform.split("/")
        entry: dict[str, Any] = {
            "mediaType": image.manifest["mediaType"],
            "digest": image.digest,
            "size": len(json.dumps(image.manifest).encode()),
            "platform": {"os": system, "architecture": architecture, **({"variant": variant[0]} if variant else {})},
        }
        entries.append(entry)
    return put_manifest(host, path, tag, OCI_INDEX, {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})


def put_manifest(host: str, path: str, tag: str, media_type: str, document: Mapping[str, Any]) -> str:
    """Put a manifest; return its digest."""
    body = json.dumps(document).encode()
    _request("PUT", f"http://{host}/v2/{path}/manifests/{tag}", body, {"Content-Type": media_type})
    return digest_of(body)


def _push_blob(host: str, path: str, content: bytes, media_type: str) -> dict[str, Any]:
    digest = digest_of(content)
    location = _request("POST", f"http://{host}/v2/{path}/blobs/uploads/", b"", {})["Location"]
    headers = {"Content-Type": "application/octet-stream"}
    _request("PUT", f"{location}{'&' if '?' in location else '?'}digest={digest}", content, headers)
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def _request(method: str, url: str, body: bytes, headers: Mapping[str, str]) -> Mapping[str, str]:
    request = urllib.request.Request(url, body, dict(headers), method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return dict(answer.headers)
