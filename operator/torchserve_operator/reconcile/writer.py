"""Writes a child only where it is not what is wanted, and takes out what strangers put in."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torchserve_operator.api.names import ANNOTATION_APPLIED
from torchserve_operator.kube.cache import Cache
from torchserve_operator.kube.client import ApiError, Client
from torchserve_operator.kube.drift import digest, dotted, first_difference, json_pointer
from torchserve_operator.kube.kinds import CONFIG_MAP, JOB, Kind
from torchserve_operator.reconcile.projections import PROJECTIONS
from torchserve_operator.status.observed import Refusal

logger = logging.getLogger(__name__)

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Written:
    """What became of one child.

    Attributes:
        changed: Whether anything was written.
        restored: What had been changed by somebody else, in words, or None.
        refusal: Why it could not be written, or None.
    """

    changed: bool = False
    restored: str | None = None
    refusal: Refusal | None = None


class Writer:
    """Brings children into the wanted shape.

    Args:
        client: The API server.
        cache: What is known of it; answers to writes go in at once, before their events come.
    """

    def __init__(self, client: Client, cache: Cache) -> None:
        self._client = client
        self._cache = cache

    async def ensure(self, kind: Kind, body: Object, uid: str) -> Written:
        """Make one child what is wanted.

        Args:
            kind: The child's kind.
            body: The child as wanted.
            uid: The owning resource's uid.
        """
        name = body["metadata"]["name"]
        try:
            return await self._ensure(kind, body, uid)
        except ApiError as error:
            return Written(refusal=_refusal(kind, name, error))

    async def create(self, kind: Kind, body: Object, uid: str) -> Written:
        """Make a child that is never changed, unless it is there.

        Args:
            kind: The child's kind.
            body: The child as wanted.
            uid: The owning resource's uid.
        """
        namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
        try:
            live = self._cache.get(kind, namespace, name) or await self._read(kind, namespace, name)
            if live is not None:
                stranger = _stranger(live, uid)
                return Written(refusal=Refusal(f"{kind.name} {name}", stranger, conflict=True) if stranger else None)
            self._cache.put(kind, await self._client.create(kind, body))
        except ApiError as error:
            return Written(refusal=_refusal(kind, name, error))
        return Written(changed=True)

    async def remove(self, kind: Kind, live: Mapping[str, Any]) -> None:
        """Delete a child that is wanted no more, and what belongs to it.

        Raises:
            ApiError: The API server refused.
        """
        metadata = live["metadata"]
        propagation = "Background" if kind == JOB else None
        await self._client.delete(kind, metadata["namespace"], metadata["name"], metadata["uid"], propagation)
        self._cache.drop(kind, metadata["namespace"], metadata["name"])

    async def _ensure(self, kind: Kind, body: Object, uid: str) -> Written:
        metadata = body["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        applied = digest(body)
        annotations = {**metadata.get("annotations", {}), ANNOTATION_APPLIED: applied}
        wanted = {**body, "metadata": {**metadata, "annotations": annotations}}
        live = self._cache.get(kind, namespace, name) or await self._read(kind, namespace, name)
        difference = None
        if live is not None:
            stranger = _stranger(live, uid)
            if stranger is not None:
                return Written(refusal=Refusal(f"{kind.name} {name}", stranger, conflict=True))
            difference = first_difference(comparable(kind, wanted), live)
            if difference is None and not live.get("foreign"):
                return Written()
        try:
            answer = await self._client.apply(kind, wanted)
        except ApiError as error:
            # Somebody made an immutable ConfigMap anew with other content: its name no longer tells the truth.
            if live is not None and kind == CONFIG_MAP and live["immutable"] and error.status == 422:
                await self.remove(kind, live)
                answer = await self._client.apply(kind, wanted)
            else:
                raise
        self._cache.put(kind, answer)
        removed = await self._remove_foreign(kind, answer)
        restored = None
        if live is not None and (live["metadata"].get("annotations") or {}).get(ANNOTATION_APPLIED) == applied:
            words = [f"{dotted(difference)} was changed"] if difference else []
            words += [f"{path} was added" for path in removed]
            restored = ", ".join(words) or None
        return Written(changed=True, restored=restored)

    async def _read(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Return the object by that name, which may be a stranger's and then has not been watched."""
        body = await self._client.get(kind, namespace, name)
        if body is None:
            return None
        self._cache.put(kind, body)
        return PROJECTIONS[kind](body)

    async def _remove_foreign(self, kind: Kind, body: Object) -> list[str]:
        """Remove what other managers added; a forced apply leaves it (measured on 1.36)."""
        paths = PROJECTIONS[kind](body).get("foreign") or []
        if not paths:
            return []
        metadata = body["metadata"]
        operations = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
            *({"op": "remove", "path": json_pointer(tuple(path))} for path in paths),
        ]
        answer = await self._client.patch_json(kind, metadata["namespace"], metadata["name"], operations)
        self._cache.put(kind, answer)
        return [dotted(tuple(path)) for path in paths]


def comparable(kind: Kind, wanted: Mapping[str, Any]) -> Object:
    """Return a wanted object in the form that is kept of live ones."""
    kept = PROJECTIONS[kind](wanted)
    kept.pop("foreign", None)
    kept.pop("status", None)
    return kept


def _refusal(kind: Kind, name: str, error: ApiError) -> Refusal:
    logger.info("write refused", extra={"kind": kind.name, "child": name, "error": str(error)})
    return Refusal(
        f"{kind.name} {name}", error.message, transient=error.transient, retry_after=error.retry_after or 0.0
    )


def _stranger(live: Mapping[str, Any], uid: str) -> str | None:
    """Return whose object this is if it is not the resource's, or None."""
    owners = live["metadata"].get("ownerReferences") or ()
    if any(owner.get("uid") == uid for owner in owners):
        return None
    controller = next((owner for owner in owners if owner.get("controller")), None)
    if controller is None:
        return "exists and does not belong to this resource; rename the resource or remove the object"
    return (
        f"exists and belongs to {controller.get('kind')} {controller.get('name')}; "
        "rename the resource or remove the object"
    )
