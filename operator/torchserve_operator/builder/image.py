"""Images as documents: which manifest of an index, and the config and manifest of an image with layers appended.

Pure and deterministic: same inputs, same bytes, same digest. Formats: OCI image specification 1.1, and Docker's image
manifest version 2, schema 2, which an image keeps if its base has it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.registry import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST

ANNOTATION_LAYER: Final = "dev.torchserve-operator.layer"
"""On a layer's descriptor: what it is, such as `model digits`."""
ANNOTATION_LAYER_KEY: Final = "dev.torchserve-operator.layer-key"
"""On a layer's descriptor: the key of what it was made from."""
ANNOTATION_KEY: Final = "dev.torchserve-operator.key"
"""On the manifest: the key of everything that the image was made from."""
ANNOTATION_OWNER: Final = "dev.torchserve-operator.owner"
"""On the manifest: the resource that it was built for."""
ANNOTATION_BASE_NAME: Final = "org.opencontainers.image.base.name"
ANNOTATION_BASE_DIGEST: Final = "org.opencontainers.image.base.digest"
LABEL_MODELS: Final = "dev.torchserve-operator.models"
"""On the config: the models and their versions."""

FIELD_BASE: Final = "spec.build.baseImage"
FIELD_PLATFORM: Final = "spec.build.platform"

_FOREIGN: Final = ("nondistributable", "foreign")
_LAYER: Final = {
    OCI_MANIFEST: "application/vnd.oci.image.layer.v1.tar",
    DOCKER_MANIFEST: "application/vnd.docker.image.rootfs.diff.tar",
}
_CONFIG: Final = {
    OCI_MANIFEST: "application/vnd.oci.image.config.v1+json",
    DOCKER_MANIFEST: "application/vnd.docker.container.image.v1+json",
}
_VARIANTS: Final = {"arm64": "v8", "arm": "v7"}
"""What an absent variant means."""


@dataclass(frozen=True, slots=True)
class Platform:
    """Operating system, architecture and variant, as in `linux/arm64/v8`."""

    os: str
    architecture: str
    variant: str = ""

    def fits(self, other: "Platform") -> bool:
        """Whether an image for `other` runs here; an absent variant is the architecture's usual one."""
        usual = _VARIANTS.get(self.architecture, "")
        return (self.os, self.architecture, self.variant or usual) == (
            other.os,
            other.architecture,
            other.variant or usual,
        )

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


def parse_platform(text: str) -> Platform:
    """Parse `linux/amd64` or `linux/arm64/v8`.

    Raises:
        BuildError: It is neither.
    """
    parts = text.split("/")
    if len(parts) not in {2, 3} or not all(parts):
        raise BuildError(FIELD_PLATFORM, f'"{text}" is no platform', "write linux/amd64 or linux/arm64")
    return Platform(*parts)


def is_index(media_type: str) -> bool:
    """Whether it is a list of manifests, one for each platform."""
    return media_type in {OCI_INDEX, DOCKER_LIST}


def choose(index: Mapping[str, Any], wanted: Platform, reference: str) -> str:
    """Return the digest of the index's manifest for a platform.

    Raises:
        BuildError: It has none; the message names those that it has.
    """
    there: list[Platform] = []
    for entry in index.get("manifests") or ():
        platform = entry.get("platform") or {}
        found = Platform(platform.get("os", ""), platform.get("architecture", ""), platform.get("variant", ""))
        # Attestations lie in indexes as unknown/unknown.
        if found.os in {"", "unknown"}:
            continue
        if wanted.fits(found):
            return str(entry["digest"])
        there.append(found)
    names = ", ".join(sorted({str(platform) for platform in there})) or "no image"
    hint = "choose a base image for it, or a platform that the base has in spec.build.platform"
    raise BuildError(FIELD_BASE, f"{reference} has no image for {wanted}; it has {names}", hint)


@dataclass(frozen=True)
class Base:
    """The image that layers are appended to.

    Attributes:
        reference: As the user wrote it.
        digest: Of its manifest for the platform.
        media_type: Of that manifest.
        manifest: Parsed.
        config: Parsed.
    """

    reference: str
    digest: str
    media_type: str
    manifest: Mapping[str, Any]
    config: Mapping[str, Any]

    @property
    def layer_media_type(self) -> str:
        """What an uncompressed layer is called beside the base's own."""
        return _LAYER[self.media_type]

    @property
    def blobs(self) -> list[Mapping[str, Any]]:
        """The descriptors of its layers that a registry must have, each once; foreign ones are their owners'."""
        found = {layer["digest"]: layer for layer in self.manifest["layers"] if not _is_foreign(layer)}
        return list(found.values())


def check_manifest(media_type: str, manifest: Mapping[str, Any], reference: str) -> None:
    """Check that a document is an image's manifest in a format that can be appended to.

    Raises:
        BuildError: It is not.
    """
    config, layers = manifest.get("config"), manifest.get("layers")
    if media_type not in _LAYER or not isinstance(config, Mapping) or not isinstance(layers, list):
        kind = media_type or "without a type"
        hint = "an OCI image or a Docker image of schema 2 is needed: push it again with a tool of this decade"
        raise BuildError(FIELD_BASE, f"{reference} is no image that can be appended to ({kind})", hint)
    if str(config.get("mediaType")) not in _CONFIG.values():
        raise BuildError(FIELD_BASE, f"{reference} is an artifact ({config.get('mediaType')}), not an image")


def parse_config(content: bytes, reference: str) -> Mapping[str, Any]:
    """Parse an image's config.

    Raises:
        BuildError: It is none.
    """
    try:
        config = json.loads(content)
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise BuildError(FIELD_BASE, f"{reference} is broken: its config is no JSON object")
    return config


def check_base(base: Base, wanted: Platform) -> None:
    """Check that the base is whole and for the platform.

    Raises:
        BuildError: It is not.
    """
    config = base.config
    there = Platform(config.get("os", ""), config.get("architecture", ""), config.get("variant", ""))
    if not wanted.fits(there):
        hint = f"choose a base image for {wanted}, or set spec.build.platform"
        raise BuildError(FIELD_BASE, f"{base.reference} is for {there}, not for {wanted}", hint)
    diff_ids = (config.get("rootfs") or {}).get("diff_ids") or []
    if len(diff_ids) != len(base.manifest["layers"]):
        message = f"{base.reference} is broken: {len(base.manifest['layers'])} layers, {len(diff_ids)} diff_ids"
        raise BuildError(FIELD_BASE, message)


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that is appended: an uncompressed tar, so that its digest is its diff_id.

    Attributes:
        name: Such as `model digits`.
        key: Of what it was made from.
        digest: `sha256:…`.
        size: Bytes.
    """

    name: str
    key: str
    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Extras:
    """What the image gets beside its layers.

    Attributes:
        key: Of everything that the image is made from.
        owner: The resource, `namespace/name`.
        python_path: A folder that comes first on PYTHONPATH; empty for none.
        labels: On the config.
    """

    key: str
    owner: str
    python_path: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Composed:
    """An image's two documents.

    Attributes:
        config: Bytes.
        manifest: Bytes.
        media_type: Of the manifest.
    """

    config: bytes
    manifest: bytes
    media_type: str

    @property
    def digest(self) -> str:
        """Of the manifest: of the image."""
        return _digest(self.manifest)


def compose(base: Base, layers: Sequence[Layer], extras: Extras) -> Composed:
    """Make config and manifest of the base with the layers on it.

    `created` is the base's: a time of its own would give each build another digest.
    """
    config = _canonical(_config(base, layers, extras))
    manifest: dict[str, Any] = {
        **{key: value for key, value in base.manifest.items() if key not in {"subject", "annotations"}},
        "mediaType": base.media_type,
        "config": {"mediaType": _CONFIG[base.media_type], "digest": _digest(config), "size": len(config)},
        "layers": [*base.manifest["layers"], *(_descriptor(base, layer) for layer in layers)],
        "annotations": {
            **(base.manifest.get("annotations") or {}),
            ANNOTATION_BASE_NAME: base.reference,
            ANNOTATION_BASE_DIGEST: base.digest,
            ANNOTATION_KEY: extras.key,
            ANNOTATION_OWNER: extras.owner,
        },
    }
    return Composed(config, _canonical(manifest), base.media_type)


def layers_by_key(manifest: Mapping[str, Any]) -> dict[str, Layer]:
    """Return the layers of an image that an earlier build appended, by the key of what they were made from."""
    found = {}
    for layer in manifest.get("layers") or ():
        annotations = layer.get("annotations") or {}
        key = annotations.get(ANNOTATION_LAYER_KEY)
        if key and layer.get("mediaType") in _LAYER.values():
            found[key] = Layer(annotations.get(ANNOTATION_LAYER, ""), key, layer["digest"], layer["size"])
    return found


def annotation(manifest: Mapping[str, Any], name: str) -> str:
    """Return an annotation of a manifest, empty if there is none."""
    annotations = manifest.get("annotations")
    return str(annotations.get(name) or "") if isinstance(annotations, Mapping) else ""


def _config(base: Base, layers: Sequence[Layer], extras: Extras) -> dict[str, Any]:
    config = dict(base.config)
    running = dict(config.get("config") or {})
    if extras.python_path:
        running["Env"] = _first_on_python_path(running.get("Env") or [], extras.python_path)
    if extras.labels:
        running["Labels"] = {**(running.get("Labels") or {}), **extras.labels}
    config["config"] = running
    config["rootfs"] = {
        "type": "layers",
        "diff_ids": [*((base.config.get("rootfs") or {}).get("diff_ids") or []), *(layer.digest for layer in layers)],
    }
    # A history must have an entry for each layer; where the base has none, ours would be taken for its layers'.
    history = base.config.get("history")
    if history or not base.manifest["layers"]:
        created = {"created": base.config["created"]} if base.config.get("created") else {}
        entries = [{**created, "created_by": "torchserve-operator", "comment": layer.name} for layer in layers]
        config["history"] = [*(history or []), *entries]
    return config


def _first_on_python_path(env: Sequence[str], folder: str) -> list[str]:
    before = next((entry.partition("=")[2] for entry in env if entry.startswith("PYTHONPATH=")), "")
    rest = [part for part in before.split(":") if part and part != folder]
    others = [entry for entry in env if not entry.startswith("PYTHONPATH=")]
    return [*others, f"PYTHONPATH={':'.join([folder, *rest])}"]


def _descriptor(base: Base, layer: Layer) -> dict[str, Any]:
    annotations = {ANNOTATION_LAYER: layer.name, ANNOTATION_LAYER_KEY: layer.key}
    return {
        "mediaType": base.layer_media_type,
        "digest": layer.digest,
        "size": layer.size,
        "annotations": annotations,
    }


def _is_foreign(layer: Mapping[str, Any]) -> bool:
    return any(word in str(layer.get("mediaType")) for word in _FOREIGN)


def _canonical(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
