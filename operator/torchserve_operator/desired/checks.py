"""What a spec's fields must say together: everything that the schema cannot. Pure.

Each error names the numbers that do not fit and what would: TorchServe takes most of these in silence, and answers
slowly, or never, or with an empty page of metrics.
"""

from torchserve_operator.api.errors import FieldError
from torchserve_operator.api.spec import TorchServeModelSpec
from torchserve_operator.desired.build_checks import build_errors
from torchserve_operator.desired.device_checks import device_errors
from torchserve_operator.desired.environment import environment_errors
from torchserve_operator.desired.jvm_checks import jvm_errors
from torchserve_operator.desired.metrics_config import metrics_config_errors
from torchserve_operator.desired.properties import property_errors
from torchserve_operator.desired.resource_checks import resource_errors
from torchserve_operator.desired.server_checks import server_errors
from torchserve_operator.desired.sizing import size
from torchserve_operator.desired.worker_checks import worker_errors


def cross_checks(spec: TorchServeModelSpec) -> list[FieldError]:
    """Return every error between the fields of a spec that is valid field by field."""
    sizing = size(spec)
    return [
        *resource_errors(spec),
        *device_errors(spec),
        *worker_errors(spec, sizing),
        *jvm_errors(spec, sizing),
        *server_errors(spec, sizing),
        *property_errors(spec),
        *metrics_config_errors(spec),
        *environment_errors(spec),
        *build_errors(spec),
    ]
