"""Kubernetes Events: few, and only what a person would want to know."""

import datetime as dt
import logging
from collections.abc import Mapping
from typing import Any, Literal

from torchserve_operator.kube.client import NAMESPACE_TERMINATING, ApiError, Client
from torchserve_operator.kube.kinds import EVENT

logger = logging.getLogger(__name__)

_NOTE_LIMIT = 1024


class Recorder:
    """Writes Events about an object; one that cannot be written is logged and forgotten.

    Args:
        client: The API server.
        controller: Who reports, as in `reportingController`.
        instance: Which process, as in `reportingInstance`.
    """

    def __init__(self, client: Client, controller: str, instance: str) -> None:
        self._client = client
        self._controller = controller
        self._instance = instance[:128]

    async def record(
        self, regarding: Mapping[str, Any], kind: Literal["Normal", "Warning"], reason: str, action: str, note: str
    ) -> None:
        """Write one Event.

        Args:
            regarding: The object that it is about, with apiVersion, kind and metadata.
            kind: Whether somebody should look.
            reason: A documented constant.
            action: What was done or tried, in CamelCase.
            note: One sentence.
        """
        metadata = regarding["metadata"]
        body = {
            "metadata": {"namespace": metadata["namespace"], "generateName": f"{metadata['name']}-"},
            "eventTime": dt.datetime.now(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "reportingController": self._controller,
            "reportingInstance": self._instance,
            "type": kind,
            "reason": reason,
            "action": action,
            "note": note if len(note) <= _NOTE_LIMIT else note[: _NOTE_LIMIT - 1] + "…",
            "regarding": {
                "apiVersion": regarding["apiVersion"],
                "kind": regarding["kind"],
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
        }
        try:
            await self._client.create(EVENT, body)
        except ApiError as error:
            # in a namespace that goes, no Event can be written, and there is nobody left to read it
            level = logging.INFO if error.reason == NAMESPACE_TERMINATING else logging.WARNING
            logger.log(level, "event not written", extra={"reason": reason, "error": str(error)})
