"""What becomes a layer, before anything of it is read, and the keys by which it is known again."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from torchserve_operator.builder.files import File

LAYOUT: Final = 1
"""Raised when the same inputs shall give other layers; a mere new release of the operator rebuilds nothing."""
SITE: Final = "/opt/torchserve-operator-site"
"""Where the requirements lie in the image."""


@dataclass(frozen=True, slots=True)
class LayerSource:
    """One layer to be.

    Attributes:
        name: Such as `model digits`.
        root: Its folder in the image, absolute.
        identity: What the source resolved to, such as `etag:…`.
        key: Of all that its content depends on (`layer_key`).
        files: Gives the files below `root`; called only if no layer with this key is there.
        field: Where in the resource it comes from, for errors.
        model: The model's name; empty for the requirements.
    """

    name: str
    root: str
    identity: str
    key: str
    files: Callable[[], tuple[File, ...]]
    field: str = ""
    model: str = ""


def layer_key(root: str, identity: str, recipe: Any = None) -> str:
    """Return the key of a layer.

    Args:
        root: Its folder in the image.
        identity: What the source resolved to.
        recipe: What is made of the source, as JSON: handler, file names, options.
    """
    return _hash([LAYOUT, root, identity, recipe])


def image_key(base_digest: str, owner: str, layers: Iterable[str], labels: dict[str, str]) -> str:
    """Return the key of an image: of its base, its layers' keys in order, and what else its config has.

    The owner is a part: two resources that are built of the same have a tag each, and neither overwrites the other's.
    """
    return _hash([LAYOUT, base_digest, owner, list(layers), labels])


def content_tag(key: str) -> str:
    """Return the tag that says what an image was made of."""
    return f"b-{key.removeprefix('sha256:')[:16]}"


def _hash(parts: Any) -> str:
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
