"""A stop under load loses nothing, beside the control that does: java itself as the container's first process."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.client
import json
import random
import socket
import threading
import time
from pathlib import Path
from typing import Self

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from serving import AGENT, STORE, Served, Setup, Start

ENDPOINT_LAG = 1.0
"""Seconds after the signal in which new connections still come: endpoints take that long to go away everywhere."""

CONTROL = f"""
ts=$(python -c 'import importlib.util as u; print(u.find_spec("ts").submodule_search_locations[0])')
exec java -Djava.io.tmpdir=/tmp -Xmx192m -Dmodel_server_home=$(dirname $ts) \\
  -Dlog4j.configurationFile=file://{AGENT}/server/log4j2.xml -cp $ts/frontend/'*' org.pytorch.serve.ModelServer \\
  --python $(which python) -f {AGENT}/server/config.properties -s {STORE} -ncs
"""
"""What TorchServe's own launcher starts, as the container's first process."""


class Load:
    """Clients in loops: half open a connection per request, half keep theirs for as long as they may."""

    def __init__(self, server: Served, clients: int = 8) -> None:
        self.answered = 0
        self.lost: list[str] = []
        self.dismissed = 0
        """Kept connections that the server ended by saying so."""
        self._server = server
        self._lock = threading.Lock()
        self._gone = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number % 2 == 0,)) for number in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.endpoint_gone()
        for thread in self._threads:
            thread.join()

    def endpoint_gone(self) -> None:
        """From now on nobody opens a connection; who has one goes on."""
        self._gone.set()

    def _run(self, keep: bool) -> None:
        while not self._gone.is_set():
            connection = self._server.connection()
            try:
                self._use(connection, keep)
            except (OSError, http.client.HTTPException) as error:
                with self._lock:
                    self.lost.append(f"{'kept' if keep else 'new'}: {error!r}")
                time.sleep(0.1)
            finally:
                connection.close()

    def _use(self, connection: http.client.HTTPConnection, keep: bool) -> None:
        while True:
            body = json.dumps({"seconds": random.uniform(0.05, 0.3), "size": 1000})  # noqa: S311 - spread, not secrecy
            connection.request("POST", "/predictions/net", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            content = response.read()
            last = response.headers.get("Connection") == "close"
            with self._lock:
                if response.status == 200 and len(json.loads(content)["filler"]) == 1000:
                    self.answered += 1
                else:
                    self.lost.append(f"{response.status}: {content[:200]!r}")
                self.dismissed += keep and last
            if last or not keep:
                return


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = rsa.generate_private_key(65537, 2048)  # TorchServe refuses others: "Invalid RSA private key"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "net")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now.replace(year=now.year + 1)
    )
    pem = serialization.Encoding.PEM
    (folder / "tls.crt").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(pem))
    (folder / "tls.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "tls.crt", folder / "tls.key"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_stop_under_load_loses_nothing_and_sends_kept_connections_away(
    runtime: str, start: Start, certificate: tuple[Path, Path], scheme: str
) -> None:
    tls = certificate if scheme == "https" else None
    server = start(Setup(runtime, bounds={"net": (2, 2)}, drain=(2, 20), tls=tls))
    server.wait_ready()
    with Load(server) as load:
        time.sleep(2)
        server.signal()
        signalled = time.monotonic()
        time.sleep(0.2)
        assert server.agent("/readyz").status == 503
        server.signal()  # a second signal does not break the drain
        time.sleep(ENDPOINT_LAG - 0.2)
        load.endpoint_gone()
    code = server.wait_exit()
    took = time.monotonic() - signalled
    assert load.lost == []
    assert load.answered > 20
    assert load.dismissed >= 4, "every kept connection is told to go away"
    assert code == 0
    assert 2 <= took < 6, "drained at the minimum, not at the bound"
    print(f"{scheme}: {load.answered} answered, 0 lost, {load.dismissed} dismissed, {took:.1f} s\n{server.logs()}")


def test_java_as_the_first_process_loses_requests_which_shows_that_the_load_would_notice(
    runtime: str, start: Start
) -> None:
    server = start(Setup(runtime, properties={"default_workers_per_model": "2"}, command=("sh", "-c", CONTROL)))
    _until_it_answers(server)
    with Load(server) as load:
        time.sleep(2)
        server.signal()
        time.sleep(ENDPOINT_LAG)
    print(f"control: {load.answered} answered, {len(load.lost)} lost")
    assert load.lost


def test_without_the_classes_new_connections_lose_nothing(runtime: str, start: Start) -> None:
    server = start(Setup(runtime, bounds={"net": (2, 2)}, drain=(2, 20), jar=b""))
    server.wait_ready()
    failed: list[str] = []
    gone = threading.Event()

    def ask() -> None:
        while not gone.is_set():
            try:
                answer = server.predict({"seconds": 0.2})
                if answer.status != 200:
                    failed.append(str(answer))
            except OSError as error:
                failed.append(repr(error))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    server.signal()
    time.sleep(ENDPOINT_LAG)
    gone.set()
    for thread in threads:
        thread.join()
    assert server.wait_exit() == 0
    assert failed == []


def test_requests_that_outlast_the_bound_are_cut_there_and_the_exit_code_says_so(runtime: str, start: Start) -> None:
    server = start(Setup(runtime, drain=(1, 2)))
    server.wait_ready()
    asking = threading.Thread(target=_ignore_errors, args=(server, {"seconds": 20}))
    asking.start()
    server.wait(lambda status: status["models"][0]["inFlight"] == 1)
    server.signal()
    signalled = time.monotonic()
    assert server.wait_exit() == 3
    assert 2 <= time.monotonic() - signalled < 5
    asking.join()


def test_a_large_answer_to_a_slow_reader_arrives_whole_though_the_server_stops(runtime: str, start: Start) -> None:
    server = start(Setup(runtime, drain=(1, 20)))
    server.wait_ready()
    size = 6_000_000
    body = json.dumps({"size": size}).encode()
    head = b"POST /predictions/net HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with socket.create_connection((server.address, 8080), timeout=30) as connection:
        connection.sendall(head % len(body) + body)
        received = len(connection.recv(1000))
        server.signal()
        while True:
            block = connection.recv(1 << 16)
            if not block:
                break
            received += len(block)
            time.sleep(0.02)
    assert received > size
    assert server.wait_exit() == 0


def test_a_pod_that_is_still_asked_after_the_minimum_goes_on_answering_but_not_for_ever(
    runtime: str, start: Start
) -> None:
    server = start(Setup(runtime, drain=(1, 20)))
    server.wait_ready()
    server.signal()
    signalled = time.monotonic()
    while time.monotonic() - signalled < 2.5:  # an endpoint that is slow to go away, with a request now and then
        assert server.predict({"seconds": 0.05}).status == 200
        time.sleep(0.7)
    with contextlib.suppress(OSError):
        while True:
            server.predict({"seconds": 0.05})
    assert server.wait_exit() == 0
    assert 3 <= time.monotonic() - signalled < 7


def test_a_pod_that_never_served_stops_at_once(runtime: str, start: Start) -> None:
    server = start(Setup(runtime, drain=(10, 20)))
    server.wait(lambda status: status["server"]["pid"])
    server.signal()
    signalled = time.monotonic()
    assert server.wait_exit() == 0
    assert time.monotonic() - signalled < 5


def _until_it_answers(server: Served) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if server.predict(timeout=30).status == 200:
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise AssertionError(server.logs())


def _ignore_errors(server: Served, body: dict[str, object]) -> None:
    with contextlib.suppress(OSError):
        server.predict(body)
