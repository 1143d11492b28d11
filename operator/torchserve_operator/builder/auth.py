"""Who we are to a registry: dockerconfigjson, basic auth, and the token flow of the distribution specification.

A registry answers 401 with a challenge. `Basic` wants the credentials with each request; `Bearer` names a token
server (the realm), which gives a short-lived token for scopes such as `repository:team/digits:pull,push`.
No credential is ever part of a log line, an error's text or a `repr`.
"""

import base64
import binascii
import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.reference import DOCKER_HUB

FIELD = "spec.build.pushSecretName"
"""Where credentials come from."""

_SHORTEST = 60.0
"""Seconds that a token lives at least, by the specification; asked for anew this long before its end, or halfway."""
_HUB_KEYS = {"index.docker.io", "docker.io", "registry-1.docker.io"}


@dataclass(frozen=True, slots=True)
class Credentials:
    """For one registry; all empty: anonymous.

    Attributes:
        username: With `password`, for basic auth and for the token server.
        password: Secret.
        identity_token: Secret; a refresh token for the token server, instead of a password.
        registry_token: Secret; a bearer token that is sent as it is.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    def __bool__(self) -> bool:
        return bool(self.username or self.identity_token or self.registry_token)

    @property
    def basic(self) -> str:
        """The value of an Authorization header; empty without a password."""
        if not (self.username and self.password):
            return ""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


ANONYMOUS = Credentials()


class Keychain:
    """Credentials by registry and path prefix, as in `~/.docker/config.json`.

    Args:
        entries: Key (`registry.example`, `registry.example/team`) → credentials.
    """

    def __init__(self, entries: Mapping[str, Credentials] | None = None) -> None:
        self._entries = {_canonical_key(key): value for key, value in (entries or {}).items()}

    @classmethod
    def from_docker_config(cls, text: str, field: str = FIELD) -> "Keychain":
        """Read a dockerconfigjson.

        Raises:
            BuildError: It is none. The message never has a part of the text.
        """
        try:
            config = json.loads(text)
        except ValueError:
            config = None
        auths = config.get("auths", {}) if isinstance(config, dict) else None
        if not isinstance(auths, dict) or not all(isinstance(entry, dict) for entry in auths.values()):
            hint = "it comes of `kubectl create secret docker-registry`"
            raise BuildError(field, 'is no dockerconfigjson: {"auths": {"HOST": {"auth": "…"}}}', hint)
        found = {key: _credentials(key, entry, field) for key, entry in auths.items()}
        # An empty entry says that a helper keeps them.
        return cls({key: credentials for key, credentials in found.items() if credentials})

    def beside(self, entries: Mapping[str, Credentials]) -> "Keychain":
        """Return a keychain with these entries, too; what was there before wins."""
        both = Keychain(entries)
        both._entries |= self._entries
        return both

    def find(self, registry: str, repository: str) -> Credentials:
        """Return the credentials whose key is the longest prefix of `registry/repository`; else anonymous."""
        host = DOCKER_HUB if registry.lower() in _HUB_KEYS else registry.lower()
        key = f"{host}/{repository}"
        while key:
            if key in self._entries:
                return self._entries[key]
            key = key.rpartition("/")[0]
        return ANONYMOUS


def _canonical_key(key: str) -> str:
    """`https://index.docker.io/v1/` and other URLs as old tools write them → `docker.io`."""
    bare = re.sub(r"^https?://", "", key).rstrip("/")
    host, slash, path = bare.partition("/")
    host = DOCKER_HUB if host.lower() in _HUB_KEYS else host.lower()
    return host if path in {"", "v1", "v2"} else f"{host}{slash}{path}"


def _credentials(key: str, entry: Mapping[str, Any], field: str) -> Credentials:
    username, password = entry.get("username") or "", entry.get("password") or ""
    if entry.get("auth"):
        try:
            username, colon, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError, TypeError, ValueError):
            colon = ""
        if not colon:
            raise BuildError(field, f'auth of "{key}" is not the base64 of USER:PASSWORD')
    words = [username, password, entry.get("identitytoken") or "", entry.get("registrytoken") or ""]
    if not all(isinstance(word, str) for word in words):
        raise BuildError(field, f'the entry of "{key}" has something that is no text')
    # Docker pads the password with NUL bytes.
    return Credentials(words[0], words[1].strip("\0"), words[2], words[3])


@dataclass(frozen=True, slots=True)
class Challenge:
    """One scheme of a WWW-Authenticate header, in lower case, with its parameters."""

    scheme: str
    parameters: Mapping[str, str]


_CHALLENGE = re.compile(r"\s*,?\s*([A-Za-z][A-Za-z0-9_-]*)(?=\s+[A-Za-z0-9_-]+\s*=|\s*,|\s*$)")
_PARAMETER = re.compile(r'\s*,?\s*([A-Za-z0-9_-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s,"]+)')


def parse_challenges(header: str) -> list[Challenge]:
    """Parse a WWW-Authenticate header (RFC 9110, 11.6.1); what cannot be understood ends the list."""
    found: list[Challenge] = []
    at = 0
    while at < len(header):
        scheme = _CHALLENGE.match(header, at)
        if scheme is None:
            break
        at, parameters = scheme.end(), {}
        while parameter := _PARAMETER.match(header, at):
            value = parameter[2]
            parameters[parameter[1].lower()] = re.sub(r"\\(.)", r"\1", value[1:-1]) if value[0] == '"' else value
            at = parameter.end()
        found.append(Challenge(scheme[1].lower(), parameters))
    return found


def scope(repository: str, *, push: bool = False) -> str:
    """Return the scope for reading a repository, or for reading and writing it."""
    return f"repository:{repository}:{'pull,push' if push else 'pull'}"


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What is sent to the token server.

    Attributes:
        method: GET, or POST with an identity token.
        url: The realm, with the query for GET.
        headers: With the Authorization for GET.
        body: The form for POST.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: str | None = field(default=None, repr=False)


def token_request(challenge: Challenge, credentials: Credentials, scopes: Iterable[str]) -> TokenRequest:
    """Make the request for a token (distribution's token and OAuth2 specifications)."""
    realm, service = challenge.parameters["realm"], challenge.parameters.get("service", "")
    asked = sorted(set(scopes))
    if credentials.identity_token:
        form = {"grant_type": "refresh_token", "refresh_token": credentials.identity_token}
        form |= {"service": service, "scope": " ".join(asked), "client_id": "torchserve-operator"}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return TokenRequest("POST", realm, headers, urlencode(form))
    query = ([("service", service)] if service else []) + [("scope", each) for each in asked]
    url = realm + (("&" if "?" in realm else "?") + urlencode(query) if query else "")
    return TokenRequest("GET", url, {"Authorization": credentials.basic} if credentials.basic else {})


class TokenServerError(Exception):
    """The token server gave no token.

    Attributes:
        status: Of its answer; 0 if there was none that could be used.
        realm: The server's host.
    """

    def __init__(self, status: int, realm: str) -> None:
        super().__init__(f"{realm} gave no token ({status})")
        self.status = status
        self.realm = realm


Fetch = Callable[[TokenRequest], tuple[int, bytes]]


@dataclass
class _Token:
    value: str
    renew_at: float


class Authenticator:
    """The Authorization header for one registry, renewed as needed; for several threads at once.

    Args:
        origin: Scheme and host of the registry, such as `https://registry.example`.
        credentials: For the registry.
        fetch: Sends a request to a token server and returns status and body; may raise what its transport raises.
        clock: Monotonic seconds.
    """

    def __init__(
        self, origin: str, credentials: Credentials, fetch: Fetch, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._origin = origin
        self._credentials = credentials
        self._fetch = fetch
        self._clock = clock
        self._challenge: Challenge | None = None
        self._tokens: dict[frozenset[str], _Token] = {}
        self._lock = threading.Lock()

    @property
    def anonymous(self) -> bool:
        """Whether there are no credentials for this registry."""
        return not self._credentials

    def header(self, scopes: Iterable[str]) -> str:
        """Return the Authorization header for these scopes; empty while the registry has not asked for any.

        Raises:
            TokenServerError: It gives none.
        """
        with self._lock:
            if self._credentials.registry_token:
                return f"Bearer {self._credentials.registry_token}"
            if self._challenge is None:
                return ""
            if self._challenge.scheme == "basic":
                return self._credentials.basic
            return f"Bearer {self._token(self._challenge, frozenset(scopes))}"

    def challenged(self, www_authenticate: str, scopes: Iterable[str], sent: str) -> bool:
        """Learn from a 401 answer; return whether it is worth asking again.

        Args:
            www_authenticate: The answer's header.
            scopes: Of the request; what the challenge asks for is added by the registry itself to its check.
            sent: The Authorization header that was refused.
        """
        with self._lock:
            if self._credentials.registry_token:
                return False
            usable = [each for each in parse_challenges(www_authenticate) if self._usable(each)]
            if not usable:
                return False
            # Where a registry offers both, the token is what it wants.
            self._challenge = next((each for each in usable if each.scheme == "bearer"), usable[0])
            if self._challenge.scheme == "basic":
                return bool(self._credentials.basic) and sent != self._credentials.basic
            refused = self._tokens.get(frozenset(scopes))
            if refused is not None and sent == f"Bearer {refused.value}":
                del self._tokens[frozenset(scopes)]
            return True

    def _usable(self, challenge: Challenge) -> bool:
        if challenge.scheme == "basic":
            return True
        realm = urlsplit(challenge.parameters.get("realm", ""))
        # A password that came by TLS does not go on in the clear.
        safe = realm.scheme == "https" or (realm.scheme == "http" and self._origin.startswith("http://"))
        return challenge.scheme == "bearer" and safe and bool(realm.hostname)

    def _token(self, challenge: Challenge, scopes: frozenset[str]) -> str:
        known = self._tokens.get(scopes)
        if known is not None and self._clock() < known.renew_at:
            return known.value
        request = token_request(challenge, self._credentials, scopes)
        began = self._clock()
        status, body = self._fetch(request)
        realm = urlsplit(request.url).hostname or ""
        if status != 200:
            raise TokenServerError(status, realm)
        try:
            answer = json.loads(body)
            value = answer.get("token") or answer["access_token"]
            lives = max(float(answer.get("expires_in") or _SHORTEST), 1.0)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise TokenServerError(0, realm) from None
        self._tokens[scopes] = _Token(str(value), began + max(lives - _SHORTEST, lives / 2))
        return str(value)
