"""What a build works with in its Job's pod: everything below one folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from torchserve_operator.api.build import FolderSource, SourceSpec
from torchserve_operator.builder.build import Surroundings
from torchserve_operator.builder.cancel import Cancellation
from torchserve_operator.builder.files import File
from torchserve_operator.builder.model_layers import OpenedFolder, OpenedObject, open_layers
from torchserve_operator.builder.plan import Plan
from torchserve_operator.builder.process import OpenSurroundings
from torchserve_operator.builder.progress import Progress
from torchserve_operator.builder.registry import Registries
from torchserve_operator.builder.sources import Access, open_folder, open_object
from torchserve_operator.builder.sources.spool import Spool


class AccessedSources:
    """Sources that are opened with one access."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def object(self, source: SourceSpec, field: str) -> OpenedObject:
        """Find out what the object is."""
        return open_object(source, self._access, field)

    def folder(self, source: FolderSource, field: str) -> OpenedFolder:
        """Find out what the folder is."""
        return open_folder(source, self._access, field)


def spooled(spool: Spool) -> Callable[[File], Callable[[], BinaryIO]]:
    """Return what makes of a file one that can seek, on scratch space."""

    def copy(file: File) -> Callable[[], BinaryIO]:
        place = spool.file(file.path)
        for piece in file.chunks():
            place.write(piece)
        return place.open

    return copy


def surroundings(run_dir: Path, **options: Any) -> OpenSurroundings:
    """Return what makes a build's surroundings.

    Args:
        run_dir: The folder.
        options: Further fields of `Access`.
    """

    def make(plan: Plan, registries: Registries, progress: Progress, cancellation: Cancellation) -> Surroundings:
        spool = Spool(run_dir / "spool", plan.spool_limit)
        access = Access(
            **{
                "spool": spool,
                "secrets": run_dir / "secrets",
                "claims": run_dir / "claims",
                "config_maps": run_dir / "config-maps",
                "ca_file": run_dir / "ca" / "ca.crt",
                "allow_http": plan.allow_http_sources,
                "cancellation": cancellation,
                **options,
            }
        )

        def layers(plan: Plan) -> list[Any]:
            return list(open_layers(plan, AccessedSources(access), run_dir / "requirements", spooled(spool)))

        return Surroundings(registries, layers, progress, lambda: spool.peak)

    return make
