"""A thin façade over the official client's REST layer, for plain dicts.

The generated API costs a quarter more CPU a request and hides what is sent. Authentication, token refresh, TLS and
pooling stay the client's.
"""

import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, Self
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client as kubernetes_client
from kubernetes.aio import config as kubernetes_config
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config.config_exception import ConfigException

from torchserve_operator.kube.kinds import Kind

Object = dict[str, Any]

APPLY: Final = "application/apply-patch+yaml"
JSON_PATCH: Final = "application/json-patch+json"
MERGE_PATCH: Final = "application/merge-patch+json"
_DOUBT: Final = 1.0
"""Seconds in which the watch will have told whether a request without an answer was done."""
NAMESPACE_TERMINATING: Final = "NamespaceTerminating"
_METADATA_LIST: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"


class ApiError(Exception):
    """The API server refused a request, or could not be reached (status 0).

    Attributes:
        status: The HTTP status.
        reason: The Status object's reason, such as `AlreadyExists`; `NamespaceTerminating` where that is the cause.
        message: The API server's own words.
        retry_after: Seconds to wait, where it said so or nobody knows what it did.
    """

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed later without anybody's doing."""
        return self.status in {0, 408, 409, 429} or self.status >= 500


async def load_configuration(context: str | None = None) -> Configuration:
    """Return the cluster's address and credentials: KUBECONFIG or ~/.kube/config, else the pod's service account.

    Raises:
        ConfigException: Neither is there.
    """
    configuration = Configuration()
    try:
        kubernetes_config.load_incluster_config(configuration)
    except ConfigException:
        # the client reads the variable when it is imported; we, when it is used
        await kubernetes_config.load_kube_config(
            config_file=os.environ.get("KUBECONFIG"), context=context, client_configuration=configuration
        )
    configuration.retries = None  # none at all: 0 would repeat a refused GET for ever
    configuration.connection_pool_maxsize = 64
    # Otherwise each request goes to two threads and back, to look for ~/.netrc and for a proxy in the environment,
    # of which kopf's watches take no notice either; a kubeconfig's proxy-url counts.
    configuration.client_session_kwargs = {"trust_env": False}
    return configuration


class Client:
    """Requests to one API server. Use as an asynchronous context manager.

    Args:
        configuration: Address and credentials.
        field_manager: Who the writes are by.
        timeout: The most that one request may take, in seconds.
    """

    def __init__(self, configuration: Configuration, field_manager: str, timeout: float = 30.0) -> None:
        self.configuration = configuration
        self.writes: dict[tuple[str, str], int] = {}
        self._field_manager = field_manager
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._api = kubernetes_client.ApiClient(configuration)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._api.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Object:
        """Send one request and return the answer's object.

        Raises:
            ApiError: The answer is no 2xx, or none came.
        """
        url = self.configuration.host + path + (f"?{urlencode(params)}" if params else "")
        headers = {"Content-Type": content_type, "Accept": accept}
        try:
            token = await self.configuration.get_api_key_with_prefix("BearerToken")
            if token:
                headers["Authorization"] = token
            response = await self._api.rest_client.request(
                method, url, headers=headers, body=body, _request_timeout=self._timeout
            )
            data = await response.read()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise ApiError(0, "Unreachable", str(error) or type(error).__name__, _DOUBT) from error
        if 200 <= response.status < 300:
            try:
                return json.loads(data)  # type: ignore[no-any-return]  # the API server answers objects
            except ValueError as error:  # something between us and the API server answers in its place
                raise ApiError(0, "Unreadable", f"the answer is no JSON: {data[:100]!r}") from error
        raise _error(response.status, data, response.getheader("Retry-After"))

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Return the object, or None where there is none."""
        try:
            return await self.request("GET", kind.path(namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def list_metadata(
        self, kind: Kind, namespace: str | None, label_selector: str | None = None
    ) -> AsyncIterator[Object]:
        """Yield the metadata of every object, in pages."""
        params = {"limit": "500"}
        if label_selector:
            params["labelSelector"] = label_selector
        while True:
            page = await self.request("GET", kind.path(namespace), params=params, accept=_METADATA_LIST)
            for item in page.get("items") or ():
                yield item["metadata"]
            token = page.get("metadata", {}).get("continue")
            if not token:
                return
            params["continue"] = token

    async def apply(self, kind: Kind, body: Object, subresource: str | None = None) -> Object:
        """Server-side apply `body` by the operator's field manager, taking contested fields."""
        metadata = body["metadata"]
        return await self._write(
            "apply",
            kind,
            "PATCH",
            kind.path(metadata["namespace"], metadata["name"], subresource),
            params={"fieldManager": self._field_manager, "force": "true"},
            body={"apiVersion": kind.api_version, "kind": kind.name, **body},
            content_type=APPLY,
        )

    async def patch_json(self, kind: Kind, namespace: str, name: str, operations: Sequence[Object]) -> Object:
        """Apply JSON Patch operations."""
        return await self._write(
            "patch",
            kind,
            "PATCH",
            kind.path(namespace, name),
            params={"fieldManager": self._field_manager},
            body=list(operations),
            content_type=JSON_PATCH,
        )

    async def patch_merge(
        self, kind: Kind, namespace: str, name: str, patch: Object, subresource: str | None = None
    ) -> Object:
        """Apply a JSON merge patch."""
        return await self._write(
            "patch",
            kind,
            "PATCH",
            kind.path(namespace, name, subresource),
            params={"fieldManager": self._field_manager},
            body=patch,
            content_type=MERGE_PATCH,
        )

    async def create(self, kind: Kind, body: Object) -> Object:
        """Create an object."""
        return await self._write(
            "create",
            kind,
            "POST",
            kind.path(body["metadata"]["namespace"]),
            params={"fieldManager": self._field_manager},
            body={"apiVersion": kind.api_version, "kind": kind.name, **body},
        )

    async def select(self, kind: Kind, namespace: str, label_selector: str) -> list[Object]:
        """Return the objects that a selector selects: of few, and not from a cache."""
        answer = await self.request("GET", kind.path(namespace), params={"labelSelector": label_selector})
        return list(answer.get("items") or ())

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str, propagation: str | None = None) -> None:
        """Delete exactly the object that was seen; one that is already gone is fine.

        Args:
            kind: The object's kind.
            namespace: Where it is.
            name: Its name.
            uid: Its uid.
            propagation: What becomes of its own children (`Background`); a Job's are left alone where nothing is said.
        """
        body: Object = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": uid}}
        if propagation is not None:
            body["propagationPolicy"] = propagation
        try:
            await self._write("delete", kind, "DELETE", kind.path(namespace, name), body=body)
        except ApiError as error:
            if error.status != 404:
                raise

    async def _write(self, verb: str, kind: Kind, method: str, path: str, **arguments: Any) -> Object:
        key = (verb, kind.name)
        self.writes[key] = self.writes.get(key, 0) + 1
        return await self.request(method, path, **arguments)


def _error(status: int, data: bytes, retry_after: str | None) -> ApiError:
    try:
        answer = json.loads(data)
    except ValueError:
        answer = {}
    if not isinstance(answer, dict):
        answer = {}
    causes = (answer.get("details") or {}).get("causes") or ()
    terminating = any(cause.get("reason") == NAMESPACE_TERMINATING for cause in causes)
    return ApiError(
        status,
        NAMESPACE_TERMINATING if terminating else str(answer.get("reason") or "Error"),
        str(answer.get("message") or data[:500].decode(errors="replace").strip() or "no message"),
        float(retry_after) if retry_after and retry_after.isdigit() else None,
    )
