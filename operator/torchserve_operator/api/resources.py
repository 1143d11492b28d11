"""Compute resources: what a container asks for and may use."""

from typing import Annotated

from pydantic import Field

from torchserve_operator.api.base import Model, Quantity

ResourceList = Annotated[
    dict[Annotated[str, Field(max_length=317)], Quantity],
    Field(max_length=32),
]


class Resources(Model):
    """What one pod asks for and may use. Heap, threads and worker defaults follow from the limits."""

    requests: ResourceList = Field(default_factory=dict)
    """What is set aside: cpu, memory, ephemeral-storage, and extended resources such as nvidia.com/gpu."""
    limits: ResourceList = Field(default_factory=dict)
    """What may be used. GPUs go here: nvidia.com/gpu, nvidia.com/mig-1g.10gb, amd.com/gpu, gpu.intel.com/i915."""
