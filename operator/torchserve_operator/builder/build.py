"""One build from its plan to its result; read `build` from top to bottom."""

import contextlib
import platform as machine
import resource
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torchserve_operator.builder import append
from torchserve_operator.builder.image import (
    ANNOTATION_KEY,
    FIELD_BASE,
    LABEL_MODELS,
    Base,
    Composed,
    Extras,
    Layer,
    Platform,
    annotation,
    compose,
    layers_by_key,
    parse_platform,
)
from torchserve_operator.builder.layers import SITE, LayerSource, content_tag, image_key
from torchserve_operator.builder.plan import BaseResult, LayerResult, Plan, Result, SourceResult
from torchserve_operator.builder.progress import Progress
from torchserve_operator.builder.reference import Reference, parse, parse_repository
from torchserve_operator.builder.registry import Manifest, Registries

FIELD_REPOSITORY = "spec.build.repository"

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}


@dataclass(frozen=True)
class Surroundings:
    """What a build works with.

    Attributes:
        registries: All of them.
        open_layers: Makes the layers-to-be of a plan: finds out what each source is, and reads no more.
        progress: Told of everything.
        scratch_bytes: The most that lay on scratch space so far.
    """

    registries: Registries
    open_layers: Callable[[Plan], Sequence[LayerSource]]
    progress: Progress = field(default_factory=Progress)
    scratch_bytes: Callable[[], int] = lambda: 0


def build(plan: Plan, surroundings: Surroundings) -> Result:
    """Make the image, or find that it is there.

    Raises:
        BuildError: There is none, and no tag was moved.
    """
    progress, registries = surroundings.progress, surroundings.registries
    repository = parse_repository(plan.repository, FIELD_REPOSITORY)
    target = registries.repository(repository, FIELD_REPOSITORY, push=True)
    wanted = parse_platform(plan.platform) if plan.platform else own_platform()
    reference = parse(plan.base, FIELD_BASE)
    source = registries.repository(reference, FIELD_BASE)
    base = append.resolve(source, reference.version, plan.base, wanted)

    sources = surroundings.open_layers(plan)
    labels = _labels(plan)
    key = image_key(base.digest, plan.owner, (each.key for each in sources), labels)
    own_tag = content_tag(key)
    tags = append.untaken(target, plan.tags, plan.owner)
    there = target.find_manifest(own_tag)
    if there is not None and annotation(there.document, ANNOTATION_KEY) == key:
        image = Composed(b"", there.body, there.media_type)
        append.tag(target, image, [tag for tag, digest in tags.items() if digest != image.digest])
        layers = _layers_of(there, sources)
        return _result(
            plan, surroundings, base=base, key=key, layers=layers, sources=sources, image=repository.at(image.digest)
        )

    known = append.reusable(target, _previous(plan, repository, tags))
    with append.BaseCopy(base, source, target, progress) as copies:
        layers = [append.put_layer(target, each, known, progress) for each in sources]
        progress.enter("base")
        copies.finish()
    progress.enter("push")
    python_path = SITE if any(each.root == SITE for each in sources) else ""
    extras = Extras(key, plan.owner, python_path, labels)
    image = compose(base, [each.layer for each in layers], extras)
    append.push(target, image, progress)
    # Another build may have been faster: what it took stays its own.
    append.untaken(target, plan.tags, plan.owner)
    append.tag(target, image, [own_tag, *plan.tags])
    return _result(
        plan, surroundings, base=base, key=key, layers=layers, sources=sources, image=repository.at(image.digest)
    )


def own_platform() -> Platform:
    """Return the platform that this process runs on."""
    name = machine.machine()
    return Platform("linux", _ARCHITECTURES.get(name, name))


def _labels(plan: Plan) -> dict[str, str]:
    return {LABEL_MODELS: ", ".join(sorted(f"{model.name} {model.version}" for model in plan.models))}


def _previous(plan: Plan, repository: Reference, tags: Mapping[str, str]) -> str | None:
    """Where layers may be taken from: the last build's image, else whatever has one of the tags."""
    if plan.previous:
        previous = parse(plan.previous, "")
        if previous.name == repository.name:
            return previous.version
    return next((digest for digest in tags.values() if digest), None)


def _layers_of(there: Manifest, sources: Sequence[LayerSource]) -> list[append.Appended]:
    known = layers_by_key(there.document)
    return [append.Appended(known[each.key], reused=True) for each in sources if each.key in known]


def _result(
    plan: Plan,
    surroundings: Surroundings,
    *,
    base: Base,
    key: str,
    layers: Sequence[append.Appended],
    sources: Sequence[LayerSource],
    image: Reference,
) -> Result:
    progress = surroundings.progress
    progress.enter("done")
    return Result(
        image=str(image),
        digest=image.digest,
        key=key,
        base=BaseResult(reference=plan.base, digest=base.digest),
        layers=[_layer_result(each.layer, each.reused) for each in layers],
        sources=[SourceResult(model=each.model, identity=each.identity) for each in sources],
        seconds=progress.seconds(),
        bytes_uploaded=progress.bytes_sent,
        scratch_bytes=surroundings.scratch_bytes(),
        memory_peak_bytes=memory_peak(),
    )


def _layer_result(layer: Layer, reused: bool) -> LayerResult:
    return LayerResult(name=layer.name, key=layer.key, digest=layer.digest, size=layer.size, reused=reused)


def memory_peak() -> int:
    """Return the most bytes of memory that this process had resident."""
    # getrusage counts what the parent had when it forked; the kernel's own figure is begun anew by exec.
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
