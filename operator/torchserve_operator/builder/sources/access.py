"""What a build may reach, and where its mounts are: Secrets, claims, ConfigMaps, a CA, scratch space."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from torchserve_operator.builder.cancel import Cancellation
from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.patience import Patience
from torchserve_operator.builder.sources.spool import Spool

ROOT: Final = Path("/run/build")
"""Where the Job's pod has everything."""
MAX_SIZE: Final = 64 << 30
"""The most bytes of one source that has no `maxSize`."""

_SECRET_FILE_LIMIT: Final = 1 << 20


class Secret(Mapping[str, str]):
    """A mounted Secret: its keys and values, read when asked for; nothing prints the values.

    Args:
        name: Of the Secret.
        folder: Where it is mounted.
        field: Where in the resource it is named.
    """

    def __init__(self, name: str, folder: Path, field: str) -> None:
        self.name = name
        self.field = field
        self._folder = folder

    def __getitem__(self, key: str) -> str:
        try:
            # A file written by an editor or `echo` ends with a line feed that no password has.
            return self.path(key).read_bytes()[:_SECRET_FILE_LIMIT].decode().rstrip("\r\n")
        except (OSError, KeyError):
            raise KeyError(key) from None
        except UnicodeDecodeError:
            raise BuildError(self.field, f"Secret {self.name} has a key {key} that is no text") from None

    def __iter__(self) -> Iterator[str]:
        yield from names_in(self._folder)

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __repr__(self) -> str:
        return f"Secret({self.name})"

    def path(self, key: str) -> Path:
        """Return the file of a key; KeyError if there is none."""
        path = self._folder / key
        if not path.is_file():
            raise KeyError(key)
        return path


@dataclass(frozen=True)
class Access:
    """What sources are opened with.

    Attributes:
        spool: Scratch space for what cannot be read in any order.
        secrets: Folder that has a folder for each Secret.
        claims: The same for claims.
        config_maps: The same for ConfigMaps.
        claim_folders: Folders that stand for claims, by claim: on a laptop.
        secret_folders: The same for Secrets.
        config_map_folders: The same for ConfigMaps.
        ca_file: Certificates that are trusted beside the system's; may be absent.
        allow_http: Whether plain HTTP is allowed.
        ambient_credentials: Whether s3 and gs without a Secret use what the surroundings have: variables, profiles,
            roles. In a cluster they would be the node's, not the user's.
        by_content: Whether files of volumes are identified by their content and not by their time: a fresh checkout
            has new times each time. Costs reading them once more.
        max_size: The most bytes of a source that sets no own cap.
        patience: How often something is tried.
        cancellation: Ends waits.
        read_timeout: Seconds without a byte.
    """

    spool: Spool
    secrets: Path = ROOT / "secrets"
    claims: Path = ROOT / "claims"
    config_maps: Path = ROOT / "config-maps"
    claim_folders: Mapping[str, Path] = field(default_factory=dict)
    secret_folders: Mapping[str, Path] = field(default_factory=dict)
    config_map_folders: Mapping[str, Path] = field(default_factory=dict)
    ca_file: Path | None = None
    allow_http: bool = False
    ambient_credentials: bool = False
    by_content: bool = False
    max_size: int = MAX_SIZE
    patience: Patience = field(default_factory=Patience)
    cancellation: Cancellation = field(default_factory=Cancellation)
    read_timeout: float = 60.0

    def secret(self, name: str, at: str) -> Secret:
        """Return a Secret.

        Raises:
            BuildError: It is not there, or empty.
        """
        folder = self.secret_folders.get(name, self.secrets / name)
        if not names_in(folder):
            raise BuildError(at, f"there is no Secret {name}, or it is empty", "create it in the resource's namespace")
        return Secret(name, folder, at)

    def claim(self, name: str, at: str) -> Path:
        """Return the folder of a claim.

        Raises:
            BuildError: It is not mounted.
        """
        folder = self.claim_folders.get(name, self.claims / name)
        if not folder.is_dir():
            raise BuildError(at, f"the claim {name} is not mounted here", "on a laptop, give a folder for it")
        return folder

    def config_map(self, name: str, at: str) -> Path:
        """Return the folder of a ConfigMap.

        Raises:
            BuildError: It is not there, or empty.
        """
        folder = self.config_map_folders.get(name, self.config_maps / name)
        if not names_in(folder):
            raise BuildError(
                at, f"there is no ConfigMap {name}, or it is empty", "create it in the resource's namespace"
            )
        return folder

    def trusted(self, secret: Secret | None) -> list[Path]:
        """Return the files with private CAs: of this build and of one source's Secret."""
        found = [self.ca_file] if self.ca_file is not None and self.ca_file.is_file() else []
        if secret is not None and "ca.crt" in secret:
            found.append(secret.path("ca.crt"))
        return found


def names_in(folder: Path) -> list[str]:
    """Return the keys of a mounted Secret or ConfigMap, sorted; the kubelet's own names begin with two dots."""
    try:
        return sorted(path.name for path in folder.iterdir() if not path.name.startswith("..") and path.is_file())
    except OSError:
        return []
