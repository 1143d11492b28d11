"""The client of the management API, against a server on loopback that answers as told."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from torchserve_operator.agent.runtime.management import Client, ManagementError, ModelView, Worker

Tell = Callable[[dict[str, bytes]], tuple[Client, list[str]]]

DESCRIBED = [
    {
        "modelName": "net",
        "minWorkers": 1,
        "maxWorkers": 4,
        "workers": [{"id": "9000", "status": "READY", "pid": 44, "gpu": False}],
        "jobQueueStatus": {"remainingCapacity": 97, "pendingRequests": 3},
    }
]
STATS = {
    "inFlight": 2,
    "models": {
        "net": {
            "inFlight": 2,
            "registered": True,
            "minWorkers": 1,
            "maxWorkers": 4,
            "queued": 3,
            "workers": [{"id": "9000", "status": "LOADING", "pid": -1}],
        },
        "gone": {"inFlight": 0, "registered": False},
    },
}


def http(status: int, document: object) -> bytes:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n" % (status, len(body)) + body


@pytest.fixture
def tell() -> Iterator[Tell]:
    """Starts a server that gives these bytes for these request lines' targets, and keeps the connection open."""
    listeners: list[socket.socket] = []

    def start(answers: dict[str, bytes]) -> tuple[Client, list[str]]:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        asked: list[str] = []
        kept: list[socket.socket] = []

        def run() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                words = connection.recv(65536).split()
                asked.append(b" ".join(words[:2]).decode())
                answer = answers.get(words[1].decode(), http(404, {}))
                connection.sendall(answer)
                if answer.startswith(b"HTTP"):
                    kept.append(connection)  # TorchServe never closes either
                else:
                    connection.close()

        threading.Thread(target=run, daemon=True).start()
        return Client(listener.getsockname()[1], timeout=0.5), asked

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def test_one_request_tells_all_where_our_classes_are(tell: Tell) -> None:
    client, asked = tell({"/torchserve-operator/stats": http(200, STATS)})
    seen = client.observe(["net", "gone", "unknown"], graceful=True)
    assert seen.models == {
        "net": ModelView(1, 4, (Worker("9000", "LOADING", -1),), queued=3, in_flight=2),
        "gone": None,
        "unknown": None,
    }
    assert seen.stats == STATS
    assert asked == ["GET /torchserve-operator/stats"]


@pytest.mark.parametrize(
    "stats",
    [http(500, {}), http(200, b"no json"), http(200, {"models": {"net": {"registered": True}}}), b"", http(200, [])],
)
def test_where_they_do_not_answer_torchserve_is_asked(tell: Tell, stats: bytes) -> None:
    client, _ = tell({"/torchserve-operator/stats": stats, "/models/net": http(200, DESCRIBED)})
    seen = client.observe(["net", "gone"], graceful=True)
    assert seen.models == {"net": ModelView(1, 4, (Worker("9000", "READY", 44),), queued=3), "gone": None}
    assert seen.stats is None


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        http(200, {}),
        http(200, b"["),
        http(503, {"code": 503}),
    ],
)
def test_whatever_else_comes_is_one_kind_of_error(tell: Tell, answer: bytes) -> None:
    client, _ = tell({"/models/net": answer})
    with pytest.raises(ManagementError):
        client.observe(["net"], graceful=False)


def test_a_server_that_is_not_up_is_the_same_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ManagementError, match="refused"):
        Client(port).observe(["net"], graceful=True)


def test_scaling_sets_both_bounds_and_names_are_quoted(tell: Tell) -> None:
    client, asked = tell({"/models/a%2Fb?min_worker=3&max_worker=3": http(202, {"status": "Processing"})})
    client.scale("a/b", 3)
    assert asked == ["PUT /models/a%2Fb?min_worker=3&max_worker=3"]
    with pytest.raises(ManagementError, match="answered 404"):
        client.scale("net", 3)
