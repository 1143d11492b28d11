"""`spec.models`: what one server serves."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from torchserve_operator.api.base import FreeObject, Model, Rule
from torchserve_operator.api.build import PackageSpec, SourceSpec

TYPED_MODEL_KEYS = (
    "minWorkers",
    "maxWorkers",
    "batchSize",
    "maxBatchDelay",
    "responseTimeout",
    "startupTimeout",
    "deviceType",
    "deviceIds",
)
"""Keys of model-config.yaml that are fields of ModelSpec and therefore refused in `parameters`."""


class ModelSpec(Model):
    """One model and its workers. What it says wins over a model-config.yaml in the image."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$", max_length=63, min_length=1)]
    """The model's name, as in `/predictions/NAME`."""
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][-A-Za-z0-9_.]*$", max_length=63)] = "1.0"
    """The model's version."""
    path: Annotated[str, Field(pattern=r"^[^\n]+$", max_length=512)] | None = None
    """Where the model lies: a folder (an exploded archive) or a `.mar` file, relative to `server.modelStore` or
    absolute. Default: the model's name, as a folder or with `.mar`."""
    archive: SourceSpec | None = None
    """With `spec.build`: a ready archive (`.mar`, `.tgz` or `.tar.gz`) that is put into the image, exploded."""
    package: PackageSpec | None = None
    """With `spec.build`: the model's parts, packed into the image."""
    min_workers: Annotated[int, Field(ge=0, le=1000)] | None = None
    """The least number of workers. Default: `server.defaultWorkersPerModel`."""
    max_workers: Annotated[int, Field(ge=1, le=1000)] | None = None
    """The largest number of workers. Default: `minWorkers`."""
    batch_size: Annotated[int, Field(ge=1, le=100000)] | None = None
    """How many requests one worker gets at once. TorchServe's default is 1."""
    max_batch_delay: Annotated[int, Field(ge=0, le=3600000)] | None = None
    """How long a batch waits for more requests, in milliseconds. TorchServe's default is 100."""
    response_timeout: Annotated[int, Field(ge=1, le=86400)] = 120
    """How long one batch may take, in seconds; then its worker is restarted."""
    startup_timeout: Annotated[int, Field(ge=1, le=86400)] = 120
    """How long loading may take, in seconds; the startup probe follows it."""
    device_type: Literal["cpu", "gpu"] | None = None
    """What the workers run on. Default: `gpu` where `resources` asks for one, else `cpu`."""
    device_ids: (
        Annotated[
            list[Annotated[int, Field(ge=0, le=63)]],
            Field(max_length=64, min_length=1, json_schema_extra={"x-kubernetes-list-type": "set"}),
        ]
        | None
    ) = None
    """Which of the pod's GPUs the workers may use, counted from 0. Default: all."""
    parameters: Annotated[FreeObject, Field(max_length=256)] = Field(default_factory=dict)
    """Further keys of model-config.yaml: the handler's own, and TorchServe's that have no field here."""

    rules: ClassVar = (
        Rule(
            "(has(self.path) ? 1 : 0) + (has(self.archive) ? 1 : 0) + (has(self.package) ? 1 : 0) <= 1",
            "set at most one of path, archive and package",
            lambda m: [m.path, m.archive, m.package].count(None) >= 2,
        ),
        Rule(
            "!has(self.path) || !self.path.split('/').exists(part, part == '..')",
            "path must not contain ..",
            lambda m: m.path is None or ".." not in m.path.split("/"),
            field="path",
        ),
        Rule(
            "!has(self.minWorkers) || !has(self.maxWorkers) || self.minWorkers <= self.maxWorkers",
            "minWorkers must not be greater than maxWorkers",
            lambda m: m.min_workers is None or m.max_workers is None or m.min_workers <= m.max_workers,
            field="minWorkers",
        ),
        Rule(
            "!has(self.deviceIds) || !has(self.deviceType) || self.deviceType == 'gpu'",
            "deviceIds are GPUs: set deviceType to gpu, or leave deviceIds out",
            lambda m: m.device_ids is None or m.device_type in {None, "gpu"},
            field="deviceIds",
        ),
    )
