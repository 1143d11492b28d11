"""What a registry's refusal means: status and body in, an error for people out. Pure."""

import json
import re

from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.patience import TRANSIENT, TryFailedError

_CREDENTIALS_HINT = (
    "spec.build.pushSecretName names a Secret of type kubernetes.io/dockerconfigjson that has credentials for {host}"
)
_NO_SPACE = re.compile(r"no space left|disk quota exceeded|insufficient storage|quota .*exceeded", re.IGNORECASE)
_SAID_AT_MOST = 160


def refused(
    status: int, after: float | None, body: bytes, *, host: str, doing: str, field: str, anonymous: bool
) -> TryFailedError:
    """Explain an answer that is none of those hoped for.

    Args:
        status: Of the answer.
        after: Seconds to wait as the registry said; None if it did not.
        body: The beginning of its body.
        host: The registry, as the user knows it.
        doing: What was asked for, such as `push to team/digits`.
        field: Where in the resource the registry is named.
        anonymous: Whether no credentials were sent.
    """
    said = _said(body)
    hint, transient = "", False
    match status:
        case 401 if anonymous:
            message = f"{host} wants credentials to {doing}, and there are none for it"
            hint = _CREDENTIALS_HINT.format(host=host)
        case 401:
            message = f"{host} does not accept the credentials to {doing}"
            hint = _CREDENTIALS_HINT.format(host=host)
        case 403:
            message = f"{host} forbids to {doing}{said}"
            hint = "the account needs the right to do that"
        case 404 | 416 if b"BLOB_UPLOAD_" in body:
            # A registry that was begun anew, or another replica of it, does not know the session: open another one.
            message, transient = f"{host} cannot {doing}: it forgets the uploads that it begins{said}", True
            hint = "do its replicas share their storage and their HTTP secret?"
        case 404:
            message = f"{host} cannot {doing}: there is no such thing{said}"
            hint = "check the name, and whether the repository must be made first"
        case 413:
            message = f"{host} cannot {doing}: the layer is larger than it accepts"
            hint = "raise the body size that the registry, or the proxy before it, allows"
        case _ if status == 507 or _NO_SPACE.search(body.decode(errors="replace")):
            message = f"{host} cannot {doing}: it has no space left"
            hint = "free or add storage there"
        case 429:
            message, transient = f"{host} cannot {doing}: too many requests", True
            hint = "its rate limit stayed used up: try again later"
        case _ if status in TRANSIENT:
            message, transient = f"{host} cannot {doing}: it keeps answering {status}{said}", True
            hint = "look at the registry's log"
        case _:
            message = f"{host} cannot {doing}: it answered {status}{said}"
    return TryFailedError(BuildError(field, message, hint), transient=transient, retry_after=after)


def _said(body: bytes) -> str:
    """The registry's own words, bounded: `{"errors": [{"code": "DENIED", "message": "…"}]}`."""
    try:
        first = json.loads(body)["errors"][0]
        words = f"{first.get('code') or ''} {first.get('message') or ''}"
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return ""
    words = " ".join("".join(c if c.isprintable() else " " for c in words).split())
    if len(words) > _SAID_AT_MOST:
        words = f"{words[: _SAID_AT_MOST - 3]}..."
    return f" ({words})" if words else ""
