"""A registry that refuses, breaks off, has no space: overcome where that is possible, else one clear line, no tag."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from testbed.builds import Builder, model
from testbed.image_reader import ImageReader
from testbed.oci_registry import OciRegistry
from testbed.registryproxy import Action, Drop, DropAnswer, Hang, Refuse, RegistryProxy
from torchserve_operator.builder import files
from torchserve_operator.builder.auth import Credentials, Keychain
from torchserve_operator.builder.cancel import BuildCancelledError
from torchserve_operator.builder.errors import BuildError, PassingError

LARGE = b"weights " * (1 << 20)
UPLOAD = "/image/blobs/uploads/"


@pytest.fixture(autouse=True)
def _no_half_uploads(registry: OciRegistry, space: str) -> Iterator[None]:
    yield
    assert registry.uploads(space) == []


def _denied(code: str, message: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message}]}).encode()


@pytest.mark.parametrize(
    ("action", "method", "path"),
    [
        (Drop(after=3_000_000), "PATCH", UPLOAD),
        (Drop(), "POST", UPLOAD),
        (Drop(), "PUT", UPLOAD),
        (DropAnswer(after=10), "PATCH", UPLOAD),
        (DropAnswer(), "PUT", "/manifests/"),
        (DropAnswer(), "GET", "/base/manifests/"),
        (Refuse(503), "PATCH", UPLOAD),
        (Refuse(503, headers=(("Retry-After", "0"),)), "PUT", UPLOAD),
        (Refuse(429, headers=(("Retry-After", "0"),)), "POST", UPLOAD),
        (Refuse(502), "HEAD", "/blobs/"),
        (Refuse(404, _denied("BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")), "PATCH", UPLOAD),
    ],
)
def test_what_passes_is_overcome(
    through_proxy: Builder, proxy: RegistryProxy, image: ImageReader, action: Action, method: str, path: str
) -> None:
    with proxy.fault(action, method=method, path=path, times=2) as fault:
        result = through_proxy.build(model("cats", LARGE))
    assert fault.hits == 2
    assert image.digest("latest") == result.digest
    layer = image.layer(result.layers[0].digest)
    assert layer["home/model-server/model-store/cats/model.pt"][1] == LARGE
    assert through_proxy.progress.snapshot()["bytesDone"] == through_proxy.progress.snapshot()["bytesTotal"]


@pytest.mark.parametrize(
    ("action", "method", "path", "says", "passes"),
    [
        (Drop(after=3_000_000), "PATCH", UPLOAD, "dropped the connection", True),
        (Refuse(503), "PATCH", UPLOAD, "keeps answering 503", True),
        (Refuse(429), "POST", UPLOAD, "too many requests", True),
        (Refuse(507), "PATCH", UPLOAD, "it has no space left", False),
        (
            Refuse(500, _denied("UNKNOWN", "write: no space left on device")),
            "PUT",
            UPLOAD,
            "no space left",
            False,
        ),
        (Refuse(413), "PATCH", UPLOAD, "larger than it accepts", False),
        (Refuse(413, read_first=False), "PATCH", UPLOAD, "larger than it accepts", False),
        (Refuse(403, _denied("DENIED", "read only")), "POST", UPLOAD, r"forbids .*\(DENIED read only\)", False),
        (
            Refuse(404, _denied("NAME_UNKNOWN", "no such project")),
            "POST",
            UPLOAD,
            "NAME_UNKNOWN no such project",
            False,
        ),
        (
            Refuse(400, _denied("MANIFEST_INVALID", "what?")),
            "PUT",
            "/image/manifests/sha256",
            "MANIFEST_INVALID",
            False,
        ),
        (Refuse(503), "PUT", "/image/manifests/latest", "keeps answering 503", True),
    ],
)
def test_what_stays_is_one_clear_line_and_no_tag(
    through_proxy: Builder,
    proxy: RegistryProxy,
    image: ImageReader,
    action: Action,
    method: str,
    path: str,
    says: str,
    passes: bool,
) -> None:
    with proxy.fault(action, method=method, path=path), pytest.raises(BuildError, match=says) as caught:
        through_proxy.build(model("cats", LARGE))
    assert caught.value.field == "spec.build.repository"
    assert "\n" not in str(caught.value)
    assert image.host in str(caught.value)
    assert isinstance(caught.value, PassingError) == passes
    assert "latest" not in image.tags()


def test_a_tag_stays_where_it_was_when_a_build_fails(
    through_proxy: Builder, proxy: RegistryProxy, image: ImageReader
) -> None:
    first = through_proxy.build(model("cats", b"meow"))
    with proxy.fault(Refuse(507), method="PATCH"), pytest.raises(BuildError):
        through_proxy.build(model("cats", LARGE, identity="etag:2"))
    assert image.digest("latest") == first.digest


def test_a_broken_read_of_the_base_goes_on_where_it_broke(
    proxy: RegistryProxy, through_proxy: Builder, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with OciRegistry(tmp_path_factory.mktemp("other")) as other:
        through_proxy.plan["registryMirrors"][other.host] = other.url
        with proxy.fault(DropAnswer(after=40_000), method="GET", path="/base/blobs/", times=3) as fault:
            result = through_proxy.build(model("cats", b"meow"), repository=f"{other.host}/copy/image")
        assert fault.hits == 3
        assert ImageReader(other.host, "copy/image").digest("latest") == result.digest
    assert [r.headers["range"] for r in proxy.requests if "range" in r.headers]


def test_a_source_that_fails_is_not_the_registrys_fault(through_proxy: Builder, proxy: RegistryProxy) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"x" * (1 << 20)
        raise OSError("the volume is gone")

    with pytest.raises(OSError, match="the volume is gone"):
        through_proxy.build(model("cats", [files.File("w.bin", 2 << 20, chunks)]))
    assert len([path for path in proxy.asked("POST") if "mount=" not in path]) == 1


def test_a_file_that_changes_while_it_is_read_is_an_error(through_proxy: Builder, image: ImageReader) -> None:
    shrunk = files.File("w.bin", 3 << 20, lambda: iter([b"x" * (1 << 20)]))
    with pytest.raises(BuildError, match=r"w\.bin has fewer bytes than the 3,145,728"):
        through_proxy.build(model("cats", [shrunk]))
    assert image.tags() == set()


def test_a_cancelled_build_deletes_its_upload_and_tags_nothing(
    through_proxy: Builder, proxy: RegistryProxy, image: ImageReader
) -> None:
    reading = threading.Event()

    def endless() -> Iterator[bytes]:
        while True:
            reading.set()
            yield b"x" * (1 << 20)

    thread, outcome = through_proxy.in_thread(model("cats", [files.File("w.bin", 1 << 50, endless)]))
    assert reading.wait(20)
    through_proxy.cancellation.cancel()
    thread.join(10)
    assert isinstance(outcome[0], BuildCancelledError)
    assert proxy.asked("DELETE")
    assert image.tags() == set()


def test_a_wait_for_the_registry_ends_with_the_build(through_proxy: Builder, proxy: RegistryProxy) -> None:
    asks = Refuse(503, headers=(("Retry-After", "60"),))
    with proxy.fault(asks, method="POST", path=UPLOAD) as fault:
        thread, outcome = through_proxy.in_thread(model("cats", b"meow"))
        fault.wait()
        through_proxy.cancellation.cancel()
        thread.join(10)
    assert isinstance(outcome[0], BuildCancelledError)


def test_a_registry_that_is_not_there_is_named(builder: Builder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    builder.plan["base"] = f"127.0.0.1:{port}/team/base:1"
    with pytest.raises(BuildError, match=rf"127\.0\.0\.1:{port} refuses the connection") as caught:
        builder.build(model("cats", b"meow"))
    assert caught.value.field == "spec.build.baseImage"


def test_a_name_that_does_not_resolve_is_named(builder: Builder) -> None:
    builder.plan["base"] = "registry.invalid/team/base:1"
    with pytest.raises(BuildError, match=r"registry\.invalid is a name that cannot be resolved"):
        builder.build(model("cats", b"meow"))


def test_an_answer_that_does_not_come_is_given_up(through_proxy: Builder, proxy: RegistryProxy) -> None:
    through_proxy.read_timeout = 0.2
    with (
        proxy.fault(Hang(), method="GET", path="/base/manifests/"),
        pytest.raises(BuildError, match="stopped answering"),
    ):
        through_proxy.build(model("cats", b"meow"))


class _Elsewhere(BaseHTTPRequestHandler):
    seen: list[str | None]
    target: str

    def do_GET(self) -> None:
        self.seen.append(self.headers.get("Authorization"))
        self.send_response(307)
        self.send_header("Location", self.target + self.path)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  the base's name
        """Say nothing."""


@pytest.fixture
def elsewhere(registry: OciRegistry) -> Iterator[tuple[str, list[str | None]]]:
    """A place that blobs are sent on to, and what Authorization it sees."""
    seen: list[str | None] = []
    handler = type("Handler", (_Elsewhere,), {"seen": seen, "target": registry.url})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
        server.shutdown()
        thread.join()


def test_no_authorization_goes_along_when_a_blob_lies_elsewhere(
    through_proxy: Builder,
    proxy: RegistryProxy,
    registry: OciRegistry,
    elsewhere: tuple[str, list[str | None]],
) -> None:
    url, seen = elsewhere
    through_proxy.keychain = Keychain({registry.host: Credentials(registry_token="sesame")})
    config = r"/base/blobs/sha256:"

    def redirect(path: str) -> Refuse:
        return Refuse(307, headers=(("Location", f"{url}{path}"),))

    wanted = through_proxy.build(model("cats", b"meow"))
    paths = [path.partition(" ")[2] for path in proxy.asked("GET") if "/base/blobs/" in path]
    with proxy.fault(redirect(paths[0]), method="GET", path=config):
        assert through_proxy.build(model("cats", b"meow")).digest == wanted.digest
    assert seen == [None]
    sent = {r.headers.get("authorization") for r in proxy.requests if "/base/blobs/" in r.path}
    assert sent == {"Bearer sesame"}
