"""A real S3 server, a process on this machine's loopback: versitygw over a folder, built from the pinned `go/s3`.

with ObjectStore(folder) as store:
    store.put("models", "digits.mar", content)
    ... store.url, store.secret() ...
"""

import hashlib
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import urllib3
from botocore.auth import S3SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]

from testbed import gotools
from testbed.errors import TestbedError

ACCESS_KEY = "AKIATESTBED0000"
SECRET_KEY = "wJalr/secret+of/the=testbed"
REGION = "eu-central-1"
_START_TIMEOUT = 30.0
_ATTEMPTS = 3
"""Between choosing a free port and listening at it somebody else may take it."""


class ObjectStore:
    """A running server while the `with` block lasts.

    Args:
        folder: What is stored lies here, on a file system with extended attributes.
        certificate: Files of a certificate for `localhost` and of its key, for TLS; None: plain HTTP.

    Attributes:
        host: `127.0.0.1:PORT`, or `localhost:PORT` with a certificate.
        url: The same with its scheme: the endpoint.
    """

    def __init__(self, folder: Path, *, certificate: tuple[Path, Path] | None = None) -> None:
        self._folder = folder
        self._certificate = certificate
        self._process: subprocess.Popen[bytes] | None = None
        self._http = urllib3.PoolManager(ssl_context=_trusting(certificate[0]) if certificate else None)

    def __enter__(self) -> Self:
        (self._folder / "data").mkdir(parents=True, exist_ok=True)
        for attempt in range(_ATTEMPTS):
            try:
                self._start()
                break
            except TestbedError as error:
                if attempt + 1 == _ATTEMPTS or "address already in use" not in str(error):
                    raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def secret(self, **changed: str) -> dict[str, str]:
        """The keys of a Secret for it."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": REGION,
            **changed,
        }

    def put(self, bucket: str, key: str, content: bytes) -> None:
        """Store an object; the bucket is made."""
        (self._folder / "data" / bucket).mkdir(exist_ok=True)
        self.ask("PUT", f"{bucket}/{quote(key, safe='/-_.~')}", content)

    def delete(self, bucket: str, key: str) -> None:
        """Delete an object."""
        self.ask("DELETE", f"{bucket}/{quote(key, safe='/-_.~')}")

    def ask(self, method: str, path: str, body: bytes = b"") -> Mapping[str, Any]:
        """Send a signed request; return the answer's headers.

        Raises:
            TestbedError: it was refused.
        """
        url = f"{self.url}/{path}"
        request = AWSRequest(method, url, data=body, headers={"x-amz-content-sha256": hashlib.sha256(body).hexdigest()})
        S3SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "s3", REGION).add_auth(request)
        response = self._http.request(method, url, headers=dict(request.headers.items()), body=body)
        if response.status >= 300:
            raise TestbedError(f"{method} {path}: {response.status} {response.data[:500]!r}")
        return response.headers

    def log(self) -> str:
        """What it wrote to its log, a line a request and more."""
        return (self._folder / "s3.log").read_text(errors="replace")

    def _start(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        self.host = f"{'localhost' if self._certificate else '127.0.0.1'}:{port}"
        self.url = f"{'https' if self._certificate else 'http'}://{self.host}"
        tls = ["--cert", str(self._certificate[0]), "--key", str(self._certificate[1])] if self._certificate else []
        words = [str(gotools.tool("versitygw")), "--port", f"127.0.0.1:{port}", "--region", REGION, *tls]
        environment = {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}
        with (self._folder / "s3.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*words, "posix", str(self._folder / "data")],
                env=environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        deadline = time.monotonic() + _START_TIMEOUT
        while not _listens(port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__(None, None, None)
                raise TestbedError(f"the S3 server does not start:\n{self.log()[-3000:]}")
            time.sleep(0.02)


def _trusting(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certificate)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the server's own is enough
    return context


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
