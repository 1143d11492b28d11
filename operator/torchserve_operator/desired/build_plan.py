"""What an image is built of, and the plan that the builder gets. Pure.

Two hashes stand for a spec. The *key* covers what the image depends on: while it is the one of the last build, nothing
is built. The *attempt* covers everything that a build's Job is made of, credentials and limits included: a failed one
is not tried again until it changes. Neither has anything of the operator in it: a new one, with a newer builder or a
newer default base image, rebuilds nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from torchserve_operator.api.build import BuildSpec, FolderSource
from torchserve_operator.api.models import ModelSpec
from torchserve_operator.api.quantity import parse_quantity
from torchserve_operator.api.spec import TorchServeModelSpec
from torchserve_operator.builder.plan import Plan, PlannedModel, PlannedRequirements
from torchserve_operator.desired.objects import Object
from torchserve_operator.desired.sizing import size
from torchserve_operator.kube.drift import digest

_NOT_CONTENT: Final = {"credentialsSecretName", "maxSize"}
"""How a source is read; what is read, they do not change."""
_WORDS: Final = {
    "base": "the base image",
    "destination": "the repository or its tags",
    "model store": "the model store",
    "platform": "the platform",
    "requirements": "the requirements",
    "revision": "the revision",
}


@dataclass(frozen=True, slots=True)
class BuildDefaults:
    """The operator's settings that builds follow.

    Attributes:
        builder_image: This project's image; empty where nobody said which.
        base_images: The base image for each device, where a resource names none.
        registry_mirrors: Where the builder reaches a registry whose name only the nodes know, by host.
        allow_http_sources: Whether sources may be read by plain HTTP.
        ttl_seconds: How long a finished Job is kept.
    """

    builder_image: str = ""
    base_images: Mapping[Literal["cpu", "gpu"], str] = field(
        default_factory=lambda: {"cpu": "pytorch/torchserve:0.12.0-cpu", "gpu": "pytorch/torchserve:0.12.0-gpu"}
    )
    registry_mirrors: Mapping[str, str] = field(default_factory=dict)
    allow_http_sources: bool = False
    ttl_seconds: int = 3600


@dataclass(frozen=True, slots=True)
class BuildInputs:
    """What a spec's image is built of.

    Attributes:
        parts: The hash of each part, by its name.
        key: The hash of all parts.
        attempt: The hash of everything that the Job is made of.
    """

    parts: Mapping[str, str]
    key: str
    attempt: str


def build_inputs(spec: TorchServeModelSpec, build: BuildSpec) -> BuildInputs:
    """Return what the image of a spec is built of."""
    parts = {
        "base": digest(build.base_image or {"default": device(spec)}),
        "destination": digest([build.repository, sorted(build.tags)]),
        "model store": digest(spec.server.model_store),
        "platform": digest(build.platform),
        "revision": digest(build.revision),
    }
    if build.requirements or build.requirements_from:
        listed = None if build.requirements_from is None else build.requirements_from.model_dump(mode="json")
        parts["requirements"] = digest([build.requirements, listed, build.index_secret_name])
    for model in built_models(spec):
        parts[f"model {model.name}"] = digest(_without(_model(model), _NOT_CONTENT))
    pod = spec.pod.model_dump(
        by_alias=True,
        exclude_defaults=True,
        mode="json",
        include={
            "fs_group",
            "image_pull_secrets",
            "run_as_group",
            "run_as_user",
            "service_account_name",
            "supplemental_groups",
            "tolerations",
        },
    )
    whole = build.model_dump(by_alias=True, exclude_defaults=True, mode="json")
    models = [_model(model) for model in built_models(spec)]
    return BuildInputs(parts, digest(parts), digest([parts, whole, models, pod]))


def built_models(spec: TorchServeModelSpec) -> list[ModelSpec]:
    """Return the models that come into the image by its build."""
    return [model for model in spec.models if model.archive is not None or model.package is not None]


def sources(spec: TorchServeModelSpec) -> dict[str, FolderSource]:
    """Return every model's source, by its field."""
    found: dict[str, FolderSource] = {}
    for index, model in enumerate(spec.models):
        if model.archive is not None:
            found[f"spec.models[{index}].archive"] = model.archive
        if model.package is not None:
            found[f"spec.models[{index}].package.source"] = model.package.source
    return found


def claim_of(source: FolderSource) -> str | None:
    """Return the claim that a source lies in, or None."""
    scheme, _, place = (source.url or "").partition("://")
    return place.partition("/")[0] if scheme == "pvc" else None


def device(spec: TorchServeModelSpec) -> Literal["cpu", "gpu"]:
    """Return what the image's models run on: a GPU if one of them does."""
    return "gpu" if "gpu" in size(spec).device_types.values() else "cpu"


def base_image(spec: TorchServeModelSpec, build: BuildSpec, defaults: BuildDefaults) -> str:
    """Return the base image's reference."""
    return build.base_image or defaults.base_images[device(spec)]


def build_plan(
    resource: Mapping[str, Any],
    spec: TorchServeModelSpec,
    build: BuildSpec,
    defaults: BuildDefaults,
    *,
    requirements: list[str],
    previous: str | None = None,
) -> Object:
    """Return the content of plan.json.

    Args:
        resource: The resource's metadata.
        spec: Its spec.
        build: Its `spec.build`.
        defaults: The operator's settings.
        requirements: The requirements, checked, one line each.
        previous: The image of the build before, whose layers may be used again.
    """
    plan = Plan(
        owner=f"{resource['namespace']}/{resource['name']}",
        base=base_image(spec, build, defaults),
        repository=build.repository,
        tags=build.tags,
        platform=build.platform or "",
        registry_mirrors=dict(defaults.registry_mirrors),
        allow_http_sources=defaults.allow_http_sources,
        models=[
            PlannedModel(
                name=model.name,
                version=model.version,
                archive=model.archive,
                package=model.package,
                field=f"spec.models[{index}]",
            )
            for index, model in enumerate(spec.models)
            if model.archive is not None or model.package is not None
        ],
        model_store=spec.server.model_store,
        requirements=PlannedRequirements(present=bool(requirements), pins=requirements),
        revision=build.revision,
        spool_limit=int(parse_quantity(build.spool_limit)),
        previous=previous,
    )
    return plan.model_dump(mode="json", by_alias=True, exclude_none=True)


def why(before: Mapping[str, str] | None, after: Mapping[str, str]) -> str:
    """Return in words what an image is built anew for.

    Args:
        before: The parts of the last build; None where there was none.
        after: The parts as wanted.
    """
    if before is None:
        return "the first build"
    changed = [_WORDS.get(part, part) for part in after if part in before and before[part] != after[part]]
    added = [_WORDS.get(part, part) for part in after if part not in before]
    gone = [_WORDS.get(part, part) for part in before if part not in after]
    said = [
        f"{', '.join(words)} {what}" for words, what in ((changed, "changed"), (added, "new"), (gone, "gone")) if words
    ]
    return "; ".join(said) or "its image is not on record"


def _model(model: ModelSpec) -> Object:
    return model.model_dump(
        by_alias=True, exclude_none=True, mode="json", include={"name", "version", "archive", "package"}
    )


def _without(value: Any, keys: set[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(item, keys) for key, item in value.items() if key not in keys}
    return value
