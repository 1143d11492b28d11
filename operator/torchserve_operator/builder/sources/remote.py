"""Sources that lie on other machines, opened: web servers, S3, and what fsspec's optional packages read."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.files import MAX_FILES, File, checked
from torchserve_operator.builder.sources.access import Access, Secret
from torchserve_operator.builder.sources.objects import Limits, SeekableObject, SpooledObject, streamed
from torchserve_operator.builder.sources.place import last_name, shown, tied
from torchserve_operator.builder.sources.reading import Body

Opened = SeekableObject | SpooledObject
Found = TypeVar("Found")


def open_object(url: str, secret: Secret | None, access: Access, field: str, limits: Limits) -> Opened:
    """Open one object.

    Raises:
        BuildError: It cannot be had.
    """
    scheme = url.partition("://")[0]
    if scheme in {"https", "http"}:
        from torchserve_operator.builder.sources.https import HttpsOrigin

        return _of_web(HttpsOrigin(url, secret, access, field), last_name(url), access, limits)
    if scheme == "s3":
        from torchserve_operator.builder.sources.s3 import Bucket, S3Origin

        bucket = Bucket(url, secret, access, field)
        if not bucket.key or bucket.key.endswith("/"):
            raise BuildError(field, f"{shown(url)} is a folder, expected an object", "name the object in it")
        return _of_web(S3Origin(bucket, bucket.key), bucket.key.rpartition("/")[2], access, limits)
    return _of_store(url, secret, access, field, limits)


def _of_web(origin: Any, name: str, access: Access, limits: Limits) -> Opened:
    from torchserve_operator.builder.sources import web

    resolved = access.patience.persist(lambda: web.resolve(origin), access.cancellation)
    identity = resolved.identity(origin.place)
    if resolved.ranges:
        remote = web.WebRemote(origin, resolved)
        return SeekableObject(name, remote, identity, limits=limits, access=access, changed=lambda: web.changed(origin))

    def fetch() -> Body:
        response = origin.get({})
        if resolved.contradicted(response.headers):
            response.close()
            raise web.changed(origin)
        return web.WebBody(response, origin)

    return SpooledObject(name, resolved.size, identity, fetch, limits=limits, access=access)


def _of_store(url: str, secret: Secret | None, access: Access, field: str, limits: Limits) -> Opened:
    from torchserve_operator.builder.sources import optional

    store = optional.Store(url, secret, field, ambient=access.ambient_credentials)
    info = optional.info_of(store, access, limits.shown)
    if info.get("type") == "directory":
        raise BuildError(field, f"{limits.shown} is a folder, expected an object", "name the object in it")
    remote = optional.StoreRemote(store, store.path, int(info.get("size") or 0), limits.shown)
    identity = optional.identity_of(info, url)
    return SeekableObject(last_name(url), remote, identity, limits=limits, access=access, changed=remote.changed)


class RemoteFolder:
    """Files below a place, listed.

    Args:
        files: With their identities.
        place: What the identities belong to.
        field: Where in the resource it is named.
    """

    def __init__(self, files: Mapping[str, tuple[File, str]], place: str, field: str) -> None:
        # Names are checked before the first byte of them is asked for.
        self._files = checked((file for file, _ in files.values()), field)
        digest = hashlib.sha256()
        for file in self._files:
            digest.update(f"{file.path}\0{file.size}\0{files[file.path][1]}\n".encode(errors="replace"))
        self.identity = tied("etag", digest.hexdigest(), place)

    def files(self) -> tuple[File, ...]:
        """Return the files."""
        return self._files


def open_folder(url: str, secret: Secret | None, access: Access, field: str, limits: Limits) -> RemoteFolder:
    """Open all objects below a prefix.

    Raises:
        BuildError: There are none, or they cannot be listed.
    """
    if url.startswith("s3://"):
        return _of_bucket(url, secret, access, field, limits)
    from torchserve_operator.builder.sources import optional

    store = optional.Store(url, secret, field, ambient=access.ambient_credentials)
    found: dict[str, tuple[File, str]] = {}
    size = 0
    for path, info in optional.listed(store, access, limits.shown).items():
        remote = optional.StoreRemote(store, str(info["name"]), int(info.get("size") or 0), f"{limits.shown} {path}")
        size += remote.size
        found[path] = File(path, remote.size, streamed(remote, access)), optional.identity_of(info, path)
        _check(len(found), size, limits, field)
    if not found:
        raise BuildError(field, f"{limits.shown} has no files", "check the URL")
    return RemoteFolder(found, url, field)


def _of_bucket(url: str, secret: Secret | None, access: Access, field: str, limits: Limits) -> RemoteFolder:
    from torchserve_operator.builder.sources.s3 import Bucket, S3Origin, nearest
    from torchserve_operator.builder.sources.web import Resolved, WebRemote

    bucket = Bucket(url, secret, access, field)
    prefix = f"{bucket.key.rstrip('/')}/" if bucket.key.strip("/") else ""

    def listing() -> dict[str, tuple[File, str]]:
        found: dict[str, tuple[File, str]] = {}
        size = 0
        for each in bucket.list(prefix):
            if each.key.endswith("/") and not each.size:
                continue  # consoles make such objects for folders
            path = each.key.removeprefix(prefix)
            size += each.size
            remote = WebRemote(S3Origin(bucket, each.key), Resolved(each.size, True, etag=each.etag))
            found[path] = File(path, each.size, streamed(remote, access)), each.etag or each.modified
            _check(len(found), size, limits, field)
        return found

    def exists(parent: str) -> bool:
        return next(bucket.list(parent, most=1), None) is not None

    found = _persist(listing, access)
    if not found:
        parent = _persist(lambda: nearest(prefix, exists), access)
        hint = f"there is something in s3://{bucket.name}/{parent}" if parent else "check the prefix"
        raise BuildError(field, f"{limits.shown} has no objects", hint)
    return RemoteFolder(found, f"{bucket.account.endpoint}/{bucket.name}/{prefix}", field)


def _check(count: int, size: int, limits: Limits, field: str) -> None:
    limits.check_size(size)
    if count > MAX_FILES:
        raise BuildError(field, f"{limits.shown} has more than {MAX_FILES:,} files", "name a folder below it")


def _persist(action: Callable[[], Found], access: Access) -> Found:
    return access.patience.persist(action, access.cancellation)
