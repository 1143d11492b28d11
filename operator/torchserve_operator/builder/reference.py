"""Image references: `registry.example:5000/team/digits:1.0@sha256:…`, as the field writes them.

The grammar is the one of the distribution project (`reference.Parse`), with its one default that everybody relies on:
a first part without a dot, a port or `localhost` is no registry, and the image is Docker Hub's.
"""

import re
from dataclasses import dataclass, replace

from torchserve_operator.builder.errors import BuildError

DOCKER_HUB = "docker.io"

_HUB_NAMES = {"docker.io", "index.docker.io", "registry-1.docker.io"}
_HOST = re.compile(
    r"(\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?(\.[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?)*)(:[0-9]{1,5})?"
)
_PART = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MAX_NAME = 255


@dataclass(frozen=True, slots=True)
class Reference:
    """One image, or one repository if it has neither tag nor digest.

    Attributes:
        registry: Host and port as people write them, such as `docker.io` or `registry.example:5000`.
        repository: The path in the registry, such as `library/debian`.
        tag: Empty if there is none.
        digest: `sha256:…`; empty if there is none. It wins over the tag.
    """

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def host(self) -> str:
        """Where the registry's API is: Docker Hub has it at another name."""
        return "registry-1.docker.io" if self.registry == DOCKER_HUB else self.registry

    @property
    def name(self) -> str:
        """Registry and repository."""
        return f"{self.registry}/{self.repository}"

    @property
    def version(self) -> str:
        """What a manifest is asked for by: the digest, else the tag, else `latest`."""
        return self.digest or self.tag or "latest"

    def at(self, digest: str) -> "Reference":
        """Return the same repository's image with this digest, without a tag."""
        return replace(self, tag="", digest=digest)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.name}{tag}" + (f"@{self.digest}" if self.digest else "")


def parse(text: str, field: str) -> Reference:
    """Parse a reference to an image.

    Args:
        text: As people write it.
        field: Where in the resource it is, for errors.

    Raises:
        BuildError: It is none; the message names the part that is wrong.
    """
    if not text or text != text.strip():
        raise BuildError(field, "is empty or has spaces around it", "write REGISTRY/PATH:TAG or REGISTRY/PATH@DIGEST")
    if "://" in text:
        raise BuildError(field, "is a URL", "leave the scheme out: REGISTRY/PATH:TAG")
    rest, _, digest = text.partition("@")
    if "@" in text and not _DIGEST.fullmatch(digest):
        raise BuildError(field, f'"{_short(digest)}" is no digest', "a digest is sha256: and 64 hexadecimal digits")
    tag = ""
    if ":" in rest.rpartition("/")[2]:
        rest, _, tag = rest.rpartition(":")
        if not _TAG.fullmatch(tag):
            raise BuildError(
                field,
                f'"{_short(tag)}" is no tag',
                "a tag has letters, digits, _ . and -, at most 128, no . or - first",
            )
    registry, path = _split(rest)
    _check_name(registry, path, field)
    return Reference(registry, path, tag, digest)


def parse_repository(text: str, field: str) -> Reference:
    """Parse a reference that must be a whole repository: the tags are said elsewhere.

    Raises:
        BuildError: It is none, or it has a tag or a digest.
    """
    found = parse(text, field)
    if found.tag or found.digest:
        raise BuildError(
            field, f"has the {'tag' if found.tag else 'digest'} {found.digest or found.tag}", "leave it out"
        )
    return found


def _split(rest: str) -> tuple[str, str]:
    first, slash, path = rest.partition("/")
    if not slash or not (first == "localhost" or "." in first or ":" in first or first != first.lower()):
        first, path = DOCKER_HUB, rest
    if first.lower() in _HUB_NAMES:
        return DOCKER_HUB, path if "/" in path else f"library/{path}"
    return first, path


def _check_name(registry: str, path: str, field: str) -> None:
    if not _HOST.fullmatch(registry):
        raise BuildError(field, f'"{_short(registry)}" is no registry', "write HOST or HOST:PORT before the first /")
    if path != path.lower():
        raise BuildError(
            field, f'"{_short(path)}" has capital letters', f'write it in lower case: "{_short(path.lower())}"'
        )
    for part in path.split("/"):
        if not _PART.fullmatch(part):
            hint = "a part has lower-case letters and digits with single . or _, or - between them"
            raise BuildError(field, f'"{_short(part)}" is no part of a repository\'s path', hint)
    if len(registry) + 1 + len(path) > _MAX_NAME:
        raise BuildError(field, f"is longer than {_MAX_NAME} characters")


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."
