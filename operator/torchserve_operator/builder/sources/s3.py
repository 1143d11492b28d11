"""`s3://BUCKET/KEY` of any endpoint: requests signed by botocore, sent by this builder's own HTTP.

Not by s3fs: it takes 62 MiB of resident memory before the first byte, where signing takes 28 (measured) and a build
may have 64 in all. And this way a cut connection, a Retry-After and a changed object are handled in one place.
"""

import dataclasses
import os
import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import urllib3
from botocore.auth import S3SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]
from urllib3.exceptions import HTTPError

from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.patience import TRANSIENT, TryFailedError, retry_after
from torchserve_operator.builder.sources.access import Access, Secret
from torchserve_operator.builder.sources.https import check_scheme
from torchserve_operator.builder.sources.place import path_of_key, shown, split
from torchserve_operator.builder.sources.web import transport, unreachable
from torchserve_operator.builder.transport import Transport, TransportError, explained

_KEYS: Final = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_ANSWER_LIMIT: Final = 8 << 20
"""Bytes of a listing's page: 1,000 keys of at most 1,024 bytes, escaped."""
_ERROR_LIMIT: Final = 1 << 16
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


@dataclasses.dataclass(frozen=True)
class Account:
    """Who asks, and where.

    Attributes:
        endpoint: Scheme and host, without a slash at the end; empty: AWS.
        region: Such as `eu-central-1`.
        credentials: None: requests are not signed.
    """

    endpoint: str
    region: str
    credentials: Any = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Listed:
    """One object of a listing."""

    key: str
    size: int
    etag: str
    modified: str


class Bucket:
    """A bucket as one account sees it.

    Args:
        url: `s3://BUCKET/…`.
        secret: Credentials; None: those of the surroundings where they are allowed, else none.
        access: What is allowed.
        field: Where in the resource the URL is.

    Raises:
        BuildError: The URL or the Secret cannot be used.
    """

    def __init__(self, url: str, secret: Secret | None, access: Access, field: str) -> None:
        self.name, self.key = split(url, field)
        self.field = field
        if not _BUCKET.fullmatch(self.name):
            raise BuildError(field, f'"{shown(url)}" names no bucket', "expected s3://BUCKET/KEY")
        self.account = _account(secret, access)
        if self.account.endpoint:
            check_scheme(self.account.endpoint, access, secret.field if secret else field)
        self._transport: Transport = transport(access.trusted(secret), access.spool.folder, access.read_timeout)

    def __repr__(self) -> str:
        return f"Bucket({self.name})"

    def get(
        self, path: str, query: Mapping[str, str], headers: Mapping[str, str], what: str
    ) -> urllib3.BaseHTTPResponse:
        """Send one signed GET; return answers 200, 206, 412 and 416.

        Raises:
            TryFailedError: Anything else came.
        """
        response = self._send(path, query, headers, what)
        region = response.headers.get("x-amz-bucket-region", "")
        if response.status in {301, 307, 400} and region not in {"", self.account.region}:
            response.close()
            self.account = dataclasses.replace(self.account, region=region)
            response = self._send(path, query, headers, what)
        if response.status in {200, 206, 412, 416}:
            return response
        after = retry_after(response.headers.get("Retry-After", ""), time.time())
        code = _error_code(response)
        raise refused(response.status, code, after, what=what, bucket=self.name, field=self.field, account=self.account)

    def _send(
        self, path: str, query: Mapping[str, str], headers: Mapping[str, str], what: str
    ) -> urllib3.BaseHTTPResponse:
        url = address(self.account, self.name, path)
        if query:
            url = f"{url}?{urlencode(sorted(query.items()), quote_via=quote)}"
        # The Range is not signed: parts of one object differ in it only.
        signed = {**_signed(url, self.account), **headers}
        try:
            return self._transport.send("GET", url, signed)
        except TransportError as error:
            origin = S3Origin(self, what, f"{urlsplit(url).scheme}://{urlsplit(url).netloc}/{self.name}")
            raise unreachable(error, origin) from error

    def list(self, prefix: str, *, most: int | None = None) -> Iterator[Listed]:
        """Yield the objects whose keys begin with a prefix, in the order of their keys; one request a page of 1,000.

        Raises:
            TryFailedError: The listing cannot be had.
        """
        query = {"list-type": "2", "prefix": prefix}
        if most is not None:
            query["max-keys"] = str(most)
        while True:
            page = self._page(query)
            yield from (_listed(each) for each in page.iterfind("{*}Contents"))
            token = page.findtext("{*}NextContinuationToken", "")
            if most is not None or not token:
                return
            query["continuation-token"] = token

    def _page(self, query: Mapping[str, str]) -> ET.Element:
        what = f"the listing of s3://{self.name}/{query['prefix']}"
        response = self.get("", query, {}, what)
        try:
            body = response.read(_ANSWER_LIMIT + 1)
        except HTTPError as error:
            raise unreachable(explained(error), S3Origin(self, "", f"s3://{self.name}/")) from error
        finally:
            response.close()
        try:
            if len(body) > _ANSWER_LIMIT:
                raise ET.ParseError  # noqa: TRY301
            return ET.fromstring(body)  # noqa: S314  expat since 2.4.1 bounds what entities expand to; the answer is capped
        except ET.ParseError:
            message = f"{what} is no listing"
            raise TryFailedError(
                BuildError(self.field, message, "is the endpoint an S3 server?"), transient=False
            ) from None


class S3Origin:
    """One object of a bucket."""

    def __init__(self, bucket: Bucket, key: str, shown_as: str = "") -> None:
        self.place = f"{bucket.account.endpoint}/{bucket.name}/{key}"
        self.shown = shown_as or shown(f"s3://{bucket.name}/") + key
        self.field = bucket.field
        self._bucket = bucket
        self._key = key

    def __repr__(self) -> str:
        return f"S3Origin({self.shown})"

    def get(self, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        """Send one GET."""
        return self._bucket.get(self._key, {}, headers, self.shown)


def address(account: Account, bucket: str, key: str) -> str:
    """Return the URL of an object. Pure: AWS by the bucket's own host, others (and names with dots) by path."""
    path = path_of_key(key)
    if account.endpoint:
        return f"{account.endpoint}/{bucket}/{path}" if path else f"{account.endpoint}/{bucket}"
    domain = f"s3.{account.region}.amazonaws.com" + (".cn" if account.region.startswith("cn-") else "")
    return f"https://{domain}/{bucket}/{path}" if "." in bucket else f"https://{bucket}.{domain}/{path}"


def nearest(prefix: str, exists: Callable[[str], bool]) -> str:
    """Return the longest parent of a prefix that has anything in it, empty if none has."""
    parts = [part for part in prefix.split("/") if part][:-1]
    while parts:
        parent = "/".join(parts) + "/"
        if exists(parent):
            return parent
        parts.pop()
    return ""


def _account(secret: Secret | None, access: Access) -> Account:
    if secret is not None:
        if ("AWS_ACCESS_KEY_ID" in secret) != ("AWS_SECRET_ACCESS_KEY" in secret):
            there = ", ".join(secret)
            raise BuildError(secret.field, f"Secret {secret.name} has one of {_KEYS} (its keys: {there})", "give both")
        credentials = (
            Credentials(secret["AWS_ACCESS_KEY_ID"], secret["AWS_SECRET_ACCESS_KEY"], secret.get("AWS_SESSION_TOKEN"))
            if "AWS_ACCESS_KEY_ID" in secret
            else None
        )
        endpoint, region = secret.get("AWS_ENDPOINT_URL", ""), secret.get("AWS_REGION", "")
        return Account(_endpoint(endpoint, secret.field), region or "us-east-1", credentials)
    if access.ambient_credentials:
        import botocore.session  # type: ignore[import-untyped]

        session = botocore.session.Session()
        variables = (os.environ.get(name, "") for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"))
        endpoint = next(filter(None, variables), "") or session.get_scoped_config().get("endpoint_url", "")
        region = os.environ.get("AWS_REGION") or session.get_config_variable("region") or "us-east-1"
        return Account(_endpoint(str(endpoint), ""), str(region), session.get_credentials())
    return Account("", "us-east-1", None)


def _endpoint(url: str, field: str) -> str:
    parts = urlsplit(url)
    if url and (parts.scheme not in {"https", "http"} or not parts.hostname or "@" in parts.netloc or parts.query):
        raise BuildError(field, "AWS_ENDPOINT_URL is no URL of a server", "expected https://HOST or https://HOST:PORT")
    return url.rstrip("/")


def _signed(url: str, account: Account) -> dict[str, str]:
    if account.credentials is None:
        return {}
    request = AWSRequest("GET", url)
    S3SigV4Auth(account.credentials, "s3", account.region).add_auth(request)
    return dict(request.headers.items())


def _error_code(response: urllib3.BaseHTTPResponse) -> str:
    try:
        body = response.read(_ERROR_LIMIT)
    except HTTPError:
        body = b""
    finally:
        response.close()
    found = re.search(rb"<Code>([A-Za-z0-9.]{1,64})</Code>", body)
    return found[1].decode() if found else ""


def _listed(element: ET.Element) -> Listed:
    return Listed(
        # Literal: of `encoding-type=url` servers have two readings, in one `+` is a space.
        element.findtext("{*}Key", ""),
        int(element.findtext("{*}Size", "0")),
        element.findtext("{*}ETag", ""),
        element.findtext("{*}LastModified", ""),
    )


_CODES: Final[Mapping[str, tuple[str, str]]] = {
    "NoSuchKey": (" does not exist", "check the key: upper and lower case differ"),
    "InvalidAccessKeyId": (": the access key is not known there", "check AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL"),
    # versitygw's own
    "XAdminUserNotFound": (": the access key is not known there", "check AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL"),
    "SignatureDoesNotMatch": (
        ": the secret key is not the access key's",
        "check AWS_SECRET_ACCESS_KEY and AWS_REGION",
    ),
    "ExpiredToken": (": the session token has expired", "put a fresh AWS_SESSION_TOKEN into the Secret"),
    "InvalidToken": (": the session token is not valid", "put a fresh AWS_SESSION_TOKEN into the Secret"),
    "RequestTimeTooSkewed": (": the clocks of this machine and the server differ", "set the node's clock"),
    "AuthorizationHeaderMalformed": (": the region is not the bucket's", "give AWS_REGION in the Secret"),
    "PermanentRedirect": (": the region is not the bucket's", "give AWS_REGION in the Secret"),
}
"""S3's error codes: what is said of the object, and the hint."""


def refused(
    status: int, code: str, after: float | None, *, what: str, bucket: str, field: str, account: Account
) -> TryFailedError:
    """Explain an answer that is not the object. Pure.

    Args:
        status: Of the answer.
        code: S3's own; empty if there was none.
        after: Seconds that the server asks to wait.
        what: The object, for people.
        bucket: Its bucket.
        field: Where in the resource it is.
        account: Who asked.
    """
    hint, transient = "", status in TRANSIENT
    said = f"{status} ({code})" if code else f"{status}"
    if code == "NoSuchBucket":
        message = f"there is no bucket {bucket} at {account.endpoint or 'AWS'}"
        hint = "check its name; for a server other than AWS, AWS_ENDPOINT_URL belongs into the Secret"
    elif code in _CODES:
        message, hint = f"{what}{_CODES[code][0]}", _CODES[code][1]
    elif status in {401, 403} and account.credentials is None:
        message = f"{what} is forbidden without credentials"
        hint = f"name a Secret with {_KEYS} in credentialsSecretName"
    elif status in {401, 403}:
        message = f"{what} is forbidden"
        hint = "the account needs s3:GetObject and s3:ListBucket; without the latter a missing key reads like this too"
    elif status == 404:
        message = f"{what} does not exist" + (f" ({code})" if code else "")
        hint = "check the URL, and whether the endpoint is an S3 server"
    elif transient:
        message, hint = f"{what}: the server keeps answering {said}", "try again later"
    else:
        message = f"{what}: the server answered {said}"
    return TryFailedError(BuildError(field, message, hint), transient=transient, retry_after=after)
