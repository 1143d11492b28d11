"""What builds need beside the cluster: a bucket, a package index, and the way to the registry.

They are containers on the cluster's network, and pods reach them by address: the cluster knows no name but its own.
"""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import botocore.session  # type: ignore[import-untyped]
from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]
from kube import eventually

from testbed import engine, gotools, guard, images, project_images, registry

ACCESS, SECRET = "builder", "not-a-secret-of-anybody"  # of a bucket that lives as long as a test
BUCKET, REGION = "models", "us-east-1"
BUCKET_PORT = 7070
INDEX_PORT = 8080
_LABEL = f"{guard.CLUSTER}.testbed=build-ground"


@dataclass(frozen=True)
class Ground:
    """Where builds find things.

    Attributes:
        registry: The registry's URL, as pods reach it.
        bucket: The S3 endpoint's URL.
        index: The package index's URL.
    """

    registry: str
    bucket: str
    index: str

    def upload(self, folder: Path, prefix: str = "") -> None:
        """Put a folder's files into the bucket."""
        store = self.store()
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            key = f"{prefix}{path.relative_to(folder).as_posix()}"
            store.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())

    def store(self) -> Any:
        """A client of the bucket's server."""
        return botocore.session.Session().create_client(
            "s3",
            region_name=REGION,
            endpoint_url=self.bucket,
            aws_access_key_id=ACCESS,
            aws_secret_access_key=SECRET,
        )

    def credentials(self) -> dict[str, str]:
        """The content of the Secret that a source's `credentialsSecretName` names."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": self.bucket,
            "AWS_REGION": REGION,
        }

    def index_settings(self) -> dict[str, str]:
        """The content of the Secret that `build.indexSecretName` names."""
        return {"PIP_INDEX_URL": f"{self.index}/simple/", "PIP_TRUSTED_HOST": self.index.split("//")[1].split(":")[0]}


@contextmanager
def ground(workplace: Path, wheels: Iterable[Path]) -> Iterator[Ground]:
    """Start the bucket's server and the index, and end them afterwards.

    Args:
        workplace: An empty folder for what they serve.
        wheels: What the index has.
    """
    registry.ensure()
    base = images.debian_base()
    objects, pages = workplace / "objects", workplace / "pages"
    objects.mkdir()
    _write_index(pages, wheels)
    server = gotools.tool("versitygw")
    started: list[str] = []
    try:
        bucket = _start(
            started,
            *("-v", f"{server}:/versitygw:ro", "-v", f"{objects}:/objects", "-e", f"ROOT_ACCESS_KEY={ACCESS}"),
            *("-e", f"ROOT_SECRET_KEY={SECRET}", "--entrypoint", "/versitygw", base),
            *("--port", f":{BUCKET_PORT}", "posix", "/objects"),
        )
        index = _start(
            started,
            *("-v", f"{pages}:/pages:ro", "--entrypoint", "python", project_images.RUNTIME),
            *("-m", "http.server", str(INDEX_PORT), "--directory", "/pages"),
        )
        found = Ground(
            f"http://{_address(registry.NAME)}:{registry.port()}",
            f"http://{_address(bucket)}:{BUCKET_PORT}",
            f"http://{_address(index)}:{INDEX_PORT}",
        )
        eventually(lambda: _serves(found), 30, "the bucket's server answers")
        found.store().create_bucket(Bucket=BUCKET)
        yield found
    finally:
        for container in started:
            engine.docker("rm", "-f", container)


def _start(started: list[str], *words: str) -> str:
    options = ("run", "-d", "--network", guard.NETWORK, "--label", _LABEL, "--cap-drop", "ALL")
    container = engine.docker(*options, *words).strip()
    started.append(container)
    return container


def _address(container: str) -> str:
    found = engine.inspect("container", container)
    assert found is not None
    return str(found["NetworkSettings"]["Networks"][guard.NETWORK]["IPAddress"])


def _serves(found: Ground) -> bool:
    try:
        found.store().list_buckets()
    except BotoCoreError:
        return False
    return True


def _write_index(pages: Path, wheels: Iterable[Path]) -> None:
    """Write the pages that pip reads (PEP 503): a folder for each project, with links to its files."""
    (pages / "simple").mkdir(parents=True)
    for wheel in wheels:
        project = pages / "simple" / wheel.name.split("-")[0].replace("_", "-").replace(".", "-").lower()
        project.mkdir(exist_ok=True)
        shutil.copy(wheel, project / wheel.name)
    for project in (pages / "simple").iterdir():
        links = [f'<a href="{escape(file.name)}">{escape(file.name)}</a>' for file in sorted(project.glob("*.whl"))]
        (project / "index.html").write_text("\n".join(["<!DOCTYPE html>", *links]))
    for path in (pages, *pages.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
