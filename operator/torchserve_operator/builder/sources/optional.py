"""`gs://`, `az://` and `hf://`: whatever fsspec can read with one more package, read in blocks."""

import importlib.util
from collections.abc import Mapping
from typing import Any, Final

from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.patience import TryFailedError
from torchserve_operator.builder.sources.access import Access, Secret
from torchserve_operator.builder.sources.place import shown, tied

PACKAGES: Final[Mapping[str, tuple[str, str]]] = {
    "gs": ("gcsfs", "gcsfs"),
    "az": ("adlfs", "adlfs"),
    "hf": ("huggingface_hub", "huggingface-hub"),
}
"""Scheme → the module that fsspec needs, and the package it comes with; the extra is called like the scheme."""

_OPTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "gs": {},
    "az": {
        "AZURE_STORAGE_ACCOUNT_NAME": "account_name",
        "AZURE_STORAGE_ACCOUNT_KEY": "account_key",
        "AZURE_STORAGE_SAS_TOKEN": "sas_token",
        "AZURE_STORAGE_CONNECTION_STRING": "connection_string",
    },
    "hf": {"token": "token"},
}
_PIECE: Final = 4 << 20
_EXACT: Final = ("sha256", "blob_id", "generation", "md5Hash", "content_md5", "etag", "ETag", "crc32c")
_TIMES: Final = ("last_modified", "LastModified", "updated", "mtime", "modified", "created")


class Store:
    """A file system of fsspec's.

    Args:
        url: As in the resource.
        secret: Credentials; None: there are none.
        field: Where in the resource the URL is.
        ambient: Whether the surroundings' credentials may be used instead.

    Raises:
        BuildError: Its package is not installed, or it cannot be made.
    """

    def __init__(self, url: str, secret: Secret | None, field: str, *, ambient: bool = False) -> None:
        self.scheme = url.partition("://")[0]
        self.field = field
        check_installed(self.scheme, field)
        import fsspec  # type: ignore[import-untyped]

        options: dict[str, Any] = {
            option: secret[key] for key, option in _OPTIONS.get(self.scheme, {}).items() if secret and key in secret
        }
        if self.scheme == "gs" and secret and "credentials.json" in secret:
            options["token"] = str(secret.path("credentials.json"))
        elif self.scheme == "gs" and not ambient:
            options["token"] = "anon"  # noqa: S105  the word for none
        try:
            self.system = fsspec.filesystem(self.scheme, skip_instance_cache=True, use_listings_cache=False, **options)
            self.path = str(self.system._strip_protocol(url))  # noqa: SLF001  fsspec's way to make a path of a URL
        except Exception as error:  # noqa: BLE001  each package has its own
            raise self.failed(error, shown(url)).error from None

    def failed(self, error: Exception, what: str) -> TryFailedError:
        """Say what an exception means; its text is not shown: it may have URLs with signatures in it."""
        match error:
            case FileNotFoundError():
                return TryFailedError(
                    BuildError(self.field, f"{what} does not exist", "check the URL"), transient=False
                )
            case PermissionError():
                hint = f"give {', '.join(_OPTIONS.get(self.scheme, ())) or 'credentials.json'} in the source's Secret"
                return TryFailedError(BuildError(self.field, f"{what} is forbidden", hint), transient=False)
            case ConnectionError() | TimeoutError():
                return TryFailedError(BuildError(self.field, f"{what} cannot be reached"), transient=True)
        message = f"{what} cannot be read ({type(error).__name__})"
        return TryFailedError(BuildError(self.field, message), transient=isinstance(error, OSError))


class StoreRemote:
    """One object of a store."""

    def __init__(self, store: Store, path: str, size: int, what: str) -> None:
        self.size = size
        self.shown = what
        self.field = store.field
        self._store = store
        self._path = path

    def get(self, start: int, end: int) -> "_Blocks":
        """Return its bytes, asked for piece by piece."""
        return _Blocks(self._store, self._path, start, end, self.shown)

    def changed(self) -> BuildError:
        """Return the error for an object that is not what it was."""
        return BuildError(self.field, f"{self.shown} changed while it was read", "build again")


class _Blocks:
    def __init__(self, store: Store, path: str, start: int, end: int, what: str) -> None:
        self._store = store
        self._path = path
        self._next = start
        self._end = end
        self._what = what
        self._left = b""

    def read(self, count: int, /) -> bytes:
        if not self._left and self._next < self._end:
            until = min(self._next + _PIECE, self._end)
            try:
                self._left = self._store.system.cat_file(self._path, start=self._next, end=until)
            except Exception as error:
                raise self._store.failed(error, self._what) from error
            self._next += len(self._left)
        piece, self._left = self._left[:count], self._left[count:]
        return piece

    def close(self) -> None:
        self._left = b""


def check_installed(scheme: str, field: str) -> None:
    """Raise BuildError if the package of a scheme is not there."""
    module, package = PACKAGES.get(scheme, ("fsspec", "fsspec"))
    if importlib.util.find_spec(module) is None:
        hint = f"install torchserve-operator[{scheme}], in the cluster by an operator image of your own"
        raise BuildError(field, f"{scheme}:// needs the Python package {package}, which is not installed here", hint)


def identity_of(info: Mapping[str, Any], place: str) -> str:
    """Return what an object is known by, of fsspec's `info`; empty if it tells nothing. Pure."""
    lfs = info.get("lfs")
    sha256 = getattr(lfs, "sha256", None) or (lfs.get("sha256") if isinstance(lfs, Mapping) else None)
    if sha256:
        return f"sha256:{sha256}"
    for key in _EXACT:
        if info.get(key):
            return tied("etag", str(info[key]), place)
    size = info.get("size")
    for key in _TIMES:
        if info.get(key):
            return tied("modified", f"{info[key]}-{size}", place)
    return ""


def info_of(store: Store, access: Access, what: str) -> Mapping[str, Any]:
    """Return what a store says of the object that its URL names.

    Raises:
        BuildError: It says nothing.
    """

    def once() -> Mapping[str, Any]:
        try:
            return dict(store.system.info(store.path))
        except Exception as error:
            raise store.failed(error, what) from error

    return access.patience.persist(once, access.cancellation)


def listed(store: Store, access: Access, what: str) -> dict[str, Mapping[str, Any]]:
    """Return all objects below the store's path, by path below it.

    Raises:
        BuildError: They cannot be listed.
    """

    def once() -> Mapping[str, Any]:
        try:
            return dict(store.system.find(store.path, detail=True))
        except Exception as error:
            raise store.failed(error, what) from error

    prefix = f"{store.path.rstrip('/')}/"
    found = access.patience.persist(once, access.cancellation)
    if any(not path.startswith(prefix) for path in found):
        message = f"{what} is listed by another name than it is asked for"
        raise BuildError(store.field, message, f"write it as {store.scheme}://{next(iter(found))} and above")
    return {path.removeprefix(prefix): info for path, info in sorted(found.items())}
