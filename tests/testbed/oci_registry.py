"""A real OCI registry, a process on this machine's loopback: open, with basic auth, with token auth, over TLS.

It is the distribution project's own, built from the pinned module `go/registry`; what is pushed lies in a folder of
the test's and goes with it::

    with OciRegistry(folder, auth="token") as registry:
        skopeo inspect docker://{registry.host}/team/digits:1.0
"""

import base64
import datetime as dt
import json
import secrets
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509.oid import NameOID

from testbed import gotools
from testbed.errors import TestbedError

USER = "robot"
PASSWORD = "correct horse"
_HTPASSWD = f"{USER}:$2b$04$a6LONarFMkOpkAlBd7JlneIOawAApV7gpC/kbvGHk5cYm5/v5xefW\n"
"""bcrypt of PASSWORD; the registry takes nothing else."""
_START_TIMEOUT = 30.0
_ATTEMPTS = 3
"""Between choosing a free port and listening at it somebody else may take it."""

Auth = Literal["", "basic", "token"]


class OciRegistry:
    """A running registry while the `with` block lasts.

    Args:
        folder: What is pushed lies here; made when missing, left when it ends.
        auth: How it asks who one is; empty: not at all.
        certificate: Files of a certificate for `localhost` and of its key, for TLS; None: plain HTTP.

    Attributes:
        host: `localhost:PORT` with a certificate, `127.0.0.1:PORT` without.
        url: The same with its scheme.
        tokens: The token server; None without token auth.
    """

    def __init__(self, folder: Path, *, auth: Auth = "", certificate: tuple[Path, Path] | None = None) -> None:
        self._folder = folder
        self._auth = auth
        self._certificate = certificate
        self._process: subprocess.Popen[bytes] | None = None
        self.tokens: TokenServer | None = None

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._auth == "token":
            self.tokens = TokenServer(self._folder).__enter__()
        try:
            for attempt in range(_ATTEMPTS):
                self._port = _free_port()
                self.host = f"{'localhost' if self._certificate else '127.0.0.1'}:{self._port}"
                self.url = f"{'https' if self._certificate else 'http'}://{self.host}"
                try:
                    self.start()
                    break
                except TestbedError as error:
                    if attempt + 1 == _ATTEMPTS or "address already in use" not in str(error):
                        raise
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self.tokens is not None:
            self.tokens.__exit__(kind, error, trace)

    def start(self) -> None:
        """Serve, at the same address as before, what is in the folder."""
        config = self._folder / "config.yml"
        config.write_text(yaml.safe_dump(self._config()))
        program = gotools.tool("registry")
        self._log = self._folder / "registry.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [program, "serve", config], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        deadline = time.monotonic() + _START_TIMEOUT
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise TestbedError(f"the registry does not start:\n{self.log()[-3000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Serve no more; what was pushed stays."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def log(self) -> str:
        """What it wrote to its log, one line a request and more."""
        return self._log.read_text(errors="replace")

    def docker_config(self, *, user: str = USER, password: str = PASSWORD) -> str:
        """A dockerconfigjson with its credentials."""
        entry = {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()} if self._auth else {}
        return json.dumps({"auths": {self.host: entry} if entry else {}})

    def uploads(self, path: str) -> list[Path]:
        """Uploads below this path that were begun and neither ended nor deleted."""
        root = self._folder / "data" / "docker" / "registry" / "v2" / "repositories" / path
        # Of one that was deleted, distribution 3 leaves the folder with the state of its hash.
        return sorted(root.glob("**/_uploads/*/data"))

    def blobs(self) -> set[str]:
        """The digests of all blobs, manifests among them."""
        root = self._folder / "data" / "docker" / "registry" / "v2" / "blobs" / "sha256"
        return {f"sha256:{path.parent.name}" for path in root.glob("*/*/data")}

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
        except OSError:
            return False
        return True

    def _config(self) -> dict[str, Any]:
        http: dict[str, Any] = {"addr": f"127.0.0.1:{self._port}", "secret": secrets.token_hex(16)}
        if self._certificate:
            http["tls"] = {"certificate": str(self._certificate[0]), "key": str(self._certificate[1])}
        config: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "info", "accesslog": {"disabled": False}},
            "storage": {
                "filesystem": {"rootdirectory": str(self._folder / "data")},
                "delete": {"enabled": True},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "http": http,
        }
        if self._auth == "basic":
            (self._folder / "htpasswd").write_text(_HTPASSWD)
            config["auth"] = {"htpasswd": {"realm": "testbed", "path": str(self._folder / "htpasswd")}}
        if self.tokens is not None:
            config["auth"] = {"token": self.tokens.registry_config()}
        return config


class TokenServer:
    """Gives short-lived tokens for scopes, as the distribution project's token specification says.

    Attributes:
        url: The realm.
        lifetime: Seconds that a token is good for.
        requests: Of each request the scopes that were asked for.
        refresh_token: What is taken instead of the password, by POST.
    """

    def __init__(self, folder: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = folder / "tokens.crt"
        self._certificate.write_bytes(_self_signed(self._key))
        self.lifetime = 60
        self.requests: list[list[str]] = []
        self.refresh_token = secrets.token_hex(16)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_TokenHandler,), {"tokens": self}))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/token"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="tokens", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def registry_config(self) -> dict[str, str]:
        """What the registry must know of it."""
        return {
            "realm": self.url,
            "service": "testbed",
            "issuer": "testbed",
            "rootcertbundle": str(self._certificate),
        }

    def token(self, scopes: list[str]) -> str:
        """A signed token for scopes such as `repository:team/digits:pull,push`."""
        self.requests.append(scopes)
        access = []
        for each in scopes:
            kind, name, actions = each.split(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        now = int(time.time())
        chain = x509.load_pem_x509_certificate(self._certificate.read_bytes())
        der = chain.public_bytes(serialization.Encoding.DER)
        header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(der).decode()]}
        claims = {
            "iss": "testbed",
            "sub": USER,
            "aud": "testbed",
            "exp": now + self.lifetime,
            "nbf": now - 10,
            "iat": now,
            "jti": secrets.token_hex(8),
            "access": access,
        }
        signed = f"{_url64(json.dumps(header).encode())}.{_url64(json.dumps(claims).encode())}"
        signature = self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256()))
        r, s = utils.decode_dss_signature(signature)
        return f"{signed}.{_url64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


class _TokenHandler(BaseHTTPRequestHandler):
    tokens: TokenServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        self._answer(self.headers.get("Authorization") == expected, query.get("scope", []))

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        right = form.get("refresh_token") == [self.tokens.refresh_token]
        self._answer(right, form.get("scope", [""])[0].split())

    def _answer(self, right: bool, scopes: list[str]) -> None:
        answer: Mapping[str, Any] = {"details": "who are you?"}
        if right:
            answer = {"token": self.tokens.token(scopes), "expires_in": self.tokens.lifetime}
        body = json.dumps(answer).encode()
        self.send_response(200 if right else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  the base's name
        """Say nothing."""


def _self_signed(key: ec.EllipticCurvePrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the testbed's token server")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - dt.timedelta(minutes=5)).not_valid_after(now + dt.timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _url64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
