"""What is in a registry, read with nothing of the project's own: manifests, configs, the files of a layer."""

import hashlib
import io
import json
import tarfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_TYPES = ("oci.image.manifest.v1", "oci.image.index.v1", "docker.distribution.manifest.v2")
_ACCEPT = ", ".join(f"application/vnd.{name}+json" for name in _TYPES)


@dataclass(frozen=True)
class ImageReader:
    """Reads one repository of an open registry that speaks plain HTTP."""

    host: str
    path: str

    def tags(self) -> set[str]:
        """Its tags; none if there is no such repository."""
        try:
            return set(json.loads(self._get("tags/list")[0]).get("tags") or ())
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return set()

    def manifest(self, version: str) -> dict[str, Any]:
        """A manifest by tag or digest."""
        found: dict[str, Any] = json.loads(self._get(f"manifests/{version}")[0])
        return found

    def digest(self, version: str) -> str:
        """The digest of what a tag names."""
        return f"sha256:{hashlib.sha256(self._get(f'manifests/{version}')[0]).hexdigest()}"

    def config(self, version: str) -> dict[str, Any]:
        """The config of an image."""
        found: dict[str, Any] = json.loads(self.blob(self.manifest(version)["config"]["digest"]))
        return found

    def blob(self, digest: str) -> bytes:
        """A blob, checked."""
        content, _ = self._get(f"blobs/{digest}")
        assert f"sha256:{hashlib.sha256(content).hexdigest()}" == digest
        return content

    def layer(self, digest: str) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
        """The entries of a tar layer by name, with the content of files."""
        found = {}
        with tarfile.open(fileobj=io.BytesIO(self.blob(digest))) as archive:
            for entry in archive:
                content = archive.extractfile(entry)
                found[entry.name] = (entry, content.read() if content else b"")
        return found

    def _get(self, what: str) -> tuple[bytes, Mapping[str, str]]:
        request = urllib.request.Request(f"http://{self.host}/v2/{self.path}/{what}", headers={"Accept": _ACCEPT})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read(), dict(answer.headers)
