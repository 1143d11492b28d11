"""A package index on the loopback over a folder of wheels and source archives, and tiny ones to put into it.

It is what pip asks for and no more (PEP 503 pages with hashes, the files, basic auth, TLS)::

    write_wheel(folder, "greeting", "1.0", {"greeting.py": "WORD = 'hello'"}, requires=["numpy>=1.20"])
    with WheelIndex(folder, password="secret") as index:
        pip install --index-url {index.url} greeting
"""

import base64
import csv
import hashlib
import html
import importlib.metadata
import io
import re
import ssl
import tarfile
import threading
import zipfile
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

_EPOCH = (1980, 1, 1, 0, 0, 0)


def canonical(name: str) -> str:
    """The one spelling of a package's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def write_wheel(
    folder: Path,
    name: str,
    version: str,
    files: Mapping[str, str | bytes],
    *,
    requires: Iterable[str] = (),
    extras: Iterable[str] = (),
    requires_python: str = "",
    tag: str = "py3-none-any",
    scripts: Mapping[str, str] | None = None,
) -> Path:
    """Write a wheel of `files` (path in the site folder → content); `scripts` are console scripts (name → entry)."""
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    metadata += [f"Provides-Extra: {extra}" for extra in extras]
    metadata += [f"Requires-Dist: {line}" for line in requires]
    metadata += [f"Requires-Python: {requires_python}"] if requires_python else []
    contents = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
    contents[f"{info}/METADATA"] = "\n".join([*metadata, ""]).encode()
    contents[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n".encode()
    if scripts:
        lines = ["[console_scripts]", *(f"{script} = {entry}" for script, entry in scripts.items()), ""]
        contents[f"{info}/entry_points.txt"] = "\n".join(lines).encode()
    return _write_zip(folder / f"{stem}-{tag}.whl", info, contents)


def wheel_of_installed(folder: Path, name: str) -> Path:
    """Write the wheel that an installed package came from: a real pip, a real setuptools, without a download."""
    distribution = importlib.metadata.distribution(name)
    contents = {}
    for file in distribution.files or ():
        if ".." not in file.parts and file.suffix != ".pyc":
            contents[file.as_posix()] = Path(str(distribution.locate_file(file))).read_bytes()
    info = next(path.split("/")[0] for path in contents if path.split("/")[0].endswith(".dist-info"))
    for made_by_pip in ("INSTALLER", "REQUESTED", "RECORD", "direct_url.json"):
        contents.pop(f"{info}/{made_by_pip}", None)
    return _write_zip(folder / f"{info.removesuffix('.dist-info')}-py3-none-any.whl", info, contents)


def write_sdist(folder: Path, name: str, version: str, files: Mapping[str, str]) -> Path:
    """Write a source archive of `files`, with the PKG-INFO it needs."""
    stem = f"{name}-{version}"
    path = folder / f"{stem}.tar.gz"
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for file, text in {"PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", **files}.items():
            member = tarfile.TarInfo(f"{stem}/{file}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


def _write_zip(path: Path, info: str, contents: dict[str, bytes]) -> Path:
    record = io.StringIO()
    rows = csv.writer(record, lineterminator="\n")
    for file, content in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        rows.writerow((file, f"sha256={digest}", len(content)))
    rows.writerow((f"{info}/RECORD", "", ""))
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, content in {**contents, f"{info}/RECORD": record.getvalue().encode()}.items():
            archive.writestr(zipfile.ZipInfo(file, date_time=_EPOCH), content)
    return path


class WheelIndex:
    """Serves `folder` at `url` until it is left.

    Args:
        folder: Files named as wheels and source archives are.
        password: Asked for by basic auth with the user `robot`; empty: nothing is asked.
        says_python: Whether the pages tell which Python a wheel is for.
        certificate: Files of a certificate and of its key, for TLS; None: plain HTTP.
    """

    def __init__(
        self,
        folder: Path,
        *,
        password: str = "",
        says_python: bool = True,
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        self.folder = folder
        self.password = password
        self.says_python = says_python
        self.requests: list[str] = []
        """The path of each request that was answered with 200."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"index": self}))
        self._scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            # The handshake is the connection's own thread's: one client that breaks it off keeps no other waiting.
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
            self._scheme = "https"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def host(self) -> str:
        """Address and port."""
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        """What `--index-url` takes, with the credentials in it when there are any."""
        user = f"robot:{self.password}@" if self.password else ""
        return f"{self._scheme}://{user}{self.host}/simple/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def files(self, name: str) -> list[Path]:
        """The files of one package."""
        return [path for path in sorted(self.folder.iterdir()) if canonical(_name(path)) == name]


def _name(path: Path) -> str:
    stem = path.name.removesuffix(".tar.gz")
    return stem.split("-")[0] if path.suffix == ".whl" else stem.rpartition("-")[0]


class _Handler(BaseHTTPRequestHandler):
    index: WheelIndex
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.index.password:
            expected = base64.b64encode(f"robot:{self.index.password}".encode()).decode()
            if self.headers.get("Authorization") != f"Basic {expected}":
                self._answer(HTTPStatus.UNAUTHORIZED, b"", **{"WWW-Authenticate": 'Basic realm="index"'})
                return
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        if parts[0] == "simple" and len(parts) == 2 and (files := self.index.files(parts[1])):
            links = [_link(path, says_python=self.index.says_python) for path in files]
            self._answer(
                HTTPStatus.OK, "\n".join(["<!DOCTYPE html>", *links]).encode(), **{"Content-Type": "text/html"}
            )
        elif parts[0] == "files" and len(parts) == 2 and (self.index.folder / parts[1]).is_file():
            self._answer(HTTPStatus.OK, (self.index.folder / parts[1]).read_bytes())
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"")

    def _answer(self, status: HTTPStatus, body: bytes, **headers: str) -> None:
        if status == HTTPStatus.OK:
            self.index.requests.append(self.path)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing: the tests read `requests`."""


def _link(path: Path, *, says_python: bool) -> str:
    python = ""
    if says_python and path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            [metadata] = [name for name in wheel.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)]
            found = re.search(r"^Requires-Python: (.+)$", wheel.read(metadata).decode(), re.MULTILINE)
        python = f' data-requires-python="{html.escape(found[1])}"' if found else ""
    return f'<a href="/files/{html.escape(path.name)}#sha256={_sha256(path)}"{python}>{path.name}</a>'


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
