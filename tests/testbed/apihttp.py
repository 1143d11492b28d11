"""Requests to the API server as bytes on the wire: what it answers is what is tested, so no client is in between."""

import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

from testbed.apiserver import ApiServer

MODELS = "/apis/torchserve-operator.dev/v1alpha1/namespaces/default/torchservemodels"


@dataclass(frozen=True)
class Answer:
    """One answer: the HTTP status and the object that came with it."""

    status: int
    body: dict[str, Any]

    @property
    def accepted(self) -> bool:
        return self.status in {200, 201}

    @property
    def fields(self) -> list[str]:
        """The fields that a refusal names."""
        causes = self.body.get("details", {}).get("causes", ())
        return [cause["field"].removeprefix(".") for cause in causes if cause.get("field")]


class Api:
    """Speaks to one API server as its administrator."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._context = ssl.create_default_context(cafile=str(server.ca))

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        **query: str,
    ) -> Answer:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(
            f"{self._server.url}{path}?{urllib.parse.urlencode(query)}",
            data=data,
            method=method,
            headers={"Authorization": f"Bearer {self._server.token}", "Content-Type": content_type},
        )
        try:
            with urllib.request.urlopen(request, context=self._context, timeout=30) as answer:
                return Answer(answer.status, json.load(answer))
        except urllib.error.HTTPError as error:
            return Answer(error.code, json.load(error))

    def create(self, body: dict[str, Any]) -> Answer:
        """Ask whether a resource could be created, as `kubectl create --validate=strict` does; nothing is kept."""
        return self.request("POST", MODELS, body, dryRun="All", fieldValidation="Strict")

    def apply(self, body: dict[str, Any]) -> Answer:
        """Ask whether a resource could be applied server-side, as Flux does; nothing is kept."""
        name = body.get("metadata", {}).get("name", "")
        return self.request(
            "PATCH",
            f"{MODELS}/{name}",
            body,
            content_type="application/apply-patch+yaml",
            dryRun="All",
            fieldValidation="Strict",
            fieldManager="test",
        )
