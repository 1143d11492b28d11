"""Sources on a real web server: parts, redirects, credentials, TLS, broken connections, scratch space."""

import hashlib
import io
import logging
import os
import socket
import threading
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from certificates import Authority

from testbed.file_server import PASSWORD, TOKEN, USER, FileServer, Habits
from testbed.source_access import Ground
from torchserve_operator.api.build import FolderSource, SourceSpec
from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.sources import open_folder, open_object

AT = "spec.models[0].archive"
CONTENT = bytes(range(256)) * 40_000
"""10,240,000 bytes: ten blocks, the last one short."""
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer({"/m/digits.mar": CONTENT, "/small.mar": b"small", "/empty.mar": b""}) as running:
        yield running


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def certificate(authority: Authority, tmp_path: Path) -> tuple[Path, Path]:
    issued = authority.issue("localhost")
    places = tmp_path / "server.crt", tmp_path / "server.key"
    places[0].write_text(issued.certificate)
    places[1].write_text(issued.key)
    return places


def archive(url: str, **fields: str) -> SourceSpec:
    return SourceSpec.model_validate({"url": url, **fields})


def failure(action: Callable[[], object]) -> BuildError:
    with pytest.raises(BuildError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return caught.value


def test_an_object_is_known_before_more_than_a_byte_of_it_is_read(server: FileServer, ground: Ground) -> None:
    opened = open_object(archive(server.url("/m/digits.mar")), ground.access, AT)
    assert opened.name == "digits.mar"
    assert opened.size == len(CONTENT)
    assert opened.random_access
    assert opened.identity.startswith('etag:"')
    assert server.sent <= 1


def test_a_whole_file_is_one_block_and_one_request_for_the_rest(server: FileServer, ground: Ground) -> None:
    with open_object(archive(server.url("/m/digits.mar")), ground.access, AT).open() as file:
        assert file.read() == CONTENT
    assert server.ranges_asked() == ["bytes=0-0", "bytes=0-1048575", f"bytes=1048576-{len(CONTENT) - 1}"]


def test_any_part_is_read_without_what_lies_before_it(server: FileServer, ground: Ground) -> None:
    with open_object(archive(server.url("/m/digits.mar")), ground.access, AT).open() as file:
        for position in (9_000_000, 17, 5_000_000, 10_239_990, 18):
            file.seek(position)
            assert file.read(5) == CONTENT[position : position + 5]
        assert file.seek(-3, os.SEEK_END) == len(CONTENT) - 3
        assert file.read() == CONTENT[-3:]
    assert server.sent < 5 << 20
    assert ground.access.spool.peak == 0


def test_a_zip_is_read_where_it_lies(server: FileServer, ground: Ground) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as writer:
        writer.writestr("weights.bin", CONTENT)
        writer.writestr("handler.py", "def handle(data, context): ...")
    server.files["/zip.mar"] = packed.getvalue()
    opened = open_object(archive(server.url("/zip.mar")), ground.access, AT)
    with opened.open() as file, zipfile.ZipFile(file) as reader:
        assert reader.read("handler.py").startswith(b"def handle")
        assert server.sent < 3 << 20
        assert reader.read("weights.bin") == CONTENT


def test_reading_holds_a_few_blocks_and_no_more(server: FileServer, ground: Ground) -> None:
    server.files["/large.mar"] = bytes(24 << 20)
    opened = open_object(archive(server.url("/large.mar")), ground.access, AT)
    # What the server holds was made before: only this process's further allocations count, and it serves by slices.
    tracemalloc.start()
    try:
        with opened.open() as file:
            while file.read(1 << 20):
                pass
            for start in range(0, 24 << 20, 3 << 20):
                file.seek(start)
                file.read(100)
        assert tracemalloc.get_traced_memory()[1] < 12 << 20
    finally:
        tracemalloc.stop()


def test_an_empty_file_has_no_bytes(server: FileServer, ground: Ground) -> None:
    opened = open_object(archive(server.url("/empty.mar")), ground.access, AT)
    with opened.open() as file:
        assert file.read() == b""
    assert opened.size == 0


def test_a_changed_file_has_another_identity(server: FileServer, ground: Ground) -> None:
    before = open_object(archive(server.url("/small.mar")), ground.access, AT).identity
    server.files["/small.mar"] = b"other"
    assert open_object(archive(server.url("/small.mar")), ground.access, AT).identity != before


def test_without_an_etag_time_and_length_are_the_identity(server: FileServer, ground: Ground) -> None:
    server.habits.etag = None
    server.habits.modified = "Sat, 21 Nov 2026 12:00:00 GMT"
    opened = open_object(archive(server.url("/m/digits.mar")), ground.access, AT)
    assert opened.identity.startswith(f"modified:Sat, 21 Nov 2026 12:00:00 GMT-{len(CONTENT)}@")
    assert server.sent <= 1


@pytest.mark.parametrize("ranges", [True, False])
def test_where_a_server_tells_nothing_the_content_is_the_identity(
    server: FileServer, ground: Ground, ranges: bool
) -> None:
    server.habits = Habits(ranges=ranges, etag=None, length=ranges)
    opened = open_object(archive(server.url("/m/digits.mar")), ground.access, AT)
    assert opened.identity == f"sha256:{SHA}"
    with opened.open() as file:
        assert file.read() == CONTENT


def test_a_content_that_changes_without_a_sign_is_seen_as_it_is_read(server: FileServer, ground: Ground) -> None:
    server.habits.etag = None
    opened = open_object(archive(server.url("/m/digits.mar")), ground.access, AT)
    with opened.open() as file:
        assert file.read(10) == CONTENT[:10]
        server.files["/m/digits.mar"] = CONTENT[:5_000_000] + b"x" + CONTENT[5_000_001:]
        file.seek(4_999_999)
        assert "changed while it was read" in failure(lambda: file.read(3)).message


def test_an_object_that_changes_while_it_is_read_is_an_error(server: FileServer, ground: Ground) -> None:
    with open_object(archive(server.url("/m/digits.mar")), ground.access, AT).open() as file:
        file.read(10)
        server.files["/m/digits.mar"] = CONTENT[::-1]
        error = failure(file.read)
    assert error.message.endswith("/m/digits.mar changed while it was read")
    assert error.field == f"{AT}.url"


def test_a_weak_etag_that_changes_is_seen_too(server: FileServer, ground: Ground) -> None:
    server.habits.etag = lambda content: f'W/"{len(content)}"'
    opened = open_object(archive(server.url("/m/digits.mar")), ground.access, AT)
    server.files["/m/digits.mar"] = CONTENT + b"more"
    with opened.open() as file:
        assert "changed while it was read" in failure(lambda: file.read(1)).message
    assert "if-match" not in server.requests[-1].headers


def test_a_right_checksum_is_the_identity_and_costs_one_pass(server: FileServer, ground: Ground) -> None:
    opened = open_object(archive(server.url("/m/digits.mar"), sha256=SHA), ground.access, AT)
    assert opened.identity == f"sha256:{SHA}"
    assert server.sent <= 1
    with opened.open() as file:
        assert server.ranges_asked() == ["bytes=0-0", ""]
        assert file.read() == CONTENT
    assert ground.access.spool.peak == 0


@pytest.mark.parametrize("ranges", [True, False])
def test_a_wrong_checksum_is_an_error_before_anything_is_read(server: FileServer, ground: Ground, ranges: bool) -> None:
    server.habits.ranges = ranges
    opened = open_object(archive(server.url("/m/digits.mar"), sha256="0" * 64), ground.access, AT)
    error = failure(opened.open)
    assert error.field == f"{AT}.sha256"
    assert SHA in error.message


def test_what_is_read_after_the_checksum_was_right_must_still_be_it(server: FileServer, ground: Ground) -> None:
    server.habits.etag = lambda _: '"always the same"'
    opened = open_object(archive(server.url("/m/digits.mar"), sha256=SHA), ground.access, AT)
    with opened.open() as file:
        server.files["/m/digits.mar"] = CONTENT[:9_000_000] + b"evil" + CONTENT[9_000_004:]
        assert file.read(1 << 20) == CONTENT[: 1 << 20]
        file.seek(9_000_000)
        assert "changed while it was read" in failure(lambda: file.read(4)).message


def test_a_server_without_ranges_is_read_by_way_of_scratch_space(server: FileServer, ground: Ground) -> None:
    server.habits.ranges = False
    opened = open_object(archive(server.url("/m/digits.mar")), ground.access, AT)
    assert not opened.random_access
    assert ground.access.spool.peak == 0
    with opened.open() as first, opened.open() as second:
        first.seek(10_000_000)
        assert first.read(3) == CONTENT[10_000_000:10_000_003]
        assert second.read() == CONTENT
        assert ground.access.spool.peak == len(CONTENT)
    assert server.ranges_asked()[1:] == [""]
    del first, second, opened
    assert ground.access.spool.used == 0
    assert list(ground.access.spool.folder.iterdir()) == []


def test_scratch_space_has_a_limit_that_is_named(server: FileServer, tmp_path: Path) -> None:
    server.habits.ranges = False
    ground = Ground(tmp_path, spool_limit=1_000_000)
    error = failure(open_object(archive(server.url("/m/digits.mar")), ground.access, AT).open)
    assert error.field == "spec.build.spoolLimit"
    assert "1,000,000 bytes" in error.message


def test_a_full_disk_is_told_as_one(server: FileServer, tmp_path: Path) -> None:
    server.habits.ranges = False
    ground = Ground(tmp_path)
    with ground.small_disk(2_000_000):
        error = failure(open_object(archive(server.url("/m/digits.mar")), ground.access, AT).open)
    assert error.field == "spec.build.spoolLimit"
    assert "full" in error.message


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("length", [True, False])
def test_more_than_max_size_is_refused(server: FileServer, ground: Ground, ranges: bool, length: bool) -> None:
    server.habits.ranges, server.habits.length = ranges, length
    source = archive(server.url("/m/digits.mar"), maxSize="1Mi")
    error = failure(lambda: open_object(source, ground.access, AT).open())
    assert error.field == f"{AT}.maxSize"
    assert "1,048,576" in error.message
    assert ground.access.spool.peak <= 1 << 20


def test_a_cut_connection_is_taken_up_where_it_broke(server: FileServer, ground: Ground) -> None:
    with open_object(archive(server.url("/m/digits.mar")), ground.access, AT).open() as file:
        server.habits.cuts = [300_000, 3_000_000, 2_000_000]
        assert file.read() == CONTENT
    assert server.sent < len(CONTENT) + (2 << 20)
    assert len(server.requests) == 5


def test_a_server_that_cuts_every_connection_after_a_while_is_read_to_the_end(
    server: FileServer, ground: Ground
) -> None:
    with open_object(archive(server.url("/m/digits.mar")), ground.access, AT).open() as file:
        server.habits.cuts = [1_100_000] * 20
        assert file.read() == CONTENT
    assert len(server.requests) > 2 + ground.access.patience.tries


def test_without_ranges_a_cut_connection_begins_anew(server: FileServer, ground: Ground) -> None:
    server.habits.ranges = False
    opened = open_object(archive(server.url("/m/digits.mar")), ground.access, AT)
    server.habits.cuts = [3_000_000]
    with opened.open() as file:
        assert file.read() == CONTENT
    assert ground.access.spool.used == len(CONTENT)


def test_a_connection_that_is_always_cut_ends_as_an_error(server: FileServer, ground: Ground) -> None:
    with open_object(archive(server.url("/m/digits.mar")), ground.access, AT).open() as file:
        server.habits.cuts = [100] * 50
        assert "dropped the connection" in failure(file.read).message


def test_an_answer_without_a_length_that_ends_early_is_named(server: FileServer, ground: Ground) -> None:
    opened = open_object(archive(server.url("/m/digits.mar"), sha256=SHA), ground.access, AT)
    server.habits.length = False
    server.habits.cuts = [100] * 9
    error = failure(opened.open)
    assert (error.field, error.message) == (f"{AT}.url", f"{server.url('/m/digits.mar')} ended early")


def test_a_server_that_stops_in_the_middle_is_waited_for_no_longer_than_the_timeout(
    server: FileServer, tmp_path: Path
) -> None:
    ground = Ground(tmp_path, read_timeout=0.2)
    gate = threading.Event()
    with open_object(archive(server.url("/m/digits.mar")), ground.access, AT).open() as file:
        server.habits.pause = lambda: gate.wait(10) and None
        try:
            assert "stopped answering" in failure(file.read).message
        finally:
            gate.set()


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_when_it_says(server: FileServer, ground: Ground, status: int) -> None:
    server.habits.refusals = [(status, {"Retry-After": "0"}), (status, {})]
    with open_object(archive(server.url("/small.mar")), ground.access, AT).open() as file:
        assert file.read() == b"small"
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "wants credentials"), (403, "is forbidden"), (404, "does not exist"), (503, "keeps answering 503")],
)
def test_a_refusal_is_one_line_with_the_field(server: FileServer, ground: Ground, status: int, words: str) -> None:
    server.habits.refusals = [(status, {})] * 9
    error = failure(lambda: open_object(archive(server.url("/small.mar?sig=5ec1e7")), ground.access, AT))
    assert error.field == f"{AT}.url"
    assert words in error.message
    assert "secret of the server" not in str(error)
    assert "5ec1e7" not in str(error)


def test_a_host_that_is_not_there_is_named(ground: Ground) -> None:
    error = failure(lambda: open_object(archive("https://models.invalid/a.mar"), ground.access, AT))
    assert "models.invalid is a name that cannot be resolved" in error.message
    assert error.hint == "check the host's name"


def test_a_closed_port_is_named(ground: Ground) -> None:
    with socket.socket() as held:  # bound, so that nobody else gets it, and not listening
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/small.mar"
        assert "refuses the connection" in failure(lambda: open_object(archive(url), ground.access, AT)).message


def test_credentials_of_the_secret_are_sent(server: FileServer, ground: Ground) -> None:
    server.habits.auth = "basic"
    ground.secret("web", username=USER, password=f"{PASSWORD}\n")
    source = archive(server.url("/small.mar"), credentialsSecretName="web")
    with open_object(source, ground.access, AT).open() as file:
        assert file.read() == b"small"


def test_a_token_is_sent_as_bearer(server: FileServer, ground: Ground) -> None:
    server.habits.auth = "bearer"
    ground.secret("web", token=TOKEN)
    source = archive(server.url("/small.mar"), credentialsSecretName="web")
    with open_object(source, ground.access, AT).open() as file:
        assert file.read() == b"small"


def test_wrong_credentials_are_told_from_none(server: FileServer, ground: Ground) -> None:
    server.habits.auth = "bearer"
    ground.secret("web", token="tok-wrong")
    source = archive(server.url("/small.mar"), credentialsSecretName="web")
    assert "does not accept the credentials" in failure(lambda: open_object(source, ground.access, AT)).message
    error = failure(lambda: open_object(archive(server.url("/small.mar")), ground.access, AT))
    assert "credentialsSecretName" in error.hint


def test_a_missing_secret_is_named_with_its_field(server: FileServer, ground: Ground) -> None:
    source = archive(server.url("/small.mar"), credentialsSecretName="web")
    error = failure(lambda: open_object(source, ground.access, AT))
    assert error.field == f"{AT}.credentialsSecretName"
    assert "no Secret web" in error.message
    assert server.requests == []


def test_a_secret_without_the_right_keys_is_named_with_those_it_has(server: FileServer, ground: Ground) -> None:
    ground.secret("web", user="robot")
    source = archive(server.url("/small.mar"), credentialsSecretName="web")
    error = failure(lambda: open_object(source, ground.access, AT))
    assert error.message == "Secret web has no credentials for https (its keys: user)"
    assert "username and password, or token" in error.hint


def test_a_redirect_is_followed_and_another_host_gets_no_credentials(server: FileServer, ground: Ground) -> None:
    ground.secret("web", token=TOKEN)
    with FileServer({"/blob": CONTENT}) as other:
        server.habits.redirects = {"/latest.mar": "/hop", "/hop": f"{other.url('/blob')}?sig=5ec1e7"}
        source = archive(server.url("/latest.mar"), credentialsSecretName="web")
        with open_object(source, ground.access, AT).open() as file:
            assert file.read(5) == CONTENT[:5]
        assert all(request.headers["authorization"] == f"Bearer {TOKEN}" for request in server.requests)
        assert len(other.requests) == 2
        assert not any("authorization" in request.headers for request in other.requests)


def test_a_redirect_that_ends_nowhere_tells_both_places(server: FileServer, ground: Ground) -> None:
    server.habits.redirects = {"/latest.mar": "/gone.mar?sig=5ec1e7", "/round": "/round"}
    error = failure(lambda: open_object(archive(server.url("/latest.mar")), ground.access, AT))
    assert f"(redirected to {server.url('/gone.mar')}) does not exist" in error.message
    assert "5ec1e7" not in str(error)
    error = failure(lambda: open_object(archive(server.url("/round")), ground.access, AT))
    assert "redirects without end" in error.message


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://h/x", ""])
def test_a_redirect_to_no_web_server_is_refused(server: FileServer, ground: Ground, target: str) -> None:
    server.habits.redirects = {"/latest.mar": target}
    error = failure(lambda: open_object(archive(server.url("/latest.mar")), ground.access, AT))
    assert "redirects to nowhere" in error.message


def test_plain_http_needs_to_be_allowed(server: FileServer, tmp_path: Path) -> None:
    ground = Ground(tmp_path, allow_http=False)
    error = failure(lambda: open_object(archive(server.url("/small.mar")), ground.access, AT))
    assert "plain HTTP, which is not allowed here" in error.message
    assert server.requests == []


def test_a_private_ca_of_the_secret_or_of_the_build_is_trusted(
    certificate: tuple[Path, Path], authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "ca.crt").write_text(authority.certificate)
    by_build = Ground(tmp_path / "a", ca_file=tmp_path / "ca.crt", allow_http=False)
    by_secret = Ground(tmp_path / "b", allow_http=False)
    by_secret.secret("web", **{"ca.crt": authority.certificate})
    both = Ground(tmp_path / "c", ca_file=tmp_path / "ca.crt")
    both.secret("web", **{"ca.crt": Authority().certificate})
    with FileServer({"/small.mar": b"small"}, certificate=certificate) as server:
        named = archive(server.url("/small.mar"), credentialsSecretName="web")
        for ground, source in ((by_build, archive(server.url("/small.mar"))), (by_secret, named), (both, named)):
            with open_object(source, ground.access, AT).open() as file:
                assert file.read() == b"small"


def test_an_unknown_ca_is_told_with_what_to_do(certificate: tuple[Path, Path], ground: Ground) -> None:
    with FileServer({"/small.mar": b"small"}, certificate=certificate) as server:
        error = failure(lambda: open_object(archive(server.url("/small.mar")), ground.access, AT))
    assert "an authority that is not trusted here" in error.message
    assert "ca.crt" in error.hint


def test_tls_is_not_left_by_a_redirect(
    server: FileServer, certificate: tuple[Path, Path], authority: Authority, ground: Ground
) -> None:
    ground.secret("web", **{"ca.crt": authority.certificate, "token": TOKEN})
    with FileServer({}, certificate=certificate) as secure:
        secure.habits.redirects = {"/a.mar": server.url("/small.mar")}
        source = archive(secure.url("/a.mar"), credentialsSecretName="web")
        error = failure(lambda: open_object(source, ground.access, AT))
    assert "which is plain HTTP" in error.message
    assert server.requests == []


def test_tls_spoken_to_a_plain_server_is_told(server: FileServer, ground: Ground) -> None:
    url = server.url("/small.mar").replace("http://", "https://")
    assert "plain HTTP where TLS is expected" in failure(lambda: open_object(archive(url), ground.access, AT)).message


def test_a_proxy_of_the_surroundings_is_used(
    server: FileServer, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A proxy is asked with the whole URL; this server reads the path of it.
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", server.url(""))
    with open_object(archive("http://models.invalid/small.mar"), ground.access, AT).open() as file:
        assert file.read() == b"small"
    assert server.requests[0].path == "http://models.invalid/small.mar"


def test_a_folder_on_a_web_server_is_refused_with_what_to_do(server: FileServer, ground: Ground) -> None:
    source = FolderSource.model_validate({"url": server.url("/m/")})
    error = failure(lambda: open_folder(source, ground.access, "spec.models[0].package.source"))
    assert error.field == "spec.models[0].package.source.url"
    assert "archive" in error.hint


def test_nothing_secret_is_logged_or_shown(
    server: FileServer, ground: Ground, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    ground.secret("web", username=USER, password=PASSWORD)
    server.habits.auth = "basic"
    source = archive(server.url("/m/digits.mar?X-Amz-Signature=5ec1e7"), credentialsSecretName="web")
    opened = open_object(source, ground.access, AT)
    with opened.open() as file:
        server.habits.cuts = [100]
        file.read()
    server.habits.refusals = [(403, {}), (500, {})] * 9
    errors = [failure(lambda: open_object(source, ground.access, AT)) for _ in range(2)]
    output = capfd.readouterr()
    said = [caplog.text, output.out, output.err, repr(ground.access), repr(ground.access.secret("web", AT))]
    said += [repr(opened), repr(opened.__dict__), opened.identity, *(f"{error!r} {error.hint}" for error in errors)]
    for secret in ("5ec1e7", PASSWORD, "cm9ib3Q6"):
        assert not any(secret in text for text in said)
