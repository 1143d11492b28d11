"""A registry's API (the OCI distribution specification) as the builder needs it, over urllib3, blocking.

`Registries` knows them all; a `Registry` sends one request with authorization, redirects and patience; a `Repository`
has the operations. Blobs go up by `upload`.
"""

import contextlib
import dataclasses
import hashlib
import json
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from torchserve_operator.builder.auth import (
    Authenticator,
    Credentials,
    Keychain,
    TokenRequest,
    TokenServerError,
    scope,
)
from torchserve_operator.builder.cancel import Cancellation
from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.files import CHUNK
from torchserve_operator.builder.patience import Patience, TryFailedError, retry_after
from torchserve_operator.builder.reference import Reference
from torchserve_operator.builder.refusals import refused
from torchserve_operator.builder.transport import Transport, TransportError, explained

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

MAX_DOCUMENT = 8 << 20
"""The most bytes of a manifest or a config; registries accept 4 MiB."""

_ACCEPTED = f"{OCI_INDEX}, {OCI_MANIFEST}, {DOCKER_LIST}, {DOCKER_MANIFEST}"
_ERROR_BODY = 16 << 10
_STEPS = 8
"""Redirects and renewed tokens on the way to one answer."""

Body = bytes | Callable[[], Iterable[bytes]]
"""What is sent: bytes, or what makes the pieces anew for each try."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    Attributes:
        method: Of HTTP.
        url: A path, or a whole URL where the registry gave one.
        doing: For errors: "HOST cannot …", such as `push to team/digits`.
        ok: The statuses that are returned; all others are errors.
        field: Where in the resource the registry is named.
        scopes: For the token.
        headers: Beside Authorization.
        body: What to send.
        read_timeout: Seconds without a byte; None is the transport's.
    """

    method: str
    url: str
    doing: str
    ok: frozenset[int]
    field: str
    scopes: frozenset[str]
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    body: Body | None = None
    read_timeout: float | None = None


class Registry:
    """One registry with one set of credentials.

    Args:
        name: As people write it.
        origin: Scheme and host of its API.
        credentials: For it.
        transport: The connections.
        patience: How often a request is tried.
        cancellation: Ends every wait.
    """

    def __init__(
        self,
        name: str,
        origin: str,
        credentials: Credentials,
        *,
        transport: Transport,
        patience: Patience,
        cancellation: Cancellation,
    ) -> None:
        self.name = name
        self.origin = origin
        self.patience = patience
        self.cancellation = cancellation
        self._transport = transport
        self._authenticator = Authenticator(origin, credentials, self._fetch_token)

    def request(self, call: Call) -> BaseHTTPResponse:
        """Send until there is an answer that is hoped for.

        Raises:
            BuildError: There is none.
        """
        return self.patience.persist(lambda: self.attempt(call), self.cancellation)

    def attempt(self, call: Call) -> BaseHTTPResponse:
        """Send once: with authorization, following redirects; the answer's body is unread.

        Raises:
            TryFailedError: There was no answer, or none of those hoped for.
        """
        url, refusals = self.resolve(call.url), 0
        for _ in range(_STEPS):
            response, sent = self._send(call, url)
            if response.status in call.ok:
                return response
            if response.status == 401 and refusals < 2 and self._is_own(url):
                refusals += 1
                if self._authenticator.challenged(response.headers.get("WWW-Authenticate", ""), call.scopes, sent):
                    discard(response)
                    continue
            target = _redirected(response, call.method, url)
            if target is None:
                raise self._refused(call, response)
            discard(response)
            if url.startswith("https:") and not target.startswith("https:"):
                raise self._failed(call, "sends this builder on to a place without TLS", transient=False)
            url = target
        raise self._failed(call, "sends this builder on and on", transient=False)

    def resolve(self, location: str, base: str = "") -> str:
        """Return the whole URL of a path or of a Location header.

        A registry that is reached at another address than its name may answer with its name.
        """
        url = urljoin(base or self.origin, location)
        return f"{self.origin}{url[len(_origin(url)) :]}" if urlsplit(url).netloc == self.name else url

    def _send(self, call: Call, url: str) -> tuple[BaseHTTPResponse, str]:
        headers = dict(call.headers)
        authorization = ""
        try:
            if self._is_own(url):
                authorization = self._authenticator.header(call.scopes)
            if authorization:
                headers["Authorization"] = authorization
            body = call.body() if callable(call.body) else call.body
            return self._transport.send(call.method, url, headers, body, call.read_timeout), authorization
        except TransportError as error:
            where = "" if self._is_own(url) else f" sends on to {urlsplit(url).hostname}, which"
            raise self._failed(call, where.lstrip() + (" " if where else "") + error.message, error) from error
        except TokenServerError as error:
            if error.status in {400, 401, 403}:
                raise refused(
                    401, None, b"", host=self.name, doing=call.doing, field=call.field, anonymous=self.anonymous
                ) from error
            message = f"has a token server, {error.realm}, that answers {error.status or 'without a token'}"
            raise self._failed(call, message, transient=error.status in {429, 500, 502, 503, 504}) from error

    @property
    def anonymous(self) -> bool:
        """Whether there are no credentials for it."""
        return self._authenticator.anonymous

    def _is_own(self, url: str) -> bool:
        return _origin(url) == self.origin

    def _refused(self, call: Call, response: BaseHTTPResponse) -> TryFailedError:
        body = _beginning(response)
        return refused(
            response.status,
            retry_after(response.headers.get("Retry-After", ""), time.time()),
            body,
            host=self.name,
            doing=call.doing,
            field=call.field,
            anonymous=self.anonymous,
        )

    def _failed(
        self, call: Call, what: str, error: TransportError | None = None, *, transient: bool = True
    ) -> TryFailedError:
        hint = error.hint if error else ""
        transient = error.transient if error else transient
        return TryFailedError(
            BuildError(call.field, f"cannot {call.doing}: {self.name} {what}", hint), transient=transient
        )

    def _fetch_token(self, request: TokenRequest) -> tuple[int, bytes]:
        response = self._transport.send(request.method, request.url, request.headers, request.body)
        return response.status, _beginning(response, MAX_DOCUMENT)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest or an index, as the registry has it.

    Attributes:
        media_type: Its own, or the answer's.
        digest: Of `body`.
        body: The bytes.
        document: The same, parsed.
    """

    media_type: str
    digest: str
    body: bytes
    document: Mapping[str, Any]


class Repository:
    """One repository of a registry.

    Args:
        registry: Where it is.
        reference: Its name; tag and digest do not count.
        field: Where in the resource it is named, for errors.
        push: Whether it is written to.
    """

    def __init__(self, registry: Registry, reference: Reference, field: str, *, push: bool = False) -> None:
        self.registry = registry
        self.reference = reference
        self.path = reference.repository
        self.field = field
        self._scopes = frozenset({scope(self.path, push=push)})

    def manifest(self, version: str) -> Manifest:
        """Get a manifest by tag or digest.

        Raises:
            BuildError: There is none, or it is not what its digest says.
        """
        found = self.find_manifest(version)
        if found is None:
            message = f"{self.registry.name} has no {self.path}{_joined(version)}"
            raise BuildError(self.field, message, "check its name and tag")
        return found

    def find_manifest(self, version: str) -> Manifest | None:
        """Get a manifest by tag or digest; None if there is none.

        Raises:
            BuildError: It cannot be asked for, or it is not what its digest says.
        """
        doing = f"read {self.path}{_joined(version)}"
        call = self.call(
            "GET", f"/v2/{self.path}/manifests/{version}", doing, {200, 404}, headers={"Accept": _ACCEPTED}
        )

        def get() -> tuple[int, str, bytes]:
            response = self.registry.attempt(call)
            return response.status, response.headers.get("Content-Type", ""), self._read(response, call, MAX_DOCUMENT)

        status, content_type, body = self.registry.patience.persist(get, self.registry.cancellation)
        if status == 404:
            return None
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if version.startswith("sha256:") and version != digest:
            raise BuildError(
                self.field, f"{self.registry.name} gave something else for {self.path}@{version}: {digest}"
            )
        try:
            document = json.loads(body)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise BuildError(self.field, f"{self.registry.name} gave no manifest for {self.path}{_joined(version)}")
        return Manifest(str(document.get("mediaType") or content_type.partition(";")[0]), digest, body, document)

    def put_manifest(self, version: str, media_type: str, body: bytes) -> None:
        """Store a manifest under a tag or under its digest.

        Raises:
            BuildError: It is refused.
        """
        doing = f"push {self.path}{_joined(version)}"
        call = self.call(
            "PUT",
            f"/v2/{self.path}/manifests/{version}",
            doing,
            {200, 201, 202},
            headers={"Content-Type": media_type},
            body=body,
        )
        discard(self.registry.request(call))

    def has_blob(self, digest: str) -> bool:
        """Whether the blob is there.

        Raises:
            BuildError: It cannot be asked.
        """
        call = self.call("HEAD", f"/v2/{self.path}/blobs/{digest}", f"look into {self.path}", {200, 404})
        response = self.registry.request(call)
        discard(response)
        return response.status == 200

    def read_blob(self, digest: str, size: int) -> bytes:
        """Get a small blob whole, and check it.

        Raises:
            BuildError: It is not there, too large, or not what its digest says.
        """
        if size > MAX_DOCUMENT:
            raise BuildError(
                self.field, f"{self.path} has a config of {size:,} bytes, at most {MAX_DOCUMENT:,} are read"
            )
        body = b"".join(self.blob(digest, size))
        if f"sha256:{hashlib.sha256(body).hexdigest()}" != digest:
            raise BuildError(self.field, f"{self.registry.name} gave something else for the blob {digest}")
        return body

    def blob(self, digest: str, size: int) -> Iterator[bytes]:
        """Yield a blob's bytes in pieces of at most 1 MiB, going on where a connection broke. They are not checked.

        Raises:
            BuildError: It is not there, or has another size.
        """
        done = failed = 0
        patience, cancellation = self.registry.patience, self.registry.cancellation
        while done < size:
            before = done
            try:
                with contextlib.closing(self._blob_from(digest, done, size)) as pieces:
                    for piece in pieces:
                        done += len(piece)
                        yield piece
            except TryFailedError as interrupted:
                failed = 1 if done > before else failed + 1
                if not interrupted.transient or failed >= patience.tries:
                    raise interrupted.final from interrupted
                cancellation.wait(patience.delay(failed, interrupted.retry_after))

    def _blob_from(self, digest: str, start: int, size: int) -> Generator[bytes]:
        headers = {"Range": f"bytes={start}-"} if start else {}
        call = self.call(
            "GET", f"/v2/{self.path}/blobs/{digest}", f"read a layer of {self.path}", {200, 206}, headers=headers
        )
        response = self.registry.attempt(call)
        skip = start if response.status == 200 else 0
        try:
            while start < size:
                piece = response.read(CHUNK)
                if not piece:
                    raise self._broken(call, "ended it too early", transient=True)
                if skip:
                    skip, piece = max(skip - len(piece), 0), piece[skip:]
                    if not piece:
                        continue
                start += len(piece)
                if start > size:
                    raise self._broken(call, f"has more than its {size:,} bytes", transient=False)
                yield piece
        except HTTPError as error:
            failure = explained(error)
            raise self._broken(call, failure.message, transient=failure.transient) from error
        finally:
            response.close() if start < size else response.release_conn()

    def _read(self, response: BaseHTTPResponse, call: Call, limit: int) -> bytes:
        try:
            body = response.read(limit + 1)
        except HTTPError as error:
            failure = explained(error)
            raise self._broken(call, failure.message, transient=failure.transient) from error
        if len(body) > limit:
            response.close()
            raise self._broken(call, f"answers with more than {limit:,} bytes", transient=False)
        response.release_conn()
        return body

    def _broken(self, call: Call, what: str, *, transient: bool) -> TryFailedError:
        error = BuildError(self.field, f"cannot {call.doing}: {self.registry.name} {what}")
        return TryFailedError(error, transient=transient)

    def call(
        self,
        method: str,
        url: str,
        doing: str,
        ok: set[int],
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        also_read: str = "",
        read_timeout: float | None = None,
    ) -> Call:
        """Make a request to this repository; `also_read` is another one that the token is for, too."""
        scopes = self._scopes | {scope(also_read)} if also_read else self._scopes
        return Call(method, url, doing, frozenset(ok), self.field, scopes, headers or {}, body, read_timeout)


class Registries:
    """All registries of a build.

    Args:
        transport: The connections.
        keychain: Credentials.
        mirrors: Where a registry is reached that is known by another name: host → URL; `http://` is allowed.
        cancellation: Ends every wait.
        patience: How often a request is tried.
    """

    def __init__(
        self,
        transport: Transport,
        keychain: Keychain,
        mirrors: Mapping[str, str],
        cancellation: Cancellation,
        patience: Patience | None = None,
    ) -> None:
        self._transport = transport
        self._keychain = keychain
        self._mirrors = mirrors
        self._cancellation = cancellation
        self._patience = patience or Patience()
        self._known: dict[tuple[str, Credentials], Registry] = {}
        self._lock = threading.Lock()

    def repository(self, reference: Reference, field: str, *, push: bool = False) -> Repository:
        """Return a repository; nothing is asked yet."""
        credentials = self._keychain.find(reference.registry, reference.repository)
        with self._lock:
            registry = self._known.get((reference.registry, credentials))
            if registry is None:
                origin = self._mirrors.get(reference.registry, f"https://{reference.host}").rstrip("/")
                registry = Registry(
                    reference.registry,
                    origin,
                    credentials,
                    transport=self._transport,
                    patience=self._patience,
                    cancellation=self._cancellation,
                )
                self._known[reference.registry, credentials] = registry
        return Repository(registry, reference, field, push=push)


def _joined(version: str) -> str:
    return f"@{version}" if version.startswith("sha256:") else f":{version}"


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _redirected(response: BaseHTTPResponse, method: str, url: str) -> str | None:
    """Return where to go on, or None. Only 307 and 308 let a request with a body be repeated as it is."""
    location = response.headers.get("Location")
    follows = response.status in {307, 308} or (response.status in {301, 302, 303} and method in {"GET", "HEAD"})
    return urljoin(url, location) if follows and location else None


def _beginning(response: BaseHTTPResponse, limit: int = _ERROR_BODY) -> bytes:
    """Return the beginning of a body, and let go of the connection."""
    try:
        return response.read(limit)
    except HTTPError:
        return b""
    finally:
        response.close()


def discard(response: BaseHTTPResponse) -> None:
    """Let the connection be used again where nothing much is left of the answer, else close it."""
    try:
        if len(response.read(_ERROR_BODY)) < _ERROR_BODY:
            response.release_conn()
            return
    except HTTPError:
        pass
    response.close()
