"""`spec.pod.env` against the variables that TorchServe and the operator give a meaning. Pure.

A user may replace what is a matter of taste: HOME, the caches (HF_HOME, MPLCONFIGDIR, TORCHINDUCTOR_CACHE_DIR) and
OMP_NUM_THREADS. What the agent, the logs and the configuration hang on is refused.
"""

from collections.abc import Iterator
from typing import Final

from torchserve_operator.api.errors import FieldError
from torchserve_operator.api.spec import TorchServeModelSpec
from torchserve_operator.desired.properties import PROPERTIES, Kind, refusal, wrong_value

OWN_VARIABLES: Final = {
    "LOG_LOCATION": "the agent reads the logs there; volumes of your own are for your own files",
    "METRICS_LOCATION": "metrics come by the metrics port",
    "TEMP": "only /tmp is writable there",
    "TS_CONFIG_FILE": "it names the generated config.properties; see spec.server.properties",
}
"""Variables that the operator sets, and why they are not the user's."""

ALWAYS_READ: Final = frozenset(
    {"TS_DEBUG", "TS_DECODE_INPUT_REQUEST", "TS_IPEX_ENABLE", "TS_IPEX_GPU_ENABLE", "TS_OPEN_INFERENCE_PROTOCOL"}
)
"""Variables that TorchServe looks at whatever enable_envvars_config says."""

_KEYS: Final = {found.environment: key for key, found in PROPERTIES.items() if found.environment is not None}


def environment_errors(spec: TorchServeModelSpec) -> Iterator[FieldError]:
    """Yield variables that the operator sets, that override it behind its back, or that would do nothing.

    What comes from `envFrom` is not known here; the operator's own variables stand beside it and win.
    """
    for index, item in enumerate(spec.pod.env):
        path = f"spec.pod.env[{index}]"
        if item.name in OWN_VARIABLES:
            yield FieldError(f"{path}.name", f"{item.name} is set by the operator: {OWN_VARIABLES[item.name]}")
        elif item.name in _KEYS:
            key = _KEYS[item.name]
            found = PROPERTIES[key]
            refused = refusal(key, found)
            if refused is not None:
                yield FieldError(f"{path}.name", f"{item.name} stands for a key of config.properties: {refused}")
            elif not spec.server.enable_envvars_config and item.name not in ALWAYS_READ:
                yield FieldError(
                    f"{path}.name",
                    f"{item.name} does nothing without spec.server.enableEnvvarsConfig; set that, or "
                    f"spec.server.properties.{key}",
                )
            elif item.value is not None and found.kind is Kind.FREE and item.name not in ALWAYS_READ:
                message = wrong_value(item.value, found)
                if message is not None:
                    yield FieldError(f"{path}.value", message)
