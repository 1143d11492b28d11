"""GPUs that are asked for against GPUs that models use. Pure.

TorchServe serves on the CPU, silently, when a GPU is missing, and ignores a deviceId that is out of range.
"""

from collections.abc import Iterator

from torchserve_operator.api.errors import FieldError
from torchserve_operator.api.explain import path_of
from torchserve_operator.api.models import ModelSpec
from torchserve_operator.api.spec import TorchServeModelSpec
from torchserve_operator.desired.gpus import Gpus, gpus_of


def device_errors(spec: TorchServeModelSpec) -> Iterator[FieldError]:
    """Yield where `resources.limits`, `server.numberOfGpu`, `deviceType` and `deviceIds` do not fit."""
    gpus = gpus_of(spec.resources.limits)
    usable = gpus.count if spec.server.number_of_gpu is None else min(gpus.count, spec.server.number_of_gpu)
    yield from _kinds(gpus)
    if (spec.server.number_of_gpu or 0) > gpus.count:
        yield FieldError(
            "spec.server.numberOfGpu",
            f"is {spec.server.number_of_gpu}, and spec.resources.limits asks for {_count(gpus.count)}; "
            "raise the limit, or leave numberOfGpu out",
        )
    if gpus.count and all(model.device_type == "cpu" for model in spec.models):
        yield FieldError(
            path_of(("resources", "limits", gpus.names[0])),
            f"asks for {_count(gpus.count)}, and every model has deviceType cpu; drop the GPU or the deviceType",
        )
    for index, model in enumerate(spec.models):
        yield from _model(model, f"spec.models[{index}]", gpus, usable)


def _kinds(gpus: Gpus) -> Iterator[FieldError]:
    path = path_of(("resources", "limits", *gpus.names[-1:]))
    if len(gpus.names) > 1:
        yield FieldError(path, f"a pod takes one kind of GPU, not {' and '.join(gpus.names)}; keep one")
    elif gpus.slices > 1:
        yield FieldError(
            path,
            f"is {gpus.slices}; a process sees one MIG slice, so the others would idle: ask for 1 and raise replicas, "
            "or for a larger slice",
        )


def _model(model: ModelSpec, path: str, gpus: Gpus, usable: int) -> Iterator[FieldError]:
    ids = model.device_ids or []
    if gpus.count == 0 and (model.device_type == "gpu" or ids):
        field, given = ("deviceType", "is gpu") if model.device_type == "gpu" else ("deviceIds", f"is {ids}")
        yield FieldError(
            f"{path}.{field}",
            f"{given}, and spec.resources.limits asks for no GPU; add one, such as nvidia.com/gpu: 1 "
            "(or amd.com/gpu, gpu.intel.com/i915, gpu.intel.com/xe, nvidia.com/mig-1g.10gb)",
        )
        return
    beyond = [number for number in ids if number >= usable]
    if beyond:
        known = ", ".join(map(str, range(usable))) or "none"
        yield FieldError(
            f"{path}.deviceIds",
            f"{', '.join(map(str, beyond))}: the pod has {_count(usable)}, counted from 0: {known}",
        )
    elif model.device_type == "gpu" and usable == 0:
        yield FieldError(f"{path}.deviceType", "is gpu, and spec.server.numberOfGpu is 0; leave one of both out")


def _count(gpus: int) -> str:
    return {0: "no GPU", 1: "1 GPU"}.get(gpus, f"{gpus} GPUs")
