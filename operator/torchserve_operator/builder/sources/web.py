"""Objects that are read by HTTP, whoever serves them: what they are, parts of them, and failures in words.

Web servers and S3 differ in how a request is made and in what a refusal says (`Origin`); all else is here.
"""

import hashlib
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import urllib3
from urllib3.exceptions import HTTPError

from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.patience import TryFailedError
from torchserve_operator.builder.sources.place import tied
from torchserve_operator.builder.sources.reading import Body
from torchserve_operator.builder.transport import Transport, TransportError, explained

_CHANGED_HINT: Final = "build again when the upload is done; a new name for each version, or sha256, avoids it"

for _name in ("urllib3", "botocore"):
    # Both write URLs with their queries, which are credentials where they are signed, to their debug logs.
    logging.getLogger(_name).setLevel(logging.ERROR)


class Origin(Protocol):
    """Where an object is asked for.

    Attributes:
        place: Which object it is, for its identity: no signature in it.
        shown: The same for people.
        field: Where in the resource it is named.
    """

    place: str
    shown: str
    field: str

    def get(self, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        """Send one GET; return answers 200, 206, 412 and 416.

        Raises:
            TryFailedError: Anything else came.
        """
        ...


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a server says of an object.

    Attributes:
        size: Bytes; None if it does not say.
        ranges: Whether parts can be asked for.
        version: The version's name, where there are versions.
        etag: As it was sent, quotes included; empty if there is none.
        modified: The Last-Modified header; empty if there is none.
    """

    size: int | None
    ranges: bool
    version: str = ""
    etag: str = ""
    modified: str = ""

    def identity(self, place: str) -> str:
        """Return what the object is known by; empty if the server tells nothing to know it by.

        A version's name is exact, an ETag is what the server stands for, a time and a length miss a second change
        within one second.
        """
        if self.version:
            return tied("version", self.version, place)
        if self.etag:
            return tied("etag", self.etag, place)
        if self.modified and self.size is not None:
            return tied("modified", f"{self.modified}-{self.size}", place)
        return ""

    def contradicted(self, headers: Mapping[str, str]) -> bool:
        """Return whether an answer is of another object: what both tell decides, the more exact first."""
        etag, modified = headers.get("ETag", ""), headers.get("Last-Modified", "")
        if self.etag and etag:
            return etag != self.etag
        return bool(self.modified and modified) and modified != self.modified


def resolve(origin: Origin) -> Resolved:
    """Ask for the first byte, which tells everything. Not HEAD: a signed link is good for GET only.

    Raises:
        TryFailedError: It cannot be had.
    """
    response = origin.get({"Range": "bytes=0-0"})
    try:
        headers = response.headers
        validators = (
            headers.get("x-amz-version-id", "").replace("null", ""),
            headers.get("ETag", ""),
            headers.get("Last-Modified", ""),
        )
        if response.status == 416:
            return Resolved(0, True, *validators)
        unknown = headers.get("Content-Range", "").endswith("/*")  # it gives parts of it does not know what
        if response.status == 206 and unknown:
            return Resolved(None, False, *validators)
        if response.status == 206:
            return Resolved(_total(origin, headers, 0, 1), True, *validators)
        length = headers.get("Content-Length", "")
        return Resolved(int(length) if re.fullmatch("[0-9]{1,18}", length) else None, False, *validators)
    finally:
        # Of a server without ranges all of it is on its way: not read, and the connection with it.
        response.close()


class WebRemote:
    """An object of which parts can be asked for, as long as it stays what it was.

    Args:
        origin: Where it is.
        resolved: What it was.
    """

    def __init__(self, origin: Origin, resolved: Resolved) -> None:
        self.size = resolved.size or 0
        self.shown = origin.shown
        self.field = origin.field
        self._origin = origin
        self._was = resolved

    def get(self, start: int, end: int) -> Body:
        """Ask for bytes `start` to `end` (not included) once."""
        headers = {}
        if self._was.etag and not self._was.etag.startswith("W/"):
            headers["If-Match"] = self._was.etag
        if (start, end) != (0, self.size):
            headers["Range"] = f"bytes={start}-{end - 1}"
        response = self._origin.get(headers)
        try:
            self._check(response, start, end)
        except BaseException:
            response.close()
            raise
        return WebBody(response, self._origin)

    def _check(self, response: urllib3.BaseHTTPResponse, start: int, end: int) -> None:
        headers = response.headers
        if response.status in {412, 416} or self._was.contradicted(headers):
            raise TryFailedError(changed(self._origin), transient=False)
        if response.status == 206:
            if _total(self._origin, headers, start, end) != self.size:
                raise TryFailedError(changed(self._origin), transient=False)
        elif (start, end) != (0, self.size):
            message = f"{self._origin.shown} was asked for a part and answered with all of it"
            raise TryFailedError(BuildError(self._origin.field, message), transient=True)
        elif headers.get("Content-Length", str(self.size)) != str(self.size):
            raise TryFailedError(changed(self._origin), transient=False)


class WebBody:
    """The bytes of one answer."""

    def __init__(self, response: urllib3.BaseHTTPResponse, origin: Origin) -> None:
        self._response = response
        self._origin = origin

    def read(self, count: int, /) -> bytes:
        """Return at most `count` bytes, none at the end."""
        try:
            return self._response.read(count)
        except HTTPError as error:
            raise unreachable(explained(error), self._origin) from error

    def close(self) -> None:
        """Leave the rest."""
        self._response.close()


def changed(origin: Origin) -> BuildError:
    """Return the error for an object that is not what it was when the build began."""
    return BuildError(origin.field, f"{origin.shown} changed while it was read", _CHANGED_HINT)


def unreachable(error: TransportError, origin: Origin) -> TryFailedError:
    """Return the error for no answer, with a hint for sources: the transport's own are for registries."""
    hint = error.hint
    if "plain HTTP" in error.message:
        hint = "use http:// if that is meant; the operator's settings must allow it"
    elif "resolved" in error.message:
        hint = "check the host's name"
    elif "authority" in error.message:
        hint = "put its CA's certificate as ca.crt into the source's Secret or into spec.build.caConfigMapName"
    elif "registry" in hint:
        hint = "does the server run, is the port right, do network policies allow it?"
    shown = origin.shown
    return TryFailedError(
        BuildError(origin.field, f"{shown} cannot be read: {host_of(shown)} {error.message}", hint),
        transient=error.transient,
    )


def host_of(shown: str) -> str:
    """Return the host of a URL that is shown."""
    return shown.partition("://")[2].partition("/")[0]


def transport(files: list[Path], folder: Path, read_timeout: float) -> Transport:
    """Return connections that trust the certificates of the files beside the system's."""
    if len(files) <= 1:
        return Transport(files[0] if files else None, read_timeout)
    folder.mkdir(parents=True, exist_ok=True)
    content = b"\n".join(file.read_bytes() for file in files)
    together = folder / f"ca-{hashlib.sha256(content).hexdigest()[:16]}.crt"  # each source has its own
    together.write_bytes(content)
    return Transport(together, read_timeout)


def _total(origin: Origin, headers: Mapping[str, str], start: int, end: int) -> int:
    """Return the whole object's bytes of an answer with the part that was asked for."""
    found = re.fullmatch(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})", headers.get("Content-Range", ""))
    if found is None or (int(found[1]), int(found[2])) != (start, end - 1):
        message = f"{origin.shown} was asked for a part and answered with another one"
        raise TryFailedError(BuildError(origin.field, message), transient=True)
    return int(found[3])
