"""Connections as odd clients use them, and counters that are exact all the same."""

from __future__ import annotations

import json
import re
import socket

import pytest
from serving import Served, Setup, Start, model


def request(body: bytes, *headers: str, path: str = "/predictions/net") -> bytes:
    """One raw request."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: x",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def read_answer(connection: socket.socket, data: bytes = b"") -> tuple[int, bytes, bytes, bytes]:
    """Status, head and body of one answer, and what was read beyond it."""
    while b"\r\n\r\n" not in data:
        block = connection.recv(65536)
        assert block, f"closed after {data!r}"
        data += block
    head, _, rest = data.partition(b"\r\n\r\n")
    found = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    length = int(found[1]) if found else 0
    while len(rest) < length:
        block = connection.recv(65536)
        assert block, f"closed after {len(rest)} of {length} bytes"
        rest += block
    return int(head.split()[1]), head, rest[:length], rest[length:]


def counters(server: Served) -> dict[str, float]:
    """The samples of the agent's /metrics."""
    lines = server.agent("/metrics").body.decode().splitlines()
    return {key: float(value) for key, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))}


def test_counters_equal_what_the_clients_sent(image: str, start: Start) -> None:
    server = start(
        Setup(image, properties={"max_request_size": "10000"}, models=[model("net"), model("other", path="net")])
    )
    server.wait_ready()

    for number in range(20):
        assert server.predict({"seconds": 0.02 if number % 2 else 0.12}).status == 200
    for _ in range(3):
        assert server.predict({"status": 418}).status == 418
    assert server.predict(name="no-such-model").status == 404
    assert server.predict({"echo": 1}, name="other").status == 200

    with socket.create_connection((server.address, 8080), timeout=30) as connection:
        # Two requests before the first answer, as HTTP/1.1 allows.
        connection.sendall(request(b'{"echo": 1}') + request(b'{"echo": 2}'))
        status, _, _, rest = read_answer(connection)
        assert status == 200
        assert read_answer(connection, rest)[0] == 200

    with socket.create_connection((server.address, 8080), timeout=30) as connection:
        # curl sends this with every body above 1 MiB: the interim answer is not the answer.
        head, _, body = request(b'{"echo": 3}', "Expect: 100-continue").partition(b"\r\n\r\n")
        connection.sendall(head + b"\r\n\r\n")
        assert read_answer(connection)[0] == 100
        connection.sendall(body)
        status, _, answer, _ = read_answer(connection)
        assert (status, json.loads(answer)["echo"]) == (200, 3)

    with socket.create_connection((server.address, 8080), timeout=30) as connection:
        connection.sendall(request(b"x" * 20_000))
        assert read_answer(connection)[0] == 413  # answered before TorchServe's handlers see it

    with socket.create_connection((server.address, 8080), timeout=30) as connection:
        connection.sendall(request(b'{"seconds": 1.5}'))
        server.wait(lambda status: status["models"][0]["inFlight"] == 1)
    # The client is gone before its answer.

    requests = 'torchserve_operator_model_requests_total{model="net",code="%d"}'
    server.wait(lambda _: counters(server).get(requests % 499) == 1)
    found = counters(server)
    assert {code: found.get(requests % code) for code in (200, 404, 413, 418, 499, 500, 503)} == {
        200: 23, 404: None, 413: 1, 418: 3, 499: 1, 500: None, 503: None,
    }  # fmt: skip
    duration = "torchserve_operator_model_request_duration_seconds"
    assert found[f'{duration}_count{{model="net"}}'] == 27
    slow = found[f'{duration}_bucket{{model="net",le="+Inf"}}'] - found[f'{duration}_bucket{{model="net",le="0.1"}}']
    assert slow >= 10
    assert found[f'{duration}_sum{{model="net"}}'] >= 10 * 0.12 + 10 * 0.02
    assert found['torchserve_operator_model_in_flight_requests{model="net"}'] == 0
    assert found["torchserve_operator_in_flight_requests"] == 0
    assert found['torchserve_operator_model_requests_total{model="other",code="200"}'] == 1
    assert not [sample for sample in found if "no-such-model" in sample], "names come from clients"


@pytest.mark.parametrize("continued", [False, True], ids=["pipelined", "expect-continue"])
def test_a_request_that_was_begun_before_the_stop_is_answered(runtime: str, start: Start, continued: bool) -> None:
    server = start(Setup(runtime, drain=(1, 20)))
    server.wait_ready()
    with socket.create_connection((server.address, 8080), timeout=30) as connection:
        if continued:
            head, _, body = request(b'{"echo": 2}', "Expect: 100-continue").partition(b"\r\n\r\n")
            server.signal()
            server.wait(lambda status: status["state"] == "Draining")
            connection.sendall(head + b"\r\n\r\n")
            assert read_answer(connection)[0] == 100
            connection.sendall(body)
            rest = b""
        else:
            connection.sendall(request(b'{"seconds": 3}') + request(b'{"echo": 2}'))
            server.wait(lambda status: status["models"][0]["inFlight"] == 2)
            server.signal()
            status, _, _, rest = read_answer(connection)
            assert status == 200
        status, head, answer, rest = read_answer(connection, rest)
        assert (status, json.loads(answer)["echo"]) == (200, 2)
        assert b"connection: close" in head.lower()
        assert rest == b""
        assert connection.recv(1000) == b"", "closed without a reset"
    assert server.wait_exit() == 0


def test_the_agent_answers_get_alone_and_survives_nonsense(runtime: str, start: Start) -> None:
    server = start(Setup(runtime))
    server.wait_ready()
    for sent, expected in (
        (b"PUT /status HTTP/1.1\r\n\r\n", b"405"),
        (b"DELETE /models/net HTTP/1.1\r\n\r\n", b"405"),
        (b"GET /nowhere HTTP/1.1\r\n\r\n", b"404"),
        (b"\x16\x03\x01\r\n\r\n", b"400"),
        (b"GET /" + b"x" * 20_000, b"400"),
        (b"HEAD /livez HTTP/1.1\r\n\r\n", b"200"),
    ):
        with socket.create_connection((server.address, 8090), timeout=5) as connection:
            connection.sendall(sent)
            assert connection.recv(1000).split()[1] == expected, sent[:30]
    idle = [socket.create_connection((server.address, 8090), timeout=5) for _ in range(100)]
    assert server.agent("/livez").status == 200
    for connection in idle:
        connection.close()
    # Nobody on the network reaches what can change something.
    for port in (8081, 8082):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((server.address, port), timeout=5)
