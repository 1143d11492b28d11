"""Who may read and write: basic auth, token auth, TLS with a private CA, on real registries."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import Authority

from testbed.base_images import push_image
from testbed.builds import BASE_LAYERS, Builder, model, plan_for
from testbed.oci_registry import PASSWORD, USER, OciRegistry
from torchserve_operator.app.credential_helpers import read_keychain
from torchserve_operator.builder.auth import Credentials, Keychain
from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.reference import parse


@pytest.fixture
def open_base(registry: OciRegistry, space: str) -> str:
    """A base image that everybody may read."""
    return f"{push_image(registry.host, f'{space}/base', '1', BASE_LAYERS).name}:1"


def _builder(target: OciRegistry, registry: OciRegistry, base: str, keychain: Keychain | None = None) -> Builder:
    plan = plan_for(target.host, "team", {registry.host: registry.url, target.host: target.url}) | {"base": base}
    return Builder(plan, keychain or Keychain.from_docker_config(target.docker_config()))


def _stay_out(error: BuildError, *secrets: str) -> None:
    text = f"{error!r} {error} {error.__cause__!r} {error.__cause__}"
    assert not [secret for secret in secrets if secret in text]


@pytest.fixture
def basic(tmp_path: Path) -> Iterator[OciRegistry]:
    with OciRegistry(tmp_path / "basic", auth="basic") as server:
        yield server


@pytest.fixture
def token(tmp_path: Path) -> Iterator[OciRegistry]:
    with OciRegistry(tmp_path / "token", auth="token") as server:
        yield server


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def secure(tmp_path: Path, authority: Authority) -> Iterator[OciRegistry]:
    issued = authority.issue("localhost")
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    certificate.write_text(issued.certificate)
    key.write_text(issued.key)
    with OciRegistry(tmp_path / "secure", certificate=(certificate, key)) as server:
        yield server


def test_basic_auth_lets_those_in_who_have_the_password(
    basic: OciRegistry, registry: OciRegistry, open_base: str
) -> None:
    builder = _builder(basic, registry, open_base)
    first = builder.build(model("cats", b"meow"))
    assert builder.build(model("cats", b"meow")).layers[0].reused
    assert first.layers[0].digest in basic.blobs()


@pytest.mark.parametrize("kind", ["basic", "token"])
def test_a_wrong_password_is_one_clear_line_without_it(
    kind: str, registry: OciRegistry, open_base: str, request: pytest.FixtureRequest
) -> None:
    target: OciRegistry = request.getfixturevalue(kind)
    wrong = Keychain.from_docker_config(target.docker_config(password="battery staple"))
    with pytest.raises(BuildError, match="does not accept the credentials to") as caught:
        _builder(target, registry, open_base, wrong).build(model("cats", b"meow"))
    assert caught.value.field == "spec.build.repository"
    assert "spec.build.pushSecretName" in caught.value.hint
    _stay_out(caught.value, "battery staple", USER)
    assert not target.blobs()


@pytest.mark.parametrize("kind", ["basic", "token"])
def test_missing_credentials_are_named_with_the_registry_that_wants_them(
    kind: str, registry: OciRegistry, open_base: str, request: pytest.FixtureRequest
) -> None:
    target: OciRegistry = request.getfixturevalue(kind)
    with pytest.raises(BuildError, match=f"{target.host} wants credentials to .*, and there are none for it"):
        _builder(target, registry, open_base, Keychain()).build(model("cats", b"meow"))


def test_token_auth_asks_for_what_is_done_and_no_more(
    token: OciRegistry, registry: OciRegistry, open_base: str
) -> None:
    _builder(token, registry, open_base).build(model("cats", b"meow"))
    assert token.tokens is not None
    assert {scope for scopes in token.tokens.requests for scope in scopes} == {"repository:team/image:pull,push"}
    assert len(token.tokens.requests) == 1


def test_mounting_asks_for_the_right_to_read_the_other_repository(token: OciRegistry, registry: OciRegistry) -> None:
    first = _builder(token, registry, _open_copy(registry))
    first.build(model("cats", b"meow"))
    assert token.tokens is not None
    token.tokens.requests.clear()
    first.plan["base"] = f"{token.host}/team/image:latest"
    second = first.build(model("dogs", b"woof"), repository=f"{token.host}/team/other", tags=[])
    assert second.bytes_uploaded < len(BASE_LAYERS[0])
    both = ["repository:team/image:pull", "repository:team/other:pull,push"]
    assert both in token.tokens.requests


def _open_copy(registry: OciRegistry) -> str:
    return f"{push_image(registry.host, 'mounting/base', '1', BASE_LAYERS).name}:1"


def test_an_identity_token_is_exchanged_for_a_token(token: OciRegistry, registry: OciRegistry, open_base: str) -> None:
    assert token.tokens is not None
    keychain = Keychain({token.host: Credentials(identity_token=token.tokens.refresh_token)})
    result = _builder(token, registry, open_base, keychain).build(model("cats", b"meow"))
    assert result.layers[0].digest in token.blobs()


def test_a_token_that_has_run_out_is_renewed(token: OciRegistry, registry: OciRegistry, open_base: str) -> None:
    assert token.tokens is not None
    token.tokens.lifetime = -120  # beyond the minute by which the registry's clock may differ
    builder = _builder(token, registry, open_base)
    with pytest.raises(BuildError, match="does not accept the credentials"):
        builder.build(model("cats", b"meow"))
    assert len(token.tokens.requests) > 1


def test_tls_with_a_private_ca_needs_the_ca_and_nothing_else(
    secure: OciRegistry, authority: Authority, registry: OciRegistry, open_base: str, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.crt"
    ca.write_text(authority.certificate)
    builder = _builder(secure, registry, open_base)
    del builder.plan["registryMirrors"][secure.host]
    builder.ca = ca
    assert builder.build(model("cats", b"meow")).layers[0].digest in secure.blobs()


def test_a_ca_that_is_not_known_is_named_with_the_field_to_set(
    secure: OciRegistry, registry: OciRegistry, open_base: str
) -> None:
    with pytest.raises(BuildError, match="an authority that is not trusted here") as caught:
        _builder(secure, registry, open_base).build(model("cats", b"meow"))
    assert "spec.build.caConfigMapName" in caught.value.hint


def test_a_certificate_of_another_name_is_told_from_an_unknown_ca(
    secure: OciRegistry, authority: Authority, registry: OciRegistry, open_base: str, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.crt"
    ca.write_text(authority.certificate)
    builder = _builder(secure, registry, open_base)
    builder.plan["registryMirrors"][secure.host] = secure.url.replace("localhost", "127.0.0.1")
    builder.ca = ca
    with pytest.raises(BuildError, match="has a certificate of another name"):
        builder.build(model("cats", b"meow"))


def test_a_registry_without_tls_is_refused_unless_a_mirror_allows_it(registry: OciRegistry, open_base: str) -> None:
    builder = _builder(registry, registry, open_base)
    builder.plan["registryMirrors"] = {}
    with pytest.raises(BuildError, match="speaks plain HTTP where TLS is expected"):
        builder.build(model("cats", b"meow"))


def test_a_password_goes_only_to_the_registry_that_it_is_for() -> None:
    keychain = Keychain({"registry.example/team": Credentials(USER, PASSWORD)})
    assert keychain.find(*_place("registry.example/team/digits"))
    assert not keychain.find(*_place("registry.example/teams/digits"))
    assert not keychain.find(*_place("registry.example.evil.test/team/digits"))


def _place(text: str) -> tuple[str, str]:
    reference = parse(text, "")
    return reference.registry, reference.repository


def test_a_helper_keeps_what_is_not_in_the_file(
    basic: OciRegistry, registry: OciRegistry, open_base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = tmp_path / "bin" / "docker-credential-testbed"
    helper.parent.mkdir()
    answer = json.dumps({"Username": USER, "Secret": PASSWORD})
    helper.write_text(f"#!/bin/sh\ntest \"$(cat)\" = {basic.host} && echo '{answer}'\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(helper.parent), prepend=os.pathsep)
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"auths": {basic.host: {}}, "credsStore": "testbed"}))
    keychain = read_keychain(config, [basic.host, registry.host])
    result = _builder(basic, registry, open_base, keychain).build(model("cats", b"meow"))
    assert result.layers[0].digest in basic.blobs()
    assert not keychain.find(registry.host, "team/image")
