"""Sources on a real S3 server, and on the way to it a proxy that breaks connections."""

import hashlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from certificates import Authority

from testbed.object_store import ACCESS_KEY, SECRET_KEY, ObjectStore
from testbed.registryproxy import DropAnswer, Refuse, RegistryProxy
from testbed.source_access import Ground
from torchserve_operator.api.build import FolderSource, SourceSpec
from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.sources import open_folder, open_object
from torchserve_operator.builder.sources.s3 import Account, Bucket

AT = "spec.models[0].archive"
FOLDER_AT = "spec.models[0].package.source"
CONTENT = bytes(range(256)) * 40_000


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with ObjectStore(tmp_path_factory.mktemp("s3")) as running:
        running.put("models", "team/digits.mar", CONTENT)
        for path, content in {"handler.py": b"def handle(): ...", "tok/.hidden": b"{}", "ä b+c&<.txt": b"odd"}.items():
            running.put("models", f"parts/sentiment/{path}", content)
        running.put("models", "parts/sentiment/sub/", b"")
        yield running


@pytest.fixture
def ground(tmp_path: Path, store: ObjectStore) -> Ground:
    made = Ground(tmp_path)
    made.secret("s3", **store.secret())
    return made


def archive(url: str, named: str = "s3", **fields: str) -> SourceSpec:
    return SourceSpec.model_validate({"url": url, "credentialsSecretName": named, **fields})


def folder(url: str, **fields: str) -> FolderSource:
    return FolderSource.model_validate({"url": url, "credentialsSecretName": "s3", **fields})


def failure(action: Callable[[], object]) -> BuildError:
    with pytest.raises(BuildError) as caught:
        action()
    text = f"{caught.value!r} {caught.value.hint}"
    assert "\n" not in str(caught.value)
    assert SECRET_KEY not in text
    assert ACCESS_KEY not in text
    return caught.value


def test_an_object_is_known_by_its_etag_and_read_in_any_order(ground: Ground) -> None:
    opened = open_object(archive("s3://models/team/digits.mar"), ground.access, AT)
    assert opened.identity.startswith(f'etag:"{hashlib.md5(CONTENT).hexdigest()}"@')  # noqa: S324
    assert (opened.name, opened.size, opened.random_access) == ("digits.mar", len(CONTENT), True)
    with opened.open() as file:
        file.seek(9_000_000)
        assert file.read(5) == CONTENT[9_000_000:9_000_005]
        file.seek(0)
        assert file.read() == CONTENT
    assert ground.access.spool.peak == 0


def test_a_new_upload_is_another_identity_and_the_old_one_cannot_be_read_on(ground: Ground, store: ObjectStore) -> None:
    store.put("models", "changing.mar", CONTENT)
    opened = open_object(archive("s3://models/changing.mar"), ground.access, AT)
    with opened.open() as file:
        file.read(10)
        store.put("models", "changing.mar", CONTENT[::-1])
        assert "s3://models/changing.mar changed while it was read" in failure(file.read).message
    assert open_object(archive("s3://models/changing.mar"), ground.access, AT).identity != opened.identity


def test_a_checksum_is_compared_without_scratch_space(ground: Ground) -> None:
    right = hashlib.sha256(CONTENT).hexdigest()
    opened = open_object(archive("s3://models/team/digits.mar", sha256=right), ground.access, AT)
    with opened.open() as file:
        assert file.read() == CONTENT
    error = failure(open_object(archive("s3://models/team/digits.mar", sha256="0" * 64), ground.access, AT).open)
    assert error.field == f"{AT}.sha256"
    assert ground.access.spool.peak == 0


def test_a_prefix_is_a_folder_whatever_its_keys_are(ground: Ground) -> None:
    for url in ("s3://models/parts/sentiment/", "s3://models/parts/sentiment"):
        files = open_folder(folder(url), ground.access, FOLDER_AT).files()
        assert [(file.path, b"".join(file.chunks())) for file in files] == [
            ("handler.py", b"def handle(): ..."),
            ("tok/.hidden", b"{}"),
            ("ä b+c&<.txt", b"odd"),
        ]


def test_a_folders_identity_is_of_all_its_objects(ground: Ground, store: ObjectStore) -> None:
    store.put("models", "trained/a.py", b"a")
    store.put("models", "trained/b.py", b"b")
    seen = [open_folder(folder("s3://models/trained/"), ground.access, FOLDER_AT).identity for _ in range(2)]
    store.put("models", "trained/b.py", b"B")
    seen.append(open_folder(folder("s3://models/trained/"), ground.access, FOLDER_AT).identity)
    store.put("models", "trained/c.py", b"c")
    seen.append(open_folder(folder("s3://models/trained/"), ground.access, FOLDER_AT).identity)
    store.delete("models", "trained/c.py")
    seen.append(open_folder(folder("s3://models/trained/"), ground.access, FOLDER_AT).identity)
    assert seen[0] == seen[1]
    assert seen[2] == seen[4]
    assert len(set(seen)) == 3


def test_an_object_of_a_folder_that_changes_after_it_was_listed_is_an_error(ground: Ground, store: ObjectStore) -> None:
    store.put("models", "moving/a.py", b"before")
    [file] = open_folder(folder("s3://models/moving"), ground.access, FOLDER_AT).files()
    store.put("models", "moving/a.py", b"after!")
    assert "changed while it was read" in failure(lambda: list(file.chunks())).message


def test_more_than_a_page_of_objects_is_listed(ground: Ground, store: ObjectStore) -> None:
    for number in range(1005):
        store.put("many", f"f/{number:04}", b"x")
    files = open_folder(folder("s3://many/f/"), ground.access, FOLDER_AT).files()
    assert [file.path for file in files] == [f"{number:04}" for number in range(1005)]


def test_an_empty_prefix_is_told_with_the_nearest_that_is_not(ground: Ground) -> None:
    error = failure(lambda: open_folder(folder("s3://models/parts/sentimental/x/"), ground.access, FOLDER_AT))
    assert error.message == "s3://models/parts/sentimental/x/ has no objects"
    assert error.hint == "there is something in s3://models/parts/"
    assert error.field == f"{FOLDER_AT}.url"


@pytest.mark.parametrize(
    ("url", "changed", "words"),
    [
        ("s3://models/nothing.mar", {}, "does not exist"),
        ("s3://nobucket/a.mar", {}, "there is no bucket nobucket"),
        ("s3://models/team/digits.mar", {"AWS_ACCESS_KEY_ID": "AKIAWRONG"}, "the access key is not known there"),
        (
            "s3://models/team/digits.mar",
            {"AWS_SECRET_ACCESS_KEY": "wrong-one"},
            "the secret key is not the access key's",
        ),
        ("s3://models/team/digits.mar", {"AWS_REGION": "us-west-1"}, "the region is not the bucket's"),
        ("s3://models/team/digits.mar", {"AWS_ENDPOINT_URL": "https://s3.invalid"}, "cannot be resolved"),
    ],
)
def test_what_is_wrong_is_one_line(
    ground: Ground, store: ObjectStore, url: str, changed: dict[str, str], words: str
) -> None:
    ground.secret("bad", **{**store.secret(), **changed})
    error = failure(lambda: open_object(archive(url, "bad"), ground.access, AT))
    assert words in error.message
    assert error.field == f"{AT}.url"
    assert error.hint


def test_without_credentials_a_private_object_is_forbidden_with_what_to_do(ground: Ground, store: ObjectStore) -> None:
    ground.secret("anonymous", AWS_ENDPOINT_URL=store.url)
    error = failure(lambda: open_object(archive("s3://models/team/digits.mar", "anonymous"), ground.access, AT))
    assert "is forbidden without credentials" in error.message
    assert "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in error.hint


def test_half_a_key_is_an_error_at_the_secret(ground: Ground, store: ObjectStore) -> None:
    secret = store.secret()
    del secret["AWS_SECRET_ACCESS_KEY"]
    ground.secret("half", **secret)
    error = failure(lambda: open_object(archive("s3://models/team/digits.mar", "half"), ground.access, AT))
    assert error.field == f"{AT}.credentialsSecretName"


def test_a_plain_endpoint_needs_to_be_allowed(tmp_path: Path, store: ObjectStore) -> None:
    ground = Ground(tmp_path, allow_http=False)
    ground.secret("s3", **store.secret())
    error = failure(lambda: open_object(archive("s3://models/team/digits.mar"), ground.access, AT))
    assert "is plain HTTP, which is not allowed here" in error.message


def test_a_private_ca_of_the_secret_is_trusted(tmp_path: Path) -> None:
    authority = Authority()
    issued = authority.issue("localhost")
    certificate = tmp_path / "s3.crt", tmp_path / "s3.key"
    certificate[0].write_text(issued.certificate)
    certificate[1].write_text(issued.key)
    ground = Ground(tmp_path, allow_http=False)
    with ObjectStore(tmp_path / "s3", certificate=certificate) as secure:
        secure.put("models", "a.mar", b"small")
        ground.secret("s3", **{**secure.secret(), "ca.crt": authority.certificate})
        ground.secret("no-ca", **secure.secret())
        with open_object(archive("s3://models/a.mar"), ground.access, AT).open() as file:
            assert file.read() == b"small"
        error = failure(lambda: open_object(archive("s3://models/a.mar", "no-ca"), ground.access, AT))
    assert "an authority that is not trusted here" in error.message


def test_cut_connections_are_taken_up_and_a_busy_server_is_asked_again(
    ground: Ground, store: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with RegistryProxy(store.host) as proxy:
        ground.secret("proxied", **store.secret(AWS_ENDPOINT_URL=proxy.url))
        opened = open_object(archive("s3://models/team/digits.mar", "proxied"), ground.access, AT)
        busy = Refuse(503, b"<Error><Code>SlowDown</Code></Error>", (("Retry-After", "0"),))
        with (
            opened.open() as file,
            proxy.fault(DropAnswer(after=3_000_000), times=1) as cut,
            proxy.fault(busy, times=2) as refused,
        ):
            assert file.read() == CONTENT
            assert (cut.hits, refused.hits) == (1, 2)
        ranges = [request.headers.get("range", "") for request in proxy.requests]
        assert len(ranges) <= 6
        with proxy.fault(Refuse(503, b"<Error><Code>SlowDown</Code></Error>")):
            error = failure(lambda: open_object(archive("s3://models/team/digits.mar", "proxied"), ground.access, AT))
    assert "the server keeps answering 503 (SlowDown)" in error.message
    for secret in (SECRET_KEY, "Signature"):
        assert secret not in caplog.text


def test_credentials_of_the_surroundings_are_used_on_a_laptop_only(
    tmp_path: Path, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in store.secret().items():
        monkeypatch.setenv(key, value)
    source = SourceSpec.model_validate({"url": "s3://models/team/digits.mar"})
    laptop = Ground(tmp_path / "laptop", ambient_credentials=True)
    with open_object(source, laptop.access, AT).open() as file:
        assert file.read(4) == CONTENT[:4]
    cluster = Bucket("s3://models/team/digits.mar", None, Ground(tmp_path / "cluster").access, AT)
    assert cluster.account == Account(endpoint="", region="us-east-1", credentials=None)
