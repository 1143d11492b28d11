"""`spec.build`, and the models' sources: what an image is built of."""

import re
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from torchserve_operator.api.base import DnsName, FreeObject, Model, Quantity, Rule
from torchserve_operator.api.resources import ResourceList

HANDLERS: Final = ("image_classifier", "image_segmenter", "object_detector", "text_classifier")
"""TorchServe's own handlers, by the names that torch-model-archiver knows."""
SCHEMES: Final = ("https", "http", "s3", "pvc", "gs", "az", "hf")
"""Where a source may lie."""

_URL: Final = f"({'|'.join(SCHEMES)})://[^/?#[:cntrl:] ][^[:cntrl:] ]*"
_USER_INFO: Final = "(https?|s3)://[^/?#]*@"
_HOST: Final = "[a-zA-Z0-9][-a-zA-Z0-9]*"
_REPOSITORY: Final = (
    # as everywhere, a first part with neither a dot nor a port is no registry
    rf"((\[[0-9a-fA-F:]+\]|localhost|{_HOST}([.]{_HOST})+)(:[0-9]{{1,5}})?|{_HOST}:[0-9]{{1,5}})"
    r"(/[a-z0-9]+(([.]|_{1,2}|-+)[a-z0-9]+)*)+"
)
_HANDLER: Final = rf"({'|'.join(HANDLERS)}|[^/\s:][^\s:]*[.]py(:[A-Za-z_][A-Za-z0-9_]*)?)"
_CLIMBS: Final = "(^|/)[.][.](/|$)"

RelativePath = Annotated[str, Field(pattern=r"^[^/\\\s][^\\\n\r\t]*$", max_length=512)]
"""A file or folder below a source's root."""
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)]
"""A Python name."""
LocalKey = Annotated[str, Field(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253)]


def _matches(pattern: str, text: str | None) -> bool:
    """Return whether the whole text matches; an absent one does."""
    # RE2 has [:cntrl:] where Python has ranges
    return text is None or re.fullmatch(pattern.replace("[:cntrl:]", r"\x00-\x1f\x7f"), text, re.ASCII) is not None


def _climbs(*paths: str | None) -> bool:
    return any(path is not None and re.search(_CLIMBS, path) is not None for path in paths)


class FolderSource(Model):
    """Where the builder gets a folder from; exactly one of `url` and `configMapName`."""

    url: Annotated[str, Field(max_length=2048, min_length=1)] | None = None
    """`https://…`, `s3://BUCKET/KEY` (any endpoint: see the credentials), `pvc://CLAIM/PATH` of a claim in the same
    namespace; `gs://…`, `az://…` and `hf://…` where the builder's image has their packages; `http://…` where the
    operator's settings allow it. A web server has files only: a folder is in a bucket, a claim or a ConfigMap."""
    config_map_name: DnsName | None = None
    """A ConfigMap in the same namespace: its keys are the files; for an archive it has one key."""
    credentials_secret_name: DnsName | None = None
    """A Secret in the same namespace. For s3: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN,
    AWS_ENDPOINT_URL, AWS_REGION; for https: username and password, or token; for both: ca.crt for a private CA.
    Mounted in the build's pod and nowhere else."""
    max_size: Quantity | None = None
    """The most that is read, in bytes; more is an error. Default: the builder's own cap."""

    rules: ClassVar = (
        Rule(
            "has(self.url) != has(self.configMapName)",
            "set exactly one of url and configMapName",
            lambda m: (m.url is None) != (m.config_map_name is None),
        ),
        Rule(
            f"!has(self.url) || self.url.matches(r'^{_URL}$')",
            f"url is SCHEME://PLACE without spaces; SCHEME is one of {', '.join(SCHEMES)}",
            lambda m: _matches(_URL, m.url),
            field="url",
        ),
        Rule(
            f"!has(self.url) || !self.url.matches(r'^{_USER_INFO}')",
            "url must not carry a user or a password: name a Secret in credentialsSecretName",
            lambda m: m.url is None or re.match(_USER_INFO, m.url) is None,
            field="url",
        ),
        Rule(
            "has(self.url) || !has(self.credentialsSecretName)",
            "credentialsSecretName goes with url; a ConfigMap needs none",
            lambda m: m.url is not None or m.credentials_secret_name is None,
            field="credentialsSecretName",
        ),
    )


class SourceSpec(FolderSource):
    """Where the builder gets a single file from; exactly one of `url` and `configMapName`."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", max_length=64)] | None = None
    """The SHA-256 that the file must have, in hex. With it the source cannot change under you."""


class FunctionSpec(Model):
    """A model of plain functions: the operator's function handler calls them inside TorchServe's workers."""

    file: Annotated[str, Field(pattern=r"^[^/\\\s][^\\\s]*[.]py$", max_length=512)]
    """The Python file of the source that has the functions."""
    init: Identifier
    """The function that makes the model; called once in each worker with `kwargs`."""
    kwargs: Annotated[FreeObject, Field(max_length=64)] = Field(default_factory=dict)
    """Keyword arguments of `init`."""
    preprocess: Identifier | None = None
    """The function that makes one request's data into the model's input."""
    postprocess: Identifier | None = None
    """The function that makes one of the model's outputs into an answer."""
    predict: Identifier | None = None
    """The function that is called with the model and a batch. Default: the model itself."""
    checkpoint: RelativePath | None = None
    """A file of the source whose weights are loaded into the model."""
    max_gpu_memory: Quantity | None = Field(default=None, alias="maxGPUMemory")
    """The most GPU memory that one worker may take, in bytes."""

    rules: ClassVar = (
        Rule(
            f"!self.file.matches(r'{_CLIMBS}') && (!has(self.checkpoint) || !self.checkpoint.matches(r'{_CLIMBS}'))",
            "file and checkpoint are paths below the source and must not contain ..",
            lambda m: not _climbs(m.file, m.checkpoint),
        ),
    )


class PackageSpec(Model):
    """A model's parts, packed with torch-model-archiver's semantics; paths are relative to the source's root."""

    source: FolderSource
    """The folder that the parts lie in."""
    handler: Annotated[str, Field(max_length=512, min_length=1)] | None = None
    """A file with the handler (`handler.py`, or `handler.py:Class`), or one of TorchServe's own: image_classifier,
    image_segmenter, object_detector, text_classifier."""
    function: FunctionSpec | None = None
    """Functions instead of a handler."""
    model_file: RelativePath | None = None
    """The Python file with the model's one class, for an eager model."""
    serialized_file: RelativePath | None = None
    """The weights, or the TorchScript or ONNX file."""
    extra_files: Annotated[
        list[RelativePath], Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = Field(default_factory=list)
    """Further files and folders that the handler finds beside it."""
    requirements_file: RelativePath | None = None
    """A requirements file that is kept in the model; nothing installs it at start: see `build.requirements`."""
    config_file: RelativePath | None = None
    """A model-config.yaml that is kept in the model; what the resource says wins over it."""
    runtime: Literal["python", "python3"] = "python"
    """The archive's runtime."""
    unpack: Annotated[list[RelativePath], Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"})] = (
        Field(default_factory=list)
    )
    """Those of `extraFiles` that are archives (.zip, .tar, .tar.gz, .tgz) and are unpacked in the image."""

    rules: ClassVar = (
        Rule(
            "has(self.handler) != has(self.function)",
            "set exactly one of handler and function",
            lambda m: (m.handler is None) != (m.function is None),
        ),
        Rule(
            f"!has(self.handler) || self.handler.matches(r'^{_HANDLER}$')",
            f"handler is a file such as handler.py or handler.py:Class, or one of {', '.join(HANDLERS)}",
            lambda m: _matches(_HANDLER, m.handler),
            field="handler",
        ),
        Rule(
            " && ".join(
                f"(!has(self.{name}) || !self.{name}.matches(r'{_CLIMBS}'))"
                for name in ("handler", "modelFile", "serializedFile", "requirementsFile", "configFile")
            )
            + f" && (!has(self.extraFiles) || self.extraFiles.all(p, !p.matches(r'{_CLIMBS}')))",
            "paths of a package are below its source and must not contain ..",
            lambda m: (
                not _climbs(
                    m.handler, m.model_file, m.serialized_file, m.requirements_file, m.config_file, *m.extra_files
                )
            ),
        ),
        Rule(
            "!has(self.unpack) || self.unpack.all(u, has(self.extraFiles) && u in self.extraFiles)",
            "each of unpack must be one of extraFiles",
            lambda m: set(m.unpack) <= set(m.extra_files),
            field="unpack",
        ),
    )


class RequirementsSource(Model):
    """A requirements file in a ConfigMap."""

    config_map_name: DnsName
    """A ConfigMap in the same namespace."""
    key: LocalKey = "requirements.txt"
    """The key with the file."""


class BuildResources(Model):
    """What the build's pod asks for and may use."""

    requests: ResourceList = Field(default_factory=dict)
    """What is set aside. Default: 100m of CPU and 256Mi of memory."""
    limits: ResourceList = Field(default_factory=dict)
    """What may be used. Default: 2Gi of memory, most of it for pip."""


class BuildSpec(Model):
    """How the image is built: layers on a base image, pushed to a registry from an unprivileged Job."""

    base_image: Annotated[str, Field(pattern=r"^[^\s]+$", max_length=1024, min_length=1)] | None = None
    """An image with TorchServe. Default: the operator's own for the models' device; a newer default counts from the
    next build on."""
    repository: Annotated[str, Field(max_length=512, min_length=1)]
    """Where the image goes: registry and path, such as `registry.example/team/digits`, without a tag."""
    tags: Annotated[
        list[Annotated[str, Field(pattern=r"^[A-Za-z0-9_][-A-Za-z0-9_.]*$", max_length=128)]],
        Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = Field(default_factory=list)
    """Tags for people, beside the content's own (`b-KEY`); the pods use the digest."""
    platform: Annotated[str, Field(pattern=r"^linux/[a-z0-9]+(/v[0-9]+)?$", max_length=32)] | None = None
    """The platform, such as `linux/amd64`, which the build's pod then needs too. Default: that of its node."""
    push_secret_name: DnsName | None = None
    """A Secret of type kubernetes.io/dockerconfigjson, for pushing and for reading the base image. The server's pods
    pull with `pod.imagePullSecrets`."""
    requirements: Annotated[
        list[Annotated[str, Field(pattern=r"^[A-Za-z0-9][^\n\r]*$", max_length=512)]], Field(max_length=256)
    ] = Field(default_factory=list)
    """Python packages, one requirement each, such as `transformers==4.57.1`; installed beside what the base has."""
    requirements_from: RequirementsSource | None = None
    """A whole requirements file (with hashes, say) instead of `requirements`; read when a build starts, so that a
    change of it needs another `revision`."""
    index_secret_name: DnsName | None = None
    """A Secret for a package index: PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_TRUSTED_HOST, ca.crt."""
    ca_config_map_name: DnsName | None = None
    """A ConfigMap whose key ca.crt has the private CA of the registry and of the sources."""
    revision: Annotated[str, Field(pattern=r"^[^\n\r]*$", max_length=256)] = ""
    """Free text. Changed, it resolves the base image's tag, the requirements and every mutable source again."""
    resources: BuildResources = Field(default_factory=BuildResources)
    """The build's compute resources."""
    timeout_seconds: Annotated[int, Field(ge=60, le=86400)] = 3600
    """How long the whole build may take, in seconds."""
    spool_limit: Quantity = "10Gi"
    """The most scratch space for sources that cannot be read in any order, in bytes."""

    rules: ClassVar = (
        Rule(
            f"self.repository.matches(r'^{_REPOSITORY}$')",
            "repository is REGISTRY/PATH with the path in lower case, without a tag and without a digest",
            lambda m: _matches(_REPOSITORY, m.repository),
            field="repository",
        ),
        Rule(
            "!has(self.tags) || self.tags.all(t, !t.startsWith('b-'))",
            "tags that start with b- are the operator's",
            lambda m: not any(tag.startswith("b-") for tag in m.tags),
            field="tags",
        ),
        Rule(
            "!(has(self.requirements) && has(self.requirementsFrom))",
            "set only one of requirements and requirementsFrom",
            lambda m: "requirements" not in m.model_fields_set or m.requirements_from is None,
        ),
    )
