"""agent.json and policy.json: what the agent is told. Pure.

agent.json is fixed for a container's life; policy.json is read again whenever it changes. So nothing that the policy
has may be in agent.json.
"""

from typing import Any, Final

from torchserve_operator.api.models import ModelSpec
from torchserve_operator.api.names import AGENT_PORT, INFERENCE_PORT, MANAGEMENT_PORT, METRICS_PORT
from torchserve_operator.api.spec import TorchServeModelSpec
from torchserve_operator.desired.config_properties import CERTIFICATE, PRIVATE_KEY
from torchserve_operator.desired.sizing import MI, Sizing

SCHEMA: Final = 1


def agent_config(spec: TorchServeModelSpec, sizing: Sizing) -> dict[str, Any]:
    """Return the content of agent.json; every key is always there."""
    server = spec.server
    return {
        "schema": SCHEMA,
        "modelStore": server.model_store,
        "models": [_model(model, sizing) for model in spec.models],
        "inference": {"port": INFERENCE_PORT, "tls": server.tls is not None},
        "management": {"port": MANAGEMENT_PORT},
        "metrics": {"port": METRICS_PORT},
        "agent": {"port": AGENT_PORT},
        "jvm": {"args": _jvm_arguments(spec, sizing), "asyncLogging": server.async_logging},
        "tls": None if server.tls is None else {"certificate": CERTIFICATE, "key": PRIVATE_KEY},
        "drain": {"minSeconds": sizing.drain_min_seconds, "maxSeconds": sizing.drain_max_seconds},
        "memoryLimitBytes": sizing.memory_limit_bytes,
    }


def policy(spec: TorchServeModelSpec, sizing: Sizing) -> dict[str, Any]:
    """Return the content of policy.json: each model's worker bounds."""
    bounds = ((model.name, sizing.workers[model.name]) for model in spec.models)
    return {
        "schema": SCHEMA,
        "models": {name: {"minWorkers": found.minimum, "maxWorkers": found.maximum} for name, found in bounds},
    }


def _model(model: ModelSpec, sizing: Sizing) -> dict[str, Any]:
    settings = {
        "batchSize": model.batch_size,
        "maxBatchDelay": model.max_batch_delay,
        "responseTimeout": model.response_timeout,
        "startupTimeout": model.startup_timeout,
        "deviceType": sizing.device_types[model.name],
        "deviceIds": model.device_ids,
    }
    return {
        "name": model.name,
        "version": model.version,
        "path": model.path,
        "settings": {key: value for key, value in settings.items() if value is not None},
        "parameters": dict(model.parameters),
    }


def _jvm_arguments(spec: TorchServeModelSpec, sizing: Sizing) -> list[str]:
    return [
        f"-Xmx{max(1, sizing.heap_bytes // MI)}m",
        # A frontend without memory answers nothing and may live on: a new one is better.
        "-XX:+ExitOnOutOfMemoryError",
        # The last of two options of the same name is the one that counts: the user's own.
        *spec.server.vmargs,
    ]
