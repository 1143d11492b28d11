"""`https://` and `http://`: redirects, credentials for one host only, refusals in words."""

import base64
import re
import time
from collections.abc import Mapping
from typing import Final
from urllib.parse import urljoin, urlsplit

import urllib3

from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.patience import TRANSIENT, TryFailedError, retry_after
from torchserve_operator.builder.sources.access import Access, Secret
from torchserve_operator.builder.sources.place import shown, split, stable
from torchserve_operator.builder.sources.web import transport, unreachable
from torchserve_operator.builder.transport import TransportError

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS: Final = 5
_KEYS: Final = "username and password, or token"


class HttpsOrigin:
    """An object of a web server.

    Args:
        url: As in the resource; may have a signature in its query.
        secret: Credentials; None: there are none.
        access: What is allowed.
        field: Where in the resource the URL is.

    Raises:
        BuildError: The URL or the Secret cannot be used.
    """

    def __init__(self, url: str, secret: Secret | None, access: Access, field: str) -> None:
        split(url, field)
        check_scheme(url, access, field)
        self.place = stable(url)
        self.shown = shown(url)
        self.field = field
        self._url = url
        self._access = access
        self._authorization = _authorization(secret)
        self._transport = transport(access.trusted(secret), access.spool.folder, access.read_timeout)

    def __repr__(self) -> str:
        return f"HttpsOrigin({self.shown})"

    def get(self, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        """Send one GET and follow where it points."""
        url = self._url
        for _ in range(_MOST_REDIRECTS + 1):
            sent = dict(headers)
            if self._authorization and _origin(url) == _origin(self._url):
                sent["Authorization"] = self._authorization
            try:
                response = self._transport.send("GET", url, sent)
            except TransportError as error:
                at = self if url == self._url else _Elsewhere(shown(url), self.field)
                raise unreachable(error, at) from error
            if response.status not in _REDIRECTS:
                return self._accepted(response, url)
            target = response.headers.get("Location", "")
            response.close()
            url = self._followed(url, target)
        raise TryFailedError(BuildError(self.field, f"{self.shown} redirects without end"), transient=False)

    def _followed(self, url: str, target: str) -> str:
        goal = urljoin(url, target)
        scheme, host = urlsplit(goal).scheme, urlsplit(goal).hostname
        if not target or scheme not in {"https", "http"} or not host:
            message = f"{self.shown} redirects to nowhere"
            raise TryFailedError(BuildError(self.field, message), transient=False)
        if scheme == "http" and (urlsplit(url).scheme == "https" or not self._access.allow_http):
            message = f"{self.shown} redirects to {shown(goal)}, which is plain HTTP"
            raise TryFailedError(BuildError(self.field, message, "expected https://"), transient=False)
        return goal

    def _accepted(self, response: urllib3.BaseHTTPResponse, url: str) -> urllib3.BaseHTTPResponse:
        if response.status in {200, 206, 412, 416}:
            return response
        response.close()
        raise refused(
            response.status,
            retry_after(response.headers.get("Retry-After", ""), time.time()),
            what=self.shown if url == self._url else f"{self.shown} (redirected to {shown(url)})",
            field=self.field,
            anonymous=not self._authorization,
        )


class _Elsewhere:
    """Where a redirect went, for messages."""

    def __init__(self, shown: str, field: str) -> None:
        self.place = ""
        self.shown = shown
        self.field = field

    def get(self, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        raise NotImplementedError


def check_scheme(url: str, access: Access, field: str) -> None:
    """Raise BuildError for plain HTTP that is not allowed."""
    if url.startswith("http://") and not access.allow_http:
        hint = "use https://, or have the operator allow it: TORCHSERVE_OPERATOR_ALLOW_HTTP_SOURCES"
        raise BuildError(field, f"{shown(url)} is plain HTTP, which is not allowed here", hint)


def refused(status: int, after: float | None, *, what: str, field: str, anonymous: bool) -> TryFailedError:
    """Explain an answer that is not the object. Pure.

    Args:
        status: Of the answer.
        after: Seconds to wait as the server said; None if it did not.
        what: The URL as it may be shown.
        field: Where in the resource it is.
        anonymous: Whether no credentials were sent.
    """
    hint, transient = "", False
    secret = f"name a Secret with {_KEYS} in credentialsSecretName"
    match status:
        case 401 if anonymous:
            message, hint = f"{what} wants credentials, and there are none", secret
        case 401:
            message, hint = f"{what} does not accept the credentials", f"check the Secret: {_KEYS}"
        case 403:
            message = f"{what} is forbidden"
            hint = (
                f"if it is not public, {secret}; a signed link may have expired"
                if anonymous
                else ("the account needs the right to read it")
            )
        case 404 | 410:
            message, hint = f"{what} does not exist ({status})", "check the URL"
        case 407:
            message, hint = f"the proxy on the way to {what} wants credentials", "give HTTPS_PROXY with them"
        case 429:
            message, transient = f"{what} is rate-limited (429)", True
            hint = "its limit stayed used up: try again later"
        case _ if status in TRANSIENT:
            message, transient = f"{what} keeps answering {status}", True
            hint = "look at the server"
        case _:
            message = f"{what} answered {status}"
    return TryFailedError(BuildError(field, message, hint), transient=transient, retry_after=after)


def _authorization(secret: Secret | None) -> str:
    if secret is None:
        return ""
    if "token" in secret:
        return f"Bearer {_printable(secret, 'token')}"
    if "username" in secret and "password" in secret:
        pair = f"{secret['username']}:{secret['password']}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"
    if "ca.crt" in secret:
        return ""
    keys = ", ".join(secret) or "none"
    raise BuildError(
        secret.field,
        f"Secret {secret.name} has no credentials for https (its keys: {keys})",
        f"expected {_KEYS}; ca.crt for a private CA",
    )


def _printable(secret: Secret, key: str) -> str:
    value = secret[key]
    if not re.fullmatch(r"[\x21-\x7e]+", value):
        raise BuildError(
            secret.field,
            f"Secret {secret.name} has a {key} with characters that no {key} has",
            "a space or a line feed inside it?",
        )
    return value


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
