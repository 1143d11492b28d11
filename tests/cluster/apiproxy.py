"""The cluster's API over plain HTTP: `kubectl proxy` has the credentials, so that a question costs no process."""

import contextlib
import http.client
import json
import subprocess
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Self
from urllib.parse import urlencode

from testbed.cluster import Cluster

Object = dict[str, Any]


class ApiProxyError(Exception):
    """The API server, or what it passed a request on to, answered with an error.

    Attributes:
        status: The HTTP status.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class ApiProxy:
    """Requests to a cluster's API server as its administrator. Use as a context manager."""

    def __init__(self, cluster: Cluster) -> None:
        self._command = cluster.command("proxy", "--port=0", "--address=127.0.0.1", "--reject-paths=^$")
        self._process: subprocess.Popen[str] | None = None
        self._port = 0
        self._local = threading.local()

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline().rpartition(":")[2])
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(10)

    @property
    def url(self) -> str:
        """Where other programs reach the API in the same way."""
        return f"http://127.0.0.1:{self._port}"

    def text(
        self,
        method: str,
        path: str,
        body: str | None = None,
        *,
        content_type: str = "application/json",
        timeout: float = 60,
        query: Mapping[str, str] | None = None,
    ) -> str:
        """Send one request and return what came.

        Raises:
            ApiProxyError: It is no 2xx.
        """
        url = f"{path}?{urlencode(query)}" if query else path
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=timeout)
        with contextlib.closing(connection):
            connection.request(method, url, body, {"Content-Type": content_type} if body is not None else {})
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        if not 200 <= answer.status < 300:
            raise ApiProxyError(answer.status, _message(text))
        return text

    def get(self, path: str, **query: str) -> Object:
        return dict(json.loads(self.text("GET", path, query=query)))

    def find(self, path: str) -> Object | None:
        """The object, None when there is none."""
        try:
            return self.get(path)
        except ApiProxyError as error:
            if error.status == 404:
                return None
            raise

    def create(self, path: str, body: Object) -> Object:
        return dict(json.loads(self.text("POST", path, json.dumps(body))))

    def merge(self, path: str, patch: Object) -> Object:
        """JSON merge patch."""
        kind = "application/merge-patch+json"
        return dict(json.loads(self.text("PATCH", path, json.dumps(patch), content_type=kind)))

    def delete(self, path: str, **query: str) -> None:
        self.text("DELETE", path, query=query)

    def lines(self, path: str, timeout: float, **query: str) -> Iterator[str]:
        """The lines of an answer that goes on: a watch, or a log that is followed."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=timeout)
        with contextlib.closing(connection):
            connection.request("GET", f"{path}?{urlencode(query)}")
            answer = connection.getresponse()
            for line in answer:
                yield line.decode(errors="replace").rstrip("\n")


def _message(text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text[:500]
