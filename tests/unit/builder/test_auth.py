import base64
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from torchserve_operator.builder.auth import (
    ANONYMOUS,
    Authenticator,
    Challenge,
    Credentials,
    Keychain,
    TokenRequest,
    TokenServerError,
    parse_challenges,
    scope,
    token_request,
)
from torchserve_operator.builder.errors import BuildError

ROBOT = Credentials("robot", "s3cret")
BEARER = 'Bearer realm="https://auth.example/token",service="registry.example"'
PULL, PUSH = scope("team/x"), scope("team/x", push=True)


def _config(**auths: dict[str, Any]) -> str:
    return json.dumps({"auths": auths})


def _auth(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "entry",
    [
        {"auth": _auth("robot:s3cret")},
        {"username": "robot", "password": "s3cret"},
        {"auth": _auth("robot:s3cret\0\0")},
        {"username": "other", "password": "other", "auth": _auth("robot:s3cret")},
    ],
)
def test_a_dockerconfigjson_has_credentials_in_several_shapes(entry: dict[str, str]) -> None:
    keychain = Keychain.from_docker_config(_config(**{"registry.example": entry}))
    assert keychain.find("registry.example", "team/x") == ROBOT


def test_a_colon_belongs_to_the_password() -> None:
    keychain = Keychain.from_docker_config(_config(r={"auth": _auth("robot:a:b")}))
    assert keychain.find("r", "x").password == "a:b"


def test_the_longest_prefix_wins_and_ends_at_a_slash() -> None:
    team, host = Credentials("team", "1"), Credentials("host", "2")
    keychain = Keychain({"r.example/team": team, "r.example": host})
    assert keychain.find("r.example", "team/x") == team
    assert keychain.find("r.example", "teams/x") == host
    assert keychain.find("r.example:5000", "team/x") == ANONYMOUS


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "registry-1.docker.io", "index.docker.io"])
def test_docker_hub_has_many_names(key: str) -> None:
    assert Keychain({key: ROBOT}).find("docker.io", "library/debian") == ROBOT


@pytest.mark.parametrize("key", ["https://r.example/", "http://r.example/v2/", "r.example", "R.EXAMPLE"])
def test_a_key_may_be_a_url(key: str) -> None:
    assert Keychain({key: ROBOT}).find("r.example", "x") == ROBOT


@pytest.mark.parametrize(
    "text",
    [
        "s3cret",
        "[]",
        '{"auths": ["s3cret"]}',
        '{"auths": {"r": "s3cret"}}',
        '{"auths": {"r": {"auth": "s3cret!"}}}',
        '{"auths": {"r": {"auth": "czNjcmV0"}}}',
        '{"auths": {"r": {"username": 1, "password": "s3cret"}}}',
    ],
)
def test_a_broken_dockerconfigjson_is_an_error_that_shows_nothing_of_it(text: str) -> None:
    with pytest.raises(BuildError) as caught:
        Keychain.from_docker_config(text)
    assert caught.value.field == "spec.build.pushSecretName"
    assert "s3cret" not in repr(caught.value)


def test_no_secret_is_in_a_repr() -> None:
    credentials = Credentials("robot", "s3cret", "s3cret-identity", "s3cret-registry")
    request = token_request(Challenge("bearer", {"realm": "https://a.example/t"}), credentials, [PULL])
    assert "s3cret" not in repr(credentials) + repr(request)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Basic realm="a b"', [("basic", {"realm": "a b"})]),
        ("Basic", [("basic", {})]),
        (BEARER, [("bearer", {"realm": "https://auth.example/token", "service": "registry.example"})]),
        (
            'Bearer realm="https://a/t", scope="repository:x:pull,push", error="invalid_token"',
            [("bearer", {"realm": "https://a/t", "scope": "repository:x:pull,push", "error": "invalid_token"})],
        ),
        ('Basic realm=x, Bearer realm="y"', [("basic", {"realm": "x"}), ("bearer", {"realm": "y"})]),
        (r'Basic realm="say \"hi\""', [("basic", {"realm": 'say "hi"'})]),
        ("", []),
        ("!!", []),
    ],
)
def test_challenges_are_parsed(header: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    assert [(found.scheme, found.parameters) for found in parse_challenges(header)] == expected


def test_a_token_is_asked_for_with_the_password_and_every_scope() -> None:
    challenge = parse_challenges(BEARER)[0]
    request = token_request(challenge, ROBOT, [PUSH, scope("team/base")])
    query = parse_qs(urlsplit(request.url).query)
    assert query == {
        "service": ["registry.example"],
        "scope": ["repository:team/base:pull", "repository:team/x:pull,push"],
    }
    assert request.headers == {"Authorization": ROBOT.basic}


def test_an_identity_token_goes_into_the_body_of_a_post() -> None:
    request = token_request(parse_challenges(BEARER)[0], Credentials(identity_token="refresh"), [PULL])
    assert (request.method, request.url) == ("POST", "https://auth.example/token")
    assert parse_qs(request.body or "")["refresh_token"] == ["refresh"]


class _Server:
    """A token server of a dict and a clock."""

    def __init__(self, answer: dict[str, Any] | None = None, status: int = 200) -> None:
        self.answer = answer or {"token": "t1", "expires_in": 300}
        self.status = status
        self.requests: list[TokenRequest] = []
        self.now = 1000.0

    def fetch(self, request: TokenRequest) -> tuple[int, bytes]:
        self.requests.append(request)
        return self.status, json.dumps(self.answer).encode()

    def authenticator(self, credentials: Credentials = ROBOT, origin: str = "https://r.example") -> Authenticator:
        return Authenticator(origin, credentials, self.fetch, lambda: self.now)


def test_nothing_is_sent_until_the_registry_asks() -> None:
    assert _Server().authenticator().header([PULL]) == ""


def test_a_token_is_kept_until_shortly_before_its_end() -> None:
    server = _Server()
    authenticator = server.authenticator()
    assert authenticator.challenged(BEARER, [PULL], "")
    assert authenticator.header([PULL]) == authenticator.header([PULL]) == "Bearer t1"
    server.now += 239
    authenticator.header([PULL])
    assert len(server.requests) == 1
    server.now += 2
    authenticator.header([PULL])
    assert len(server.requests) == 2


def test_each_scope_has_its_token() -> None:
    server = _Server()
    authenticator = server.authenticator()
    authenticator.challenged(BEARER, [PULL], "")
    authenticator.header([PULL])
    authenticator.header([PUSH])
    assert len(server.requests) == 2


def test_a_refused_token_is_thrown_away() -> None:
    server = _Server()
    authenticator = server.authenticator()
    authenticator.challenged(BEARER, [PULL], "")
    sent = authenticator.header([PULL])
    server.answer = {"access_token": "t2"}
    assert authenticator.challenged(BEARER, [PULL], sent)
    assert authenticator.header([PULL]) == "Bearer t2"


def test_a_refused_password_is_not_sent_twice() -> None:
    authenticator = _Server().authenticator()
    assert authenticator.challenged("Basic realm=x", [PULL], "")
    sent = authenticator.header([PULL])
    assert sent == ROBOT.basic
    assert not authenticator.challenged("Basic realm=x", [PULL], sent)


def test_basic_auth_without_a_password_is_not_tried() -> None:
    assert not _Server().authenticator(ANONYMOUS).challenged("Basic realm=x", [PULL], "")


def test_a_password_that_came_by_tls_does_not_go_on_in_the_clear() -> None:
    authenticator = _Server().authenticator()
    assert not authenticator.challenged('Bearer realm="http://auth.example/token"', [PULL], "")


def test_a_registry_token_is_sent_as_it_is() -> None:
    server = _Server()
    authenticator = server.authenticator(Credentials(registry_token="given"))
    assert authenticator.header([PULL]) == "Bearer given"
    assert not authenticator.challenged(BEARER, [PULL], "Bearer given")
    assert server.requests == []


@pytest.mark.parametrize(
    ("answer", "status", "seen"),
    [({"token": "t"}, 403, 403), ({"nothing": 1}, 200, 0), ({"token": "t", "expires_in": "soon"}, 200, 0)],
)
def test_a_token_server_that_gives_none_is_an_error(answer: dict[str, Any], status: int, seen: int) -> None:
    authenticator = _Server(answer, status).authenticator()
    authenticator.challenged(BEARER, [PULL], "")
    with pytest.raises(TokenServerError) as caught:
        authenticator.header([PULL])
    assert (caught.value.status, caught.value.realm) == (seen, "auth.example")
