"""Layers onto a base image in a registry: what is there is taken, what is not is streamed, tags come last."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Self

from torchserve_operator.builder import upload
from torchserve_operator.builder.cancel import BuildCancelledError
from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.image import (
    ANNOTATION_OWNER,
    Base,
    Composed,
    Layer,
    Platform,
    annotation,
    check_base,
    check_manifest,
    choose,
    is_index,
    layers_by_key,
    parse_config,
)
from torchserve_operator.builder.layers import LayerSource
from torchserve_operator.builder.progress import Progress
from torchserve_operator.builder.registry import Repository
from torchserve_operator.builder.tar_layer import TarLayer

PARALLEL_COPIES = 4


@dataclass(frozen=True, slots=True)
class Appended:
    """A layer that is in the repository now; `reused` if it was there before."""

    layer: Layer
    reused: bool


def resolve(repository: Repository, version: str, reference: str, wanted: Platform) -> Base:
    """Get the base image's documents for a platform.

    Args:
        repository: The base's.
        version: Its tag or digest.
        reference: As the user wrote it.
        wanted: The platform.

    Raises:
        BuildError: There is none, or none that can be appended to.
    """
    manifest = repository.manifest(version)
    if is_index(manifest.media_type):
        manifest = repository.manifest(choose(manifest.document, wanted, reference))
    check_manifest(manifest.media_type, manifest.document, reference)
    descriptor = manifest.document["config"]
    config = parse_config(repository.read_blob(descriptor["digest"], descriptor["size"]), reference)
    base = Base(reference, manifest.digest, manifest.media_type, manifest.document, config)
    check_base(base, wanted)
    return base


def reusable(target: Repository, previous: str | None) -> dict[str, Layer]:
    """Return the layers of an earlier image of this repository by key; none if it is gone.

    Args:
        target: The repository.
        previous: Tag or digest in it; None for no earlier image.
    """
    found = target.find_manifest(previous) if previous else None
    return layers_by_key(found.document) if found else {}


def put_layer(target: Repository, source: LayerSource, known: Mapping[str, Layer], progress: Progress) -> Appended:
    """Take the layer that is there, or make and upload it.

    Raises:
        BuildError: Its source or the registry fails.
    """
    there = known.get(source.key)
    if there is not None and target.has_blob(there.digest):
        return Appended(Layer(source.name, source.key, there.digest, there.size), reused=True)
    progress.enter("fetch", source.model)
    files = source.files()
    progress.enter("layers", source.model)
    tar = TarLayer(source.root.strip("/"), files, source.field)
    progress.expect(tar.size)
    blob = upload.Blob(f"the layer of {source.name}", tar.size, tar.chunks)
    return Appended(Layer(source.name, source.key, upload.upload(target, blob, progress.sent), tar.size), reused=False)


class BaseCopy:
    """The base's blobs on their way into the target, at most four at once, beside whatever else is done.

    Args:
        base: Whose blobs.
        source: Where they are.
        target: Where they shall be.
        progress: Told of what is sent.
    """

    def __init__(self, base: Base, source: Repository, target: Repository, progress: Progress) -> None:
        self._source, self._target, self._progress = source, target, progress
        self._cancellation = target.registry.cancellation
        self._pool = ThreadPoolExecutor(PARALLEL_COPIES, "base")
        self._copies = [self._pool.submit(self._copy, blob) for blob in base.blobs]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is not None:
            # What is under way looks here after each piece, and deletes its upload.
            self._cancellation.cancel()
        self._pool.shutdown(cancel_futures=True)
        if isinstance(error, BuildCancelledError):
            self._raise_cause()

    def finish(self) -> None:
        """Wait for all blobs.

        Raises:
            BuildError: One cannot be had or written.
        """
        wait(self._copies, return_when=FIRST_EXCEPTION)
        self._raise_cause()
        for copy in self._copies:
            copy.result()

    def _raise_cause(self) -> None:
        """Raise what made a copy fail; that another one was made to give up for it is not the cause."""
        for copy in self._copies:
            error = copy.exception() if copy.done() and not copy.cancelled() else None
            if error is not None and not isinstance(error, BuildCancelledError):
                raise error

    def _copy(self, descriptor: Mapping[str, Any]) -> None:
        try:
            self._take_over(descriptor)
        except BaseException:
            self._cancellation.cancel()
            raise

    def _take_over(self, descriptor: Mapping[str, Any]) -> None:
        digest, size = descriptor["digest"], descriptor["size"]
        if self._target.has_blob(digest):
            return
        same = self._source.registry.name == self._target.registry.name
        if same and upload.mount(self._target, digest, self._source.path):
            return
        self._progress.expect(size)
        blob = upload.Blob("a layer of the base image", size, lambda: self._source.blob(digest, size), digest)
        upload.upload(self._target, blob, self._progress.sent)


def push(target: Repository, image: Composed, progress: Progress) -> None:
    """Upload config and manifest by digest. Whoever looks by tag sees nothing of it yet.

    Raises:
        BuildError: The registry refuses.
    """
    config = upload.of_bytes("the config", image.config)
    if not target.has_blob(config.digest):
        progress.expect(config.size)
        upload.upload(target, config, progress.sent)
    target.put_manifest(image.digest, image.media_type, image.manifest)


def untaken(target: Repository, tags: Sequence[str], owner: str) -> dict[str, str]:
    """Return the digest that each tag has now, empty where it has none.

    Raises:
        BuildError: A tag is another resource's: two builds would take it from each other again and again.
    """
    digests = {}
    for tag in tags:
        found = target.find_manifest(tag)
        holder = annotation(found.document, ANNOTATION_OWNER) if found else ""
        if holder and holder != owner:
            message = f"the tag {tag} of {target.reference.name} is the image of {holder}"
            raise BuildError("spec.build.tags", message, "give each resource tags or a repository of its own")
        digests[tag] = found.digest if found else ""
    return digests


def tag(target: Repository, image: Composed, tags: Iterable[str]) -> None:
    """Give an image that was pushed its tags.

    Raises:
        BuildError: The registry refuses.
    """
    for each in tags:
        target.put_manifest(each, image.media_type, image.manifest)
