"""Credentials on a laptop: `~/.docker/config.json`, and the programs that keep what is not in it.

`docker-credential-NAME get` takes a registry on its standard input and answers `{"Username": …, "Secret": …}`.
"""

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torchserve_operator.builder.auth import Credentials, Keychain
from torchserve_operator.builder.reference import DOCKER_HUB

_TIMEOUT = 30.0
_HUB = "https://index.docker.io/v1/"
_TOKEN = "<token>"  # noqa: S105  # the name of a user that stands for an identity token


def read_keychain(push_config: Path | None, registries: Iterable[str]) -> Keychain:
    """Return the credentials of a dockerconfigjson, those that its helpers keep for some registries among them.

    Args:
        push_config: The file; anonymous if it is None or absent.
        registries: Those that will be asked.

    Raises:
        BuildError: It is no dockerconfigjson.
    """
    if push_config is None or not push_config.is_file():
        return Keychain()
    text = push_config.read_text()
    keychain = Keychain.from_docker_config(text, "--push-config")
    config: dict[str, Any] = json.loads(text)
    kept = {registry: _ask(config, registry) for registry in set(registries)}
    return keychain.beside({registry: found for registry, found in kept.items() if found})


def _ask(config: dict[str, Any], registry: str) -> Credentials | None:
    key = _HUB if registry == DOCKER_HUB else registry
    helper = (config.get("credHelpers") or {}).get(key) or config.get("credsStore")
    if not helper:
        return None
    try:
        done = subprocess.run(
            [f"docker-credential-{helper}", "get"],
            input=key,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=True,
        )
        answer = json.loads(done.stdout)
        username, secret = str(answer["Username"]), str(answer["Secret"])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        # It knows nothing of this registry, or is not there: the registry says whether that matters.
        return None
    return Credentials(identity_token=secret) if username == _TOKEN else Credentials(username, secret)
