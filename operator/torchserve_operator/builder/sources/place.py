"""URLs of sources: what is shown of them, and what of them says which object it is. Pure."""

import hashlib
import re
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from torchserve_operator.builder.errors import BuildError

_SIGNATURES: Final = re.compile(
    # of S3, Google and CloudFront; of Azure (SAS)
    r"(x-amz-.*|x-goog-.*|awsaccesskeyid|googleaccessid|signature|expires|policy|key-pair-id|token|access_token"
    r"|sig|se|sp|sv|sr|st|skoid|sktid|skt|ske|sks|skv|spr)",
    re.IGNORECASE,
)
_LONGEST_ETAG: Final = 128


def shown(url: str) -> str:
    """Return the URL as it may be printed: without user, query and fragment, one line of at most 200 characters."""
    parts = urlsplit(url)
    text = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= 200 else f"{text[:197]}..."


def last_name(url: str) -> str:
    """Return the last part of a URL's path, or its host."""
    parts = urlsplit(url)
    name = unquote(parts.path.rstrip("/").rpartition("/")[2]) or parts.netloc.rpartition("@")[2]
    return "".join(character if character.isprintable() else "?" for character in name)


def stable(url: str) -> str:
    """Return the part of a URL that says which object it is: signatures change with every upload's link."""
    parts = urlsplit(url)
    query = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if not _SIGNATURES.fullmatch(pair[0])]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2].lower(), parts.path, urlencode(query), ""))


def tied(kind: str, value: str, place: str) -> str:
    """Return an identity that holds at one place only, such as `etag:"5d41"@0f3a…`.

    An ETag or a time says nothing about another URL's: two places with the same one are two objects.
    """
    if len(value) > _LONGEST_ETAG or not value.isprintable():
        value = hashlib.sha256(value.encode(errors="replace")).hexdigest()
    return f"{kind}:{value}@{hashlib.sha256(place.encode(errors='replace')).hexdigest()[:16]}"


def split(url: str, field: str) -> tuple[str, str]:
    """Return host (or bucket, or claim) and path, decoded for none but volumes: an object store's keys are literal.

    Raises:
        BuildError: There is no host, or the path climbs.
    """
    scheme, _, rest = url.partition("://")
    host, _, path = rest.partition("/")
    if not host:
        raise BuildError(field, f"{shown(url)} names no place", f"expected {scheme}://PLACE/PATH")
    if ".." in path.split("/"):
        raise BuildError(field, f"{shown(url)} has .. in its path", "write the path as it is")
    if any(ord(character) < 32 or ord(character) == 127 for character in path):
        raise BuildError(field, f"{shown(url)} has control characters")
    return host, path


def path_of_key(key: str) -> str:
    """Return an object's key as a URL's path, as S3 signs it."""
    return quote(key, safe="/-_.~")
