"""What a build is told, and what it tells: two JSON documents between the operator and the build's pod."""

import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, ValidationError

from torchserve_operator.api.base import Model
from torchserve_operator.api.build import PackageSpec, SourceSpec
from torchserve_operator.api.names import IMAGE_MODEL_STORE
from torchserve_operator.builder.errors import BuildError

TERMINATION_LIMIT: Final = 4096
"""Bytes of a termination message that the kubelet keeps."""

_LONGEST: Final = 1000
"""Bytes of one text in a termination message that would be too long."""


class Document(Model):
    """A part of the two documents. No schema is made of them for anybody, which the start of every build would pay."""

    model_config = ConfigDict(use_attribute_docstrings=False, defer_build=True)


class PlannedModel(Document):
    """One model of the image; exactly one of `archive` and `package`."""

    name: str
    """The model's name: its folder in the model store."""
    version: str = "1.0"
    """The model's version."""
    archive: SourceSpec | None = None
    """A ready archive."""
    package: PackageSpec | None = None
    """The model's parts."""
    field: str = ""
    """The model's place in the resource, such as `spec.models[0]`, for errors."""


class PlannedRequirements(Document):
    """Python packages, installed by the init container before the builder starts."""

    present: bool = False
    """Whether there are any."""
    pins: list[str] = Field(default_factory=list)
    """As asked for; part of the result for people only."""


class Plan(Document):
    """One build."""

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    """Of this document."""
    owner: str
    """The resource, as `namespace/name`."""
    base: str
    """The base image's reference."""
    repository: str
    """Where the image goes."""
    tags: list[str] = Field(default_factory=list)
    """Tags beside the content's own."""
    platform: str = ""
    """Such as `linux/amd64`. Default: the builder's own."""
    registry_mirrors: dict[str, str] = Field(default_factory=dict)
    """Where the builder reaches a registry that is known by another name: host → URL."""
    allow_http_sources: bool = False
    """Whether sources may be read by plain HTTP."""
    models: list[PlannedModel] = Field(default_factory=list)
    """What goes into the image, a layer each."""
    model_store: str = IMAGE_MODEL_STORE
    """The folder of the image that the models lie in."""
    requirements: PlannedRequirements = Field(default_factory=PlannedRequirements)
    """Python packages."""
    revision: str = ""
    """Free text of the resource; says nothing about the content."""
    spool_limit: int = 10 << 30
    """The most bytes of scratch space."""
    previous: str | None = None
    """The last build's image: its layers are taken where their keys are the same."""


def read_plan(path: Path) -> Plan:
    """Read a plan.

    Raises:
        BuildError: It cannot be read or is none.
    """
    try:
        return Plan.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BuildError("", f"the plan {path.name} cannot be read ({error.strerror})") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        hint = "operator and builder are of one version: is it this image's?"
        raise BuildError(
            "", f"the plan {path.name} is not understood at {place or 'its top'}: {first['msg']}", hint
        ) from None


class BaseResult(Document):
    """The base image as it was resolved."""

    reference: str
    """As it was asked for."""
    digest: str
    """Of its manifest for the platform."""


class LayerResult(Document):
    """One appended layer."""

    name: str
    """Such as `model digits`."""
    key: str
    """Of what it was made from."""
    digest: str
    """Of its content."""
    size: int
    """Bytes."""
    reused: bool
    """Whether it was there already."""


class SourceResult(Document):
    """What a mutable source was resolved to."""

    model: str
    """The model's name; empty for the requirements."""
    identity: str
    """Such as `etag:…`."""


class ErrorResult(Document):
    """Why a build failed."""

    field: str
    """Where in the resource the cause is."""
    message: str
    """What is wrong."""
    hint: str
    """What to do about it."""


class Result(Document):
    """What came of a build; with `error`, nothing else counts."""

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    """Of this document."""
    image: str = ""
    """The image by digest: `repository@sha256:…`."""
    digest: str = ""
    """Of its manifest."""
    key: str = ""
    """Of everything that it was made from."""
    base: BaseResult | None = None
    """The base image."""
    layers: list[LayerResult] = Field(default_factory=list)
    """What was appended."""
    sources: list[SourceResult] = Field(default_factory=list)
    """What the sources were."""
    seconds: dict[str, float] = Field(default_factory=dict)
    """By stage: resolve, fetch, layers, base, push; and total."""
    bytes_uploaded: int = 0
    """Of blobs."""
    scratch_bytes: int = 0
    """The most that lay on scratch space at once."""
    memory_peak_bytes: int = 0
    """The builder's resident memory at its peak."""
    error: ErrorResult | None = None
    """Why there is no image."""

    def termination_message(self) -> bytes:
        """Return the result as JSON of at most 4096 bytes: what is longest and least needed is left out first."""
        document = self.model_dump(by_alias=True, exclude_none=True)
        if self.error is not None:
            document = {"schema": 1, "error": document["error"]}
        for shorten in (_as_it_is, _without_layers_keys, _first_of_lists, _without_lists, _with_short_texts):
            shorten(document)
            message = _json(document)
            if len(message) <= TERMINATION_LIMIT:
                return message
        return _json({"schema": 1, "error": {"field": "", "message": "the result is too long to be told", "hint": ""}})


def failed(error: BuildError) -> Result:
    """Make the result of a build that failed."""
    return Result(error=ErrorResult(field=error.field, message=error.message, hint=error.hint))


def _as_it_is(document: dict[str, Any]) -> None:
    """Leave everything."""


def _without_layers_keys(document: dict[str, Any]) -> None:
    for layer in document.get("layers", ()):
        layer.pop("key", None)


def _first_of_lists(document: dict[str, Any]) -> None:
    for name in ("layers", "sources"):
        if name in document:
            document[name] = document[name][:8]


def _without_lists(document: dict[str, Any]) -> None:
    for name in ("layers", "sources"):
        document.pop(name, None)


def _with_short_texts(document: dict[str, Any]) -> None:
    for key, value in document.items():
        if isinstance(value, dict):
            _with_short_texts(value)
        elif isinstance(value, str) and len(value.encode()) > _LONGEST:
            document[key] = f"{value.encode()[: _LONGEST - 3].decode(errors='ignore')}..."


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
