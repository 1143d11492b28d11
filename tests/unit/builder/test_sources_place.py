"""What of a URL is shown, what of it says which object it is, and what answers mean: pure."""

from urllib.parse import urlsplit

import pytest

from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.patience import retry_after
from torchserve_operator.builder.sources import s3
from torchserve_operator.builder.sources.https import refused
from torchserve_operator.builder.sources.optional import identity_of
from torchserve_operator.builder.sources.place import last_name, shown, split, stable, tied
from torchserve_operator.builder.sources.web import Resolved

SIGNED = "https://me:pw@models.example/a/b%20c.mar?X-Amz-Signature=5ec1e7&X-Amz-Expires=60#part"


def test_a_url_is_shown_without_user_query_and_fragment() -> None:
    assert shown(SIGNED) == "https://models.example/a/b%20c.mar"


def test_a_long_or_strange_url_is_shown_in_one_short_line() -> None:
    assert len(shown(f"https://h/{'x' * 5000}")) == 200
    assert shown("https://h/a\nb") in {"https://h/a?b", "https://h/ab"}


def test_the_name_is_the_last_part_of_the_path_decoded() -> None:
    assert last_name(SIGNED) == "b c.mar"
    assert last_name("https://models.example/") == "models.example"


@pytest.mark.parametrize(
    "query",
    [
        "X-Amz-Signature=aa&X-Amz-Date=20261121T000000Z&X-Amz-Credential=me",
        "AWSAccessKeyId=me&Signature=aa&Expires=1",
        "X-Goog-Signature=aa",
        "sv=2024-01-01&se=2026&sr=b&sp=r&sig=aa",
        "token=aa",
    ],
)
def test_a_new_signature_is_no_other_object(query: str) -> None:
    assert stable(f"https://h/a?{query}&file=1") == stable("https://h/a?file=1")


def test_another_query_is_another_object() -> None:
    assert stable("https://h/a?file=1") != stable("https://h/a?file=2")


def test_an_identity_holds_at_its_place_only() -> None:
    assert tied("etag", '"1"', "https://h/a") != tied("etag", '"1"', "https://h/b")
    assert tied("etag", '"1"', "https://h/a").startswith('etag:"1"@')


def test_a_long_or_strange_etag_is_told_by_its_digest() -> None:
    assert len(tied("etag", "x" * 5000, "")) < 100
    assert tied("etag", "a\nb", "").isprintable()


@pytest.mark.parametrize("url", ["s3://b/a/../c", "https://h/..", "s3:///key", "s3://b/a\x00b"])
def test_urls_that_climb_or_name_no_place_are_refused(url: str) -> None:
    with pytest.raises(BuildError) as caught:
        split(url, "spec.models[0].archive.url")
    assert caught.value.field == "spec.models[0].archive.url"


@pytest.mark.parametrize(
    ("resolved", "kind"),
    [
        (Resolved(5, True, "v1", '"e"', "Mon"), "version:v1@"),
        (Resolved(5, True, "", '"e"', "Mon"), 'etag:"e"@'),
        (Resolved(5, True, "", "", "Mon"), "modified:Mon-5@"),
        (Resolved(None, False, "", "", "Mon"), ""),
        (Resolved(5, True), ""),
    ],
)
def test_the_most_exact_thing_that_a_server_tells_is_the_identity(resolved: Resolved, kind: str) -> None:
    identity = resolved.identity("https://h/a")
    assert identity.startswith(kind)
    assert bool(identity) == bool(kind)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("Sat, 21 Nov 2026 13:00:10 GMT", 10.0),
        ("Sat, 21 Nov 2026 12:00:00 GMT", 0.0),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str, seconds: float | None) -> None:
    assert retry_after(header, now=1795266000.0) == seconds


@pytest.mark.parametrize("status", [400, 401, 403, 404, 407, 410, 429, 500, 503, 418])
@pytest.mark.parametrize("anonymous", [True, False])
def test_every_refusal_is_one_line_with_its_field(status: int, anonymous: bool) -> None:
    error = refused(status, None, what="https://h/a", field="spec.x.url", anonymous=anonymous)
    assert error.error.field == "spec.x.url"
    assert "https://h/a" in error.error.message
    assert "\n" not in str(error.error)
    assert error.transient == (status in {429, 500, 503})


def test_missing_credentials_are_told_from_wrong_ones() -> None:
    missing = refused(401, None, what="https://h/a", field="f", anonymous=True).error
    wrong = refused(401, None, what="https://h/a", field="f", anonymous=False).error
    assert "credentialsSecretName" in missing.hint
    assert "does not accept" in wrong.message


@pytest.mark.parametrize(
    ("account", "bucket", "url"),
    [
        (s3.Account("", "eu-central-1", None), "models", "https://models.s3.eu-central-1.amazonaws.com/a%20b/c%2B.mar"),
        (s3.Account("", "eu-central-1", None), "a.b", "https://s3.eu-central-1.amazonaws.com/a.b/a%20b/c%2B.mar"),
        (s3.Account("", "cn-north-1", None), "models", "https://models.s3.cn-north-1.amazonaws.com.cn/a%20b/c%2B.mar"),
        (s3.Account("https://minio:9000", "x", None), "models", "https://minio:9000/models/a%20b/c%2B.mar"),
    ],
)
def test_aws_is_asked_by_the_buckets_host_and_others_by_path(account: s3.Account, bucket: str, url: str) -> None:
    assert s3.address(account, bucket, "a b/c+.mar") == url
    assert urlsplit(url).hostname


@pytest.mark.parametrize(
    ("status", "code", "words", "transient"),
    [
        (404, "NoSuchKey", "does not exist", False),
        (404, "NoSuchBucket", "there is no bucket models at AWS", False),
        (403, "InvalidAccessKeyId", "access key is not known", False),
        (403, "SignatureDoesNotMatch", "secret key is not", False),
        (400, "ExpiredToken", "expired", False),
        (403, "RequestTimeTooSkewed", "clocks", False),
        (301, "PermanentRedirect", "region", False),
        (403, "AccessDenied", "forbidden without credentials", False),
        (503, "SlowDown", "503 (SlowDown)", True),
        (418, "", "answered 418", False),
    ],
)
def test_the_codes_of_s3_are_said_in_words(status: int, code: str, words: str, transient: bool) -> None:
    account = s3.Account("", "us-east-1", None)
    error = s3.refused(status, code, None, what="s3://models/k", bucket="models", field="f.url", account=account)
    assert words in error.error.message
    assert error.transient == transient


def test_the_nearest_prefix_that_has_anything_is_found_from_below() -> None:
    assert s3.nearest("a/b/c/d/", lambda prefix: prefix in {"a/", "a/b/"}) == "a/b/"
    assert s3.nearest("a/", lambda _: True) == ""


@pytest.mark.parametrize(
    ("info", "identity"),
    [
        ({"lfs": {"sha256": "ab" * 32}, "blob_id": "x"}, "sha256:" + "ab" * 32),
        ({"blob_id": "x", "size": 1}, "etag:x@"),
        ({"ETag": '"e"', "size": 1}, 'etag:"e"@'),
        ({"mtime": 12, "size": 1}, "modified:12-1@"),
        ({"size": 1}, ""),
    ],
)
def test_an_object_of_fsspecs_is_known_by_its_most_exact_key(info: dict[str, object], identity: str) -> None:
    assert identity_of(info, "hf://o/r/f").startswith(identity)
