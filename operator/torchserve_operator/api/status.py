"""The TorchServeModel's status, as the operator writes it."""

from typing import Annotated, Literal

from pydantic import Field

from torchserve_operator.api.base import Model


class Condition(Model):
    """metav1.Condition."""

    type: Annotated[str, Field(max_length=316, min_length=1)]
    """The condition's name: Ready, Available, ImageReady, ModelsReady, Reconciling or Stalled."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: Annotated[str, Field(max_length=1024, min_length=1)]
    """A documented constant."""
    message: Annotated[str, Field(max_length=32768)]
    """The cause, for people; carries no times."""
    last_transition_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """When `status` last changed."""
    observed_generation: int
    """The generation that it was decided for."""


class ModelStatus(Model):
    """One model, over all pods of the current generation."""

    name: str
    """The model's name."""
    version: str
    """The model's version."""
    ready_workers: int
    """Workers that answer."""
    desired_workers: int
    """`minWorkers` on every wanted replica."""


class BuildSource(Model):
    """What one source was when it was read."""

    model: str
    """The model's name."""
    identity: str
    """A digest, an ETag, a version, or a time and a size."""


class BuildFailure(Model):
    """Why the image of the current spec is not there."""

    attempt: str
    """What was tried: the hash of everything that the build's Job is made of."""
    job: str
    """The Job; deleted before its time, it is made once more."""
    message: str
    """The field, what is wrong, and what to do about it."""
    time: str
    """When it failed."""


class BuildStatus(Model):
    """The last image that was built, and a failure since."""

    key: str | None = None
    """The hash of what the image was built of."""
    image: str | None = None
    """The image, by digest."""
    base: str | None = None
    """The base image, as named."""
    base_digest: str | None = None
    """The digest that the base image's name stood for."""
    revision: str | None = None
    """`spec.build.revision` of that build."""
    started_at: str | None = None
    """When its Job was made."""
    seconds: int | None = None
    """How long it took, from the Job's start to its end."""
    sources: Annotated[list[BuildSource], Field(max_length=64)] | None = None
    """What each mutable source was."""
    why: str | None = None
    """What had changed since the build before it."""
    parts: Annotated[dict[str, str], Field(max_length=128)] | None = None
    """The hash of each part of what it was built of."""
    failure: BuildFailure | None = None
    """The failed build of the current spec."""


class TorchServeModelStatus(Model):
    """What is observed."""

    observed_generation: int | None = None
    """The generation that this status was decided for."""
    replicas: int | None = None
    """Pods that exist."""
    ready_replicas: int | None = None
    """Pods that answer."""
    selector: str | None = None
    """The pods' label selector, for the scale subresource."""
    image: str | None = None
    """The running image, by digest where the kubelet tells it."""
    url: str | None = None
    """The Service's address inside the cluster."""
    version: str | None = None
    """The models' versions, for `kubectl get`."""
    workers: str | None = None
    """Ready and wanted workers, such as `3/4`, for `kubectl get`."""
    models: (
        Annotated[
            list[ModelStatus],
            Field(
                max_length=64,
                json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
            ),
        ]
        | None
    ) = None
    """Each model's workers."""
    build: BuildStatus | None = None
    """The image's build, with `spec.build`."""
    conditions: (
        Annotated[
            list[Condition],
            Field(
                max_length=16,
                json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
            ),
        ]
        | None
    ) = None
    """Ready, Available, ImageReady, ModelsReady, Reconciling, Stalled."""
