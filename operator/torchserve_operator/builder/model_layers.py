"""From a plan to its layers-to-be: what each source is now, and how its files are had if they are needed.

What reads archives, packages and requirements is imported where it is used: most builds find their layers made.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from torchserve_operator.api.build import FolderSource, SourceSpec
from torchserve_operator.builder.files import File
from torchserve_operator.builder.layers import SITE, LayerSource, layer_key
from torchserve_operator.builder.plan import Plan, PlannedModel

MAX_UNPACKED = 1 << 40
"""Bytes that an archive may unpack to, where its source has no `maxSize`."""


Spool = Callable[[File], Callable[[], BinaryIO]]
"""Makes of a file one that can seek."""


class OpenedObject(Protocol):
    """A single object whose identity is known and of which nothing more was read."""

    @property
    def name(self) -> str:
        """What people call it, for messages."""
        ...

    @property
    def identity(self) -> str:
        """What a mutable source was resolved to."""
        ...

    def open(self) -> BinaryIO:
        """Return a new handle that can seek; it is closed by whoever asked."""
        ...


class OpenedFolder(Protocol):
    """A folder whose identity is known."""

    @property
    def identity(self) -> str:
        """What a mutable source was resolved to."""
        ...

    def files(self) -> tuple[File, ...]:
        """Return what is in it."""
        ...


class Sources(Protocol):
    """Where models come from."""

    def object(self, source: SourceSpec, field: str) -> OpenedObject:
        """Find out what the object is."""
        ...

    def folder(self, source: FolderSource, field: str) -> OpenedFolder:
        """Find out what the folder is."""
        ...


def open_layers(plan: Plan, sources: Sources, requirements_folder: Path, spool: Spool) -> list[LayerSource]:
    """Return the layers-to-be of a plan: the requirements, which change least, then the models by name.

    Args:
        plan: The plan.
        sources: Where models come from.
        requirements_folder: What the init container left.
        spool: For archives among a package's parts.

    Raises:
        BuildError: A source cannot be had, or the requirements could not be installed.
    """
    store = plan.model_store.rstrip("/")
    models = sorted(plan.models, key=lambda model: model.name)
    return [
        *([_requirements(requirements_folder)] if plan.requirements.present else []),
        *(_model(model, f"{store}/{model.name}", sources, spool) for model in models),
    ]


def _requirements(folder: Path) -> LayerSource:
    from torchserve_operator.builder import requirements

    installed = requirements.read(folder)
    digest = installed.digest()
    return LayerSource(
        "requirements", SITE, digest, layer_key(SITE, digest), lambda: installed.files, requirements.FIELD
    )


def _model(model: PlannedModel, root: str, sources: Sources, spool: Spool) -> LayerSource:
    if model.archive is not None:
        field = f"{model.field}.archive"
        archive = sources.object(model.archive, field)
        identity, recipe = archive.identity, None

        def files() -> tuple[File, ...]:
            from torchserve_operator.builder.archive import model_files

            return model_files(archive, field, MAX_UNPACKED)
    else:
        assert model.package is not None  # noqa: S101  # the plan has one of the two
        package, field = model.package, f"{model.field}.package"
        folder = sources.folder(package.source, f"{field}.source")
        identity, recipe = folder.identity, _recipe(model)

        def files() -> tuple[File, ...]:
            from torchserve_operator.builder.package import package_files

            return package_files(
                folder.files(),
                package,
                name=model.name,
                version=model.version,
                field=field,
                limit=MAX_UNPACKED,
                spool=spool,
            )

    key = layer_key(root, identity, recipe)
    return LayerSource(f"model {model.name}", root, identity, key, files, field, model.name)


def _recipe(model: PlannedModel) -> dict[str, Any]:
    """What a package's files depend on beside its source; name and version are in its manifest."""
    return model.model_dump(
        mode="json",
        by_alias=True,
        exclude_none=True,
        include={"name", "version", "package"},
        exclude={"package": {"source"}},
    )
