"""From a source of the resource to an opened object or folder. Each kind is imported where it is needed."""

from typing import BinaryIO, Protocol

from torchserve_operator.api.build import FolderSource, SourceSpec
from torchserve_operator.api.quantity import parse_quantity
from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.files import File
from torchserve_operator.builder.sources import local
from torchserve_operator.builder.sources.access import Access, Secret
from torchserve_operator.builder.sources.objects import Limits
from torchserve_operator.builder.sources.place import shown


class Opened(Protocol):
    """A single object. Nothing but its identity has been asked for."""

    @property
    def name(self) -> str:
        """The last part of its place, such as `digits.mar`."""
        ...

    @property
    def size(self) -> int | None:
        """Bytes; None where it is not known before it is read."""
        ...

    @property
    def identity(self) -> str:
        """What a mutable source resolved to: `sha256:…`, or `version:`, `etag:`, `modified:`, `mtime:…@PLACE`."""
        ...

    @property
    def random_access(self) -> bool:
        """Whether it is read where it lies; otherwise opening it copies it to scratch space."""
        ...

    def open(self) -> BinaryIO:
        """Return a new handle that can seek. With `sha256`, its content is verified when this returns."""
        ...


class OpenedFolder(Protocol):
    """A folder. Its files are listed, not read."""

    @property
    def identity(self) -> str:
        """Of all its files."""
        ...

    def files(self) -> tuple[File, ...]:
        """Return them."""
        ...


def open_object(source: SourceSpec, access: Access, field: str) -> Opened:
    """Open a source of one file.

    Args:
        source: As in the resource.
        access: What the build may reach.
        field: The source's place in the resource, such as `spec.models[0].archive`.

    Raises:
        BuildError: It cannot be had.
    """
    most = _most(source, access)
    sha256 = source.sha256 or ""
    if source.config_map_name is not None:
        at = f"{field}.configMapName"
        volume, keys = local.config_map(source.config_map_name, access, at)
        if len(keys) != 1:
            raise BuildError(at, f"{volume.name} has {len(keys)} keys ({', '.join(keys[:5])}), expected one file")
        limits = Limits(field, f"{volume.name}, key {keys[0]}", most, sha256)
        return local.open_file(volume, keys[0], limits, access, by_content=True)
    url, at = source.url or "", f"{field}.url"
    limits = Limits(field, shown(url), most, sha256)
    scheme = url.partition("://")[0]
    if scheme == "pvc":
        volume, path = local.claim_and_path(url, access, at)
        if not path or url.endswith("/"):
            raise BuildError(at, f"{shown(url)} is a folder, expected a file", "name the file in it")
        return local.open_file(volume, path, limits, access, by_content=access.by_content)
    from torchserve_operator.builder.sources import remote

    return remote.open_object(url, _secret(source, access, field), access, at, limits)


def open_folder(source: FolderSource, access: Access, field: str) -> OpenedFolder:
    """Open a source of a folder.

    Args:
        source: As in the resource.
        access: What the build may reach.
        field: The source's place in the resource, such as `spec.models[0].package.source`.

    Raises:
        BuildError: It cannot be had, or is empty.
    """
    most = _most(source, access)
    if source.config_map_name is not None:
        volume, keys = local.config_map(source.config_map_name, access, f"{field}.configMapName")
        files = {key: volume.file(key) for key in keys}
        Limits(field, volume.name, most, "").check_size(sum(file.size for file in files.values()))
        return local.LocalFolder(files, volume.name, by_content=True, field=f"{field}.configMapName")
    url, at = source.url or "", f"{field}.url"
    limits = Limits(field, shown(url), most, "")
    if url.startswith("pvc://"):
        volume, path = local.claim_and_path(url, access, at)
        return local.open_tree(volume, path, limits, access)
    if url.startswith(("https://", "http://")):
        message = f"{shown(url)} cannot be a folder: web servers do not list what they have"
        raise BuildError(
            at, message, "name a packed model in archive, or put the folder into S3, a volume or a ConfigMap"
        )
    from torchserve_operator.builder.sources import remote

    return remote.open_folder(url, _secret(source, access, field), access, at, limits)


def _most(source: FolderSource, access: Access) -> int:
    return access.max_size if source.max_size is None else int(parse_quantity(source.max_size))


def _secret(source: FolderSource, access: Access, field: str) -> Secret | None:
    name = source.credentials_secret_name
    return None if name is None else access.secret(name, f"{field}.credentialsSecretName")
