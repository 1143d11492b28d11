"""What a build's pod has mounted, as folders of a test: Secrets, claims, ConfigMaps, scratch space."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torchserve_operator.builder.patience import Patience
from torchserve_operator.builder.sources import Access
from torchserve_operator.builder.sources.spool import Spool

PATIENCE = Patience(tries=4, first=0.01, longest=0.02)


class Ground:
    """Mounts below a folder.

    Args:
        folder: Of the test's own.
        spool_limit: Bytes.
        options: Further fields of `Access`.

    Attributes:
        access: Of them.
    """

    def __init__(self, folder: Path, *, spool_limit: int = 1 << 30, **options: Any) -> None:
        self._folder = folder
        self.access = Access(
            **{
                "spool": Spool(folder / "spool", spool_limit),
                "secrets": folder / "secrets",
                "claims": folder / "claims",
                "config_maps": folder / "config-maps",
                "allow_http": True,
                "patience": PATIENCE,
                **options,
            }
        )

    def secret(self, name: str, **keys: str) -> None:
        """Mount a Secret."""
        self._mount(self.access.secrets / name, keys)

    def config_map(self, name: str, **keys: str) -> None:
        """Mount a ConfigMap."""
        self._mount(self.access.config_maps / name, keys)

    def claim(self, name: str) -> Path:
        """The folder of a claim, made."""
        folder = self.access.claims / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @contextmanager
    def small_disk(self, limit: int) -> Iterator[None]:
        """Let the system refuse to write files of more bytes than `limit`, for this process, while the block lasts."""
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)

    def _mount(self, folder: Path, keys: dict[str, str]) -> None:
        """As the kubelet does it: links to links to files, swapped all at once."""
        data = folder / "..2026_11_21"
        data.mkdir(parents=True)
        (folder / "..data").symlink_to(data.name)
        for key, value in keys.items():
            (data / key).write_text(value)
            (folder / key).symlink_to(f"..data/{key}")
