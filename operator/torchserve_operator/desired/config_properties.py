"""config.properties: what the Java server is started with. Pure; the same spec gives the same bytes."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import javaproperties

from torchserve_operator.api.models import ModelSpec
from torchserve_operator.api.names import (
    INFERENCE_PORT,
    MANAGEMENT_PORT,
    METRICS_PORT,
    MODEL_STORE,
    SERVER_DIR,
    TLS_DIR,
)
from torchserve_operator.api.spec import TorchServeModelSpec
from torchserve_operator.desired.sizing import Sizing

CERTIFICATE: Final = f"{TLS_DIR}/tls.crt"
PRIVATE_KEY: Final = f"{TLS_DIR}/tls.key"
METRICS_CONFIG: Final = f"{SERVER_DIR}/metrics.yaml"

_NO_URL: Final = "(?!)"
"""A regular expression that nothing matches. An empty list is no list for TorchServe: it would allow every URL."""


def config_properties(spec: TorchServeModelSpec, sizing: Sizing) -> str:
    """Return the file's text.

    `vmargs` is not in it: Java does not read it, and the agent gets it in agent.json. Snapshots are off by the agent's
    `-ncs`: no key does that.
    """
    text: str = javaproperties.dumps(list(_entries(spec, sizing)), timestamp=None)
    return text


def _entries(spec: TorchServeModelSpec, sizing: Sizing) -> Iterator[tuple[str, str]]:
    server = spec.server
    for key, value in (
        *_addresses(tls=server.tls is not None),
        *_models(spec),
        # Keys are random per pod: a Service in front of several pods cannot use them. What they protect, the management
        # API, listens on loopback only.
        ("disable_token_authorization", True),
        # Models come from the resource alone: what is registered by hand would be gone after the next start.
        ("enable_model_api", False),
        ("allowed_urls", ",".join(server.allowed_urls) or _NO_URL),
        ("install_py_dep_per_model", False),
        ("enable_envvars_config", server.enable_envvars_config),
        ("async_logging", server.async_logging),
        ("default_workers_per_model", sizing.default_workers),
        ("job_queue_size", sizing.job_queue_size),
        ("number_of_netty_threads", sizing.netty_threads),
        ("netty_client_threads", sizing.netty_client_threads),
        # Not what nvidia-smi sees: without a device plugin's isolation that is every GPU of the node.
        ("number_of_gpu", sizing.gpus if server.number_of_gpu is None else server.number_of_gpu),
        ("max_request_size", server.max_request_size),
        ("max_response_size", server.max_response_size),
        ("metrics_mode", server.metrics.mode),
        ("metrics_config", None if server.metrics.config is None else METRICS_CONFIG),
        *_cors(spec),
        *sorted(server.properties.items()),
    ):
        if value is not None:
            yield key, str(value).lower() if isinstance(value, bool) else str(value)


def _addresses(*, tls: bool) -> Iterator[tuple[str, str]]:
    # TorchServe takes no IPv6 literal here. 0.0.0.0 is every address of both families all the same: Java and netty
    # bind it on an IPv6 socket wherever the kernel has them.
    yield "inference_address", f"{'https' if tls else 'http'}://0.0.0.0:{INFERENCE_PORT}"
    yield "management_address", f"http://127.0.0.1:{MANAGEMENT_PORT}"
    yield "metrics_address", f"http://127.0.0.1:{METRICS_PORT}"
    if tls:
        yield "private_key_file", PRIVATE_KEY
        yield "certificate_file", CERTIFICATE


def _models(spec: TorchServeModelSpec) -> Iterator[tuple[str, str]]:
    yield "model_store", MODEL_STORE
    # Named one by one, never `all`: the agent's model store has them under their own names.
    yield "load_models", ",".join(f"{model.name}={model.name}" for model in spec.models)
    yield "models", _compact({model.name: {model.version: _model(model)} for model in spec.models})


def _model(model: ModelSpec) -> dict[str, Any]:
    """Return a model's settings, for a TorchServe that does not find them in model-config.yaml.

    The agent writes the same into each model's model-config.yaml, which beats this. minWorkers and maxWorkers are left
    out on purpose: they are in the policy, which changes while the server runs; here, a changed bound would be a
    changed file, and roll the pods.
    """
    settings: dict[str, Any] = {
        "defaultVersion": True,
        "marName": model.name,
        "responseTimeout": model.response_timeout,
    }
    settings["startupTimeout"] = model.startup_timeout
    if model.batch_size is not None:
        settings["batchSize"] = model.batch_size
    if model.max_batch_delay is not None:
        settings["maxBatchDelay"] = model.max_batch_delay
    return settings


def _cors(spec: TorchServeModelSpec) -> Iterator[tuple[str, str]]:
    cors = spec.server.cors
    if cors is not None:
        yield "cors_allowed_origin", cors.allowed_origin
        yield "cors_allowed_methods", ", ".join(cors.allowed_methods)
        if cors.allowed_headers:
            yield "cors_allowed_headers", ", ".join(cors.allowed_headers)


def _compact(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
