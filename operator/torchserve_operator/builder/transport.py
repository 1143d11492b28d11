"""HTTP to registries and token servers: pools, TLS with a private CA, proxies, and failures in words.

One request, one try: what may be tried again is the caller's to decide, by `TransportError.transient`.
"""

import ssl
import threading
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationParseError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)

CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 60.0
"""Seconds without a byte, in either direction."""

_CA_HINT = "put its CA's certificate into a ConfigMap as ca.crt and name that in spec.build.caConfigMapName"
_POOL_SIZE = 8


class TransportError(Exception):
    """No answer came.

    Attributes:
        message: What happened, after "HOST ", without anything secret.
        hint: What to do about it; may be empty.
        transient: Whether another try may help.
    """

    def __init__(self, message: str, hint: str = "", *, transient: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.transient = transient


class Transport:
    """Connections, for several threads at once.

    Args:
        ca_file: Certificates in PEM that are trusted beside the system's.
        read_timeout: Seconds without a byte.
    """

    def __init__(self, ca_file: Path | None = None, read_timeout: float = READ_TIMEOUT) -> None:
        self._ca_file = ca_file
        self._read_timeout = read_timeout
        self._managers: dict[tuple[bool, str], urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | str | Iterable[bytes] | None = None,
        read_timeout: float | None = None,
    ) -> urllib3.BaseHTTPResponse:
        """Send a request and return the answer, its body unread and redirects not followed.

        Raises:
            TransportError: There is no answer.
        """
        timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT, read=read_timeout or self._read_timeout)
        try:
            return self._manager(url).request(
                method,
                url,
                headers={"User-Agent": "torchserve-operator", **headers},
                body=body,
                timeout=timeout,
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        except (HTTPError, ssl.SSLError) as error:
            raise explained(error) from error

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for manager in self._managers.values():
                manager.clear()

    def _manager(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        secure, proxy = parts.scheme == "https", _proxy(parts.scheme, parts.hostname or "")
        with self._lock:
            found = self._managers.get((secure, proxy))
            if found is None:
                # Only where TLS is spoken: the system's certificates alone take megabytes.
                context = self._tls() if secure or proxy.startswith("https") else None
                if proxy:
                    found = urllib3.ProxyManager(
                        proxy,
                        maxsize=_POOL_SIZE,
                        ssl_context=context,
                        proxy_ssl_context=context,
                        proxy_headers=_proxy_headers(proxy),
                    )
                else:
                    found = urllib3.PoolManager(maxsize=_POOL_SIZE, ssl_context=context)
                self._managers[secure, proxy] = found
            return found

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self._ca_file is not None:
            try:
                context.load_verify_locations(cafile=self._ca_file)
            except (OSError, ssl.SSLError):
                raise TransportError("is not asked: ca.crt has no certificate in PEM", _CA_HINT) from None
        return context


def _proxy(scheme: str, host: str) -> str:
    """Return the proxy that HTTP_PROXY, HTTPS_PROXY and NO_PROXY say."""
    proxies = urllib.request.getproxies()
    if scheme not in proxies or urllib.request.proxy_bypass(host):
        return ""
    return proxies[scheme]


def _proxy_headers(proxy: str) -> dict[str, str]:
    """Return the credentials that a proxy's URL carries."""
    parts = urlsplit(proxy)
    if not parts.username:
        return {}
    user, password = unquote(parts.username), unquote(parts.password or "")
    return dict(urllib3.make_headers(proxy_basic_auth=f"{user}:{password}"))


def explained(error: Exception) -> TransportError:
    """Say what urllib3's exception means for a person, and whether to try again."""
    if isinstance(error, MaxRetryError) and error.reason is not None:
        error = error.reason
    text = f"{error} {error.__cause__ or ''}"
    match error:
        case SSLError() | ssl.SSLError():
            return _explained_tls(text)
        case NameResolutionError():
            return TransportError("is a name that cannot be resolved", "check the registry's name", transient=True)
        case NewConnectionError() if isinstance(error.__cause__, ConnectionRefusedError):
            hint = "does the registry run, and is the port right?"
            return TransportError("refuses the connection", hint, transient=True)
        case NewConnectionError():
            reason = getattr(error.__cause__, "strerror", None) or "no route"
            return TransportError(f"cannot be reached ({reason})", transient=True)
        # After its subclasses: urllib3 counts every failed connection as one that came too late.
        case ConnectTimeoutError():
            hint = "is it reachable from the builder, and allowed by network policies?"
            return TransportError(f"does not answer within {CONNECT_TIMEOUT:.0f} s", hint, transient=True)
        case ReadTimeoutError():
            return TransportError("stopped answering", transient=True)
        case LocationParseError():
            return TransportError("has a name that cannot be used")
        case ProtocolError() | HTTPError():
            return TransportError("dropped the connection", transient=True)
    return TransportError(f"failed ({type(error).__name__})")


def _explained_tls(text: str) -> TransportError:
    lowered = text.lower()
    if "hostname mismatch" in lowered or "doesn't match" in lowered or "ip address mismatch" in lowered:
        return TransportError("has a certificate of another name", "its certificate must have the name that is used")
    if "certificate has expired" in lowered:
        return TransportError("has a certificate that has expired", "renew it")
    if "certificate verify failed" in lowered or "certificate_verify_failed" in lowered:
        return TransportError("has a certificate of an authority that is not trusted here", _CA_HINT)
    if "wrong_version_number" in lowered or "wrong version number" in lowered or "record layer failure" in lowered:
        hint = "a registry mirror of the operator's settings (or --registry-mirror HOST=http://HOST) allows that"
        return TransportError("speaks plain HTTP where TLS is expected", hint)
    if "eof" in lowered or "reset" in lowered:
        return TransportError("dropped the connection while TLS began", transient=True)
    return TransportError("and this builder do not agree on TLS")
