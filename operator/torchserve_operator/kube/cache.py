"""What the cluster holds, as last seen: compact, grouped by the resource that owns it.

Objects are kept as JSON bytes: 8 KB of Deployment are some 60 KB of dicts, and most resources rest.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torchserve_operator.kube.kinds import Kind

Object = dict[str, Any]
Key = tuple[str, str]
"""Namespace and name of a resource."""
Projection = Callable[[Mapping[str, Any]], Object]
"""From an object as the API server sends it to what is kept of it; metadata stays."""


class Cache:
    """Objects by kind and owner.

    Args:
        owner: Names the resource that an object belongs to, or None for a stranger's.
        projections: What is kept of each kind; nothing that changes with every write, such as resourceVersion.
    """

    def __init__(
        self, owner: Callable[[Kind, Mapping[str, Any]], Key | None], projections: Mapping[Kind, Projection]
    ) -> None:
        self._owner = owner
        self._projections = projections
        self._objects: dict[Kind, dict[Key, tuple[int, Key, bytes]]] = {kind: {} for kind in projections}
        self._children: dict[Key, dict[tuple[Kind, str], None]] = {}

    def put(self, kind: Kind, body: Mapping[str, Any]) -> Key | None:
        """Keep an object unless a newer one is known; return the resource to look at, or None if nothing changed.

        What is not kept of an object is of no consequence: most events are a status, a lease or another manager's
        annotation, and looking at a resource costs many times what an event does.
        """
        metadata = body["metadata"]
        at = (metadata.get("namespace", ""), metadata["name"])
        revision = int(metadata.get("resourceVersion") or 0)
        known = self._objects[kind].get(at)
        if known is not None and known[0] >= revision:
            return None
        owner = self._owner(kind, body)
        if owner is None:
            return self.drop(kind, *at) if known is not None else None
        kept = json.dumps(self._projections[kind](body), separators=(",", ":")).encode()
        if known is not None and known[1:] == (owner, kept):
            self._objects[kind][at] = (revision, owner, known[2])
            return None
        if known is not None and known[1] != owner:
            self.drop(kind, *at)
        self._objects[kind][at] = (revision, owner, kept)
        self._children.setdefault(owner, {})[kind, at[1]] = None
        return owner

    def drop(self, kind: Kind, namespace: str, name: str) -> Key | None:
        """Forget an object; return the resource to look at, or None if it was not known."""
        known = self._objects[kind].pop((namespace, name), None)
        if known is None:
            return None
        owner = known[1]
        children = self._children.get(owner, {})
        children.pop((kind, name), None)
        if not children:
            self._children.pop(owner, None)
        return owner

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Return what is kept of an object."""
        known = self._objects[kind].get((namespace, name))
        return None if known is None else json.loads(known[2])

    def children(self, kind: Kind, owner: Key) -> list[Object]:
        """Return what is kept of a resource's objects of one kind, by name."""
        names = sorted(name for child, name in self._children.get(owner, ()) if child == kind)
        return [json.loads(self._objects[kind][owner[0], name][2]) for name in names]

    def keys(self, kind: Kind) -> Iterator[Key]:
        """Yield namespace and name of every known object of a kind."""
        yield from list(self._objects[kind])

    def revision(self, kind: Kind, namespace: str, name: str) -> int | None:
        """Return the resourceVersion of a known object."""
        known = self._objects[kind].get((namespace, name))
        return None if known is None else known[0]

    def owner(self, kind: Kind, namespace: str, name: str) -> Key | None:
        """Return the resource that a known object belongs to."""
        known = self._objects[kind].get((namespace, name))
        return None if known is None else known[1]

    def count(self, kind: Kind) -> int:
        """Return how many objects of a kind are known."""
        return len(self._objects[kind])
