"""The agent's HTTP server, spoken to over real sockets on loopback."""

import http.client
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from torchserve_operator.agent.runtime import web
from torchserve_operator.agent.runtime.web import Answer, WebServer


def answer(path: str) -> Answer | None:
    if path == "/fault":
        raise KeyError(path)
    return {"/livez": Answer(200, b"ok\n"), "/big": Answer(200, b"x" * 3_000_000)}.get(path)


@pytest.fixture(params=["127.0.0.1", "::1"])
def address(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    server = WebServer(0, answer, hosts=(request.param,))
    server.start()
    yield request.param, server.port
    server.stop()


def talk(address: tuple[str, int], sent: bytes) -> bytes:
    """Everything the server says until it closes or waits."""
    with socket.create_connection(address, timeout=5) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_paths_are_answered_on_one_connection_after_another(address: tuple[str, int]) -> None:
    connection = http.client.HTTPConnection(*address, timeout=5)
    for path, status in (
        ("/livez", 200),
        ("/livez?x=1", 200),
        ("/nowhere", 404),
        ("/big", 200),
        ("/fault", 500),
        ("/livez", 200),
    ):
        connection.request("GET", path)
        response = connection.getresponse()
        assert response.status == status
        response.read()
    connection.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST /livez HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", b"405"),
        (b"GET /livez HTTP/2\r\n\r\n", b"400"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /" + b"x" * web.MAX_REQUEST, b"400"),
        (b"GET /livez HTTP/1.0\r\n\r\n", b"200"),
        (b"GET /livez HTTP/1.1\r\nconnection: Close\r\n\r\n", b"200"),
    ],
)
def test_what_is_no_get_is_refused_and_the_connection_ends(
    address: tuple[str, int], sent: bytes, status: bytes
) -> None:
    with socket.create_connection(address, timeout=5) as connection:
        connection.sendall(sent)
        said = b"".join(iter(lambda: connection.recv(65536), b""))
    assert said.split()[1] == status
    assert b"Connection: close" in said


def test_a_head_has_the_length_and_no_body(address: tuple[str, int]) -> None:
    assert talk(address, b"HEAD /livez HTTP/1.1\r\n\r\n").endswith(b"Content-Length: 3\r\n\r\n")


def test_connections_that_say_nothing_do_not_keep_others_out(address: tuple[str, int]) -> None:
    silent = [socket.create_connection(address, timeout=5) for _ in range(2 * web.MAX_CONNECTIONS)]
    results: list[int] = []

    def ask() -> None:
        connection = http.client.HTTPConnection(*address, timeout=5)
        connection.request("GET", "/livez")
        results.append(connection.getresponse().status)
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for connection in silent:
        connection.close()
    assert results == [200] * 10


class Loading:
    """A server whose one path is bad until the models are loaded."""

    def __init__(self) -> None:
        self.loaded = False
        self.asked = threading.Event()
        self.server = WebServer(0, self.answer, hosts=("127.0.0.1",), holding=["/startupz"])

    def answer(self, path: str) -> Answer:
        self.asked.set()
        return Answer(200, b"ok\n") if self.loaded else Answer(503, f"{path}: loading\n".encode())

    def get(self, path: str) -> tuple[int, float]:
        """The answer's status, and how long it took."""
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=5)
        connection.request("GET", path)
        status = connection.getresponse().status
        connection.close()
        return status, time.monotonic() - began


@pytest.fixture
def loading() -> Iterator[Loading]:
    made = Loading()
    made.server.start()
    yield made
    made.server.stop()


def test_a_probe_that_is_under_way_is_answered_in_the_moment_that_the_models_are_loaded(loading: Loading) -> None:
    def load() -> None:
        loading.asked.wait(5)
        loading.loaded = True
        loading.server.changed()

    loader = threading.Thread(target=load)
    loader.start()
    status, seconds = loading.get("/startupz")
    loader.join()
    assert status == 200
    assert seconds < web.HOLD


def test_a_probe_is_told_that_the_models_still_load_before_the_next_one_comes(loading: Loading) -> None:
    loading.server.changed()  # news that make nothing better
    status, seconds = loading.get("/startupz")
    assert status == 503
    assert web.HOLD <= seconds < 5


def test_other_paths_are_told_at_once(loading: Loading) -> None:
    status, seconds = loading.get("/readyz")
    assert status == 503
    assert seconds < web.HOLD
