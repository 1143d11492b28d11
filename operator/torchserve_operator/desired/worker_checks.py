"""Workers, batches and the queue before them. Pure."""

from collections.abc import Iterator

from torchserve_operator.api.errors import FieldError
from torchserve_operator.api.spec import TorchServeModelSpec
from torchserve_operator.desired.sizing import Sizing


def worker_errors(spec: TorchServeModelSpec, sizing: Sizing) -> Iterator[FieldError]:
    """Yield bounds that cross by a default, and a queue that is too short for the batches."""
    for index, model in enumerate(spec.models):
        bounds, path = sizing.workers[model.name], f"spec.models[{index}]"
        if model.min_workers is None and bounds.minimum > bounds.maximum:
            # TorchServe takes it, and runs the larger number.
            yield FieldError(
                f"{path}.maxWorkers",
                f"is {bounds.maximum}, less than minWorkers, which is spec.server.defaultWorkersPerModel "
                f"({bounds.minimum}) here; set {path}.minWorkers",
            )
        batch, queue = model.batch_size or 1, spec.server.job_queue_size
        if queue is not None and queue < batch * bounds.maximum:
            yield FieldError(
                "spec.server.jobQueueSize",
                f"is {queue}, less than the batches of all workers of {path} ({model.name}) hold: batchSize {batch} "
                f"x maxWorkers {bounds.maximum} = {batch * bounds.maximum}; a full queue answers 503 while workers "
                f"wait for a batch: set at least {batch * bounds.maximum}",
            )
