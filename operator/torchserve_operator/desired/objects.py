"""What all children share: names, labels, owner, and leaving out what is empty. Pure."""

from collections.abc import Mapping
from typing import Any

from torchserve_operator.api.names import API_VERSION, FIELD_MANAGER, KIND, LABEL_MANAGED_BY, LABEL_MODEL, LABEL_ROLE
from torchserve_operator.kube.drift import digest

Object = dict[str, Any]

_KEPT_EMPTY = {"emptyDir"}
"""Fields whose empty object means something."""


def selector(name: str) -> dict[str, str]:
    """Return the labels that select a resource's pods; a Deployment's selector can never change."""
    return {LABEL_MODEL: name}


def labels(name: str) -> dict[str, str]:
    """Return the labels of every child."""
    return {**common_labels(name), **selector(name)}


def common_labels(name: str) -> dict[str, str]:
    """Return the labels that select nothing: of a build's pods, which are not the Service's."""
    return {
        "app.kubernetes.io/name": "torchserve",
        "app.kubernetes.io/instance": name,
        LABEL_MANAGED_BY: FIELD_MANAGER,
    }


def metadata(
    resource: Mapping[str, Any],
    name: str,
    *,
    more_labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Object:
    """Return a child's metadata, with the resource as its owner: deleting the resource deletes the child.

    Args:
        resource: The resource's own metadata.
        name: The child's name.
        more_labels: Beside those of every child.
        annotations: The child's annotations.
    """
    return pruned(
        {
            "name": name,
            "namespace": resource["namespace"],
            "labels": {**labels(resource["name"]), **(more_labels or {})},
            "annotations": dict(annotations or {}),
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": KIND,
                    "name": resource["name"],
                    "uid": resource["uid"],
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        }
    )


def content_named(resource: Mapping[str, Any], role: str, content: Object, hashed: str | None = None) -> Object:
    """Return an immutable ConfigMap that is named by its content."""
    hashed = hashed or digest(content)
    return {
        "metadata": metadata(resource, f"{resource['name']}-{role}-{hashed[:10]}", more_labels={LABEL_ROLE: role}),
        "immutable": True,
        **content,
    }


def pruned(value: Object) -> Object:
    """Return the object without None, empty objects and empty lists; the API server would drop them too."""
    result: Object = _pruned(value)
    return result


def _pruned(value: Any) -> Any:
    if isinstance(value, Mapping):
        fields = {key: (item if key in _KEPT_EMPTY else _pruned(item)) for key, item in value.items()}
        return {
            key: item
            for key, item in fields.items()
            if key in _KEPT_EMPTY or (item is not None and item not in ({}, []))
        }
    if isinstance(value, list):
        return [_pruned(item) for item in value]
    return value
