"""The TorchServeModel resource: its whole spec. The one source of the CRD, the reference docs and validation."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from torchserve_operator.api.base import IntOrPercent, Model, Rule
from torchserve_operator.api.build import BuildSpec
from torchserve_operator.api.models import ModelSpec
from torchserve_operator.api.names import KIND, NAME_MAX_LENGTH
from torchserve_operator.api.pod import Annotations, PodSpec
from torchserve_operator.api.resources import Resources
from torchserve_operator.api.server import LoggingSpec, ServerSpec


class RolloutSpec(Model):
    """How a change reaches the pods."""

    strategy: Literal["Surge", "Replace"] = "Surge"
    """`Surge` starts a new pod before an old one stops: nothing is lost, one spare pod's resources are needed.
    `Replace` stops the old one first: for GPU nodes without a spare."""


class ServiceSpec(Model):
    """The Service in front of the pods."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    """The Service's type."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """The Service's port. Default: 80, or 443 with `server.tls`."""
    annotations: Annotations = Field(default_factory=dict)
    """Annotations, such as a cloud load balancer's."""


class PodDisruptionBudgetSpec(Model):
    """What a drain may take; written when there is more than one replica."""

    enabled: bool = True
    """Whether it is written at all."""
    min_available: IntOrPercent | None = None
    """How many pods must stay."""
    max_unavailable: IntOrPercent | None = None
    """How many pods may go at once. Default: 1."""

    rules: ClassVar = (
        Rule(
            "!(has(self.minAvailable) && has(self.maxUnavailable))",
            "set only one of minAvailable and maxUnavailable",
            lambda m: m.min_available is None or m.max_unavailable is None,
        ),
    )


class TorchServeModelSpec(Model):
    """What is wanted."""

    image: Annotated[str, Field(pattern=r"^[^\s]+$", max_length=1024, min_length=1)] | None = None
    """An image that has TorchServe and the models baked in. Pin it by digest: a tag may change under you."""
    build: BuildSpec | None = None
    """How the image is built in the cluster, instead of `image`."""
    models: Annotated[
        list[ModelSpec],
        Field(
            min_length=1,
            max_length=64,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ]
    """The models that the server serves, by name."""
    server: ServerSpec = Field(default_factory=ServerSpec)
    """The server's configuration."""
    logging: LoggingSpec = Field(default_factory=LoggingSpec)
    """The server's logging."""
    resources: Resources = Field(default_factory=Resources)
    """The server's compute resources."""
    replicas: Annotated[int, Field(ge=0, le=10000)] = 1
    """How many pods are wanted."""
    rollout: RolloutSpec = Field(default_factory=RolloutSpec)
    """How a change reaches the pods."""
    service: ServiceSpec = Field(default_factory=ServiceSpec)
    """The Service in front of the pods."""
    pod_disruption_budget: PodDisruptionBudgetSpec = Field(default_factory=PodDisruptionBudgetSpec)
    """What a drain may take."""
    pod: PodSpec = Field(default_factory=PodSpec)
    """What may be set on the pods."""
    paused: bool = False
    """Stops the operator's writes to this resource's children, and starts no build; status is still reported."""

    rules: ClassVar = (
        Rule(
            "has(self.image) != has(self.build)",
            "set exactly one of image and build",
            lambda m: (m.image is None) != (m.build is None),
        ),
        Rule(
            "has(self.build) || !self.models.exists(m, has(m.archive) || has(m.package))",
            "archive and package are for a build: set spec.build, or take a model of the image by path",
            lambda m: m.build is not None or all(model.archive is None and model.package is None for model in m.models),
            field="models",
        ),
    )


NAME_RULES = (
    {
        "rule": f"size(self.metadata.name) <= {NAME_MAX_LENGTH}",
        "message": f"a {KIND}'s name has at most {NAME_MAX_LENGTH} characters, "
        "because its children's names are made of it",
        "fieldPath": ".metadata.name",
    },
    {
        "rule": "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "message": f"a {KIND}'s name is a DNS label that starts with a letter (a-z, 0-9 and -), "
        "because it names a Service",
        "fieldPath": ".metadata.name",
    },
)
"""CEL rules over the resource's name, at the schema's root."""
