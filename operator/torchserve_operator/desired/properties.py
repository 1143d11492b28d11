"""Every key that TorchServe reads from config.properties: its type, and who sets it. Pure.

Source: the constants of org.pytorch.serve.util.ConfigManager in TorchServe 0.12.0's model-server.jar (a test reads them
there), and what its Python launcher reads itself. TorchServe ignores a key that it does not know, and a bad value is
either ignored or a stack trace and exit code 1: so both are errors here.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from torchserve_operator.api.errors import FieldError, did_you_mean
from torchserve_operator.api.explain import path_of
from torchserve_operator.api.spec import TorchServeModelSpec


class Kind(StrEnum):
    """Who sets a key."""

    FIELD = "field"
    """It has a field of its own; the note is its path."""
    OPERATOR = "operator"
    """The operator sets it; the note says to what, or why."""
    RESERVED = "reserved"
    """For a later version; the note says what for."""
    FREE = "free"
    """`server.properties`."""


class Type(StrEnum):
    """What a value must be; the word is what a user reads."""

    INTEGER = "a whole number"
    BOOLEAN = "true or false"
    TEXT = "text"
    REGEX = "a regular expression"
    PATH = "an absolute path in the container"


@dataclass(frozen=True, slots=True)
class Property:
    """One key.

    Attributes:
        type: What its value must be.
        kind: Who sets it.
        note: Depends on the kind.
        least: The least value of a number.
        most: The largest value of a number.
        since: The first TorchServe that knows it, where that is not older than 0.11.1.
        environment: The variable that overrides it with enable_envvars_config; None where none does.
    """

    type: Type
    kind: Kind
    note: str = ""
    least: int = 0
    most: int = 2**31 - 1
    since: str | None = None
    environment: str | None = None


def _field(path: str, kind: Type = Type.TEXT, **more: str) -> Property:
    return Property(kind, Kind.FIELD, f"spec.{path}", **more)  # type: ignore[arg-type]  # only `since` is given


def _set(why: str) -> Property:
    return Property(Type.TEXT, Kind.OPERATOR, why)


def _free(kind: Type, least: int = 0, most: int = 2**31 - 1) -> Property:
    return Property(kind, Kind.FREE, least=least, most=most)


_GRPC: Final = Property(Type.TEXT, Kind.RESERVED, "gRPC is not served yet")

_PROPERTIES: Final[dict[str, Property]] = {
    # fields of their own
    "allowed_urls": _field("server.allowedUrls"),
    "async_logging": _field("server.asyncLogging", Type.BOOLEAN),
    "certificate_file": _field("server.tls.secretName"),
    "cors_allowed_headers": _field("server.cors.allowedHeaders"),
    "cors_allowed_methods": _field("server.cors.allowedMethods"),
    "cors_allowed_origin": _field("server.cors.allowedOrigin"),
    "default_response_timeout": _field("models[].responseTimeout", Type.INTEGER),
    "default_startup_timeout": _field("models[].startupTimeout", Type.INTEGER, since="0.12.0"),
    "default_workers_per_model": _field("server.defaultWorkersPerModel", Type.INTEGER),
    "enable_envvars_config": _field("server.enableEnvvarsConfig", Type.BOOLEAN),
    "job_queue_size": _field("server.jobQueueSize", Type.INTEGER),
    "keystore": _field("server.tls.secretName"),
    "keystore_pass": _field("server.tls.secretName"),
    "keystore_type": _field("server.tls.secretName"),
    "max_request_size": _field("server.maxRequestSize", Type.INTEGER),
    "max_response_size": _field("server.maxResponseSize", Type.INTEGER),
    "metrics_config": _field("server.metrics.config"),
    "metrics_mode": _field("server.metrics.mode"),
    "netty_client_threads": _field("server.nettyClientThreads", Type.INTEGER),
    "number_of_gpu": _field("server.numberOfGpu", Type.INTEGER),
    "number_of_netty_threads": _field("server.numberOfNettyThreads", Type.INTEGER),
    "private_key_file": _field("server.tls.secretName"),
    "vmargs": _field("server.vmargs"),
    # set by the operator
    "disable_token_authorization": _set("the management API is on loopback, and a Service cannot use per-pod keys"),
    "enable_model_api": _set("models come from spec.models alone"),
    "inference_address": _set("port 8080 of the pod, where the Service and the probes look"),
    "install_py_dep_per_model": _set("it would run pip at every start: install requirements into the image"),
    "load_models": _set("it is made of spec.models"),
    "management_address": _set("port 8081 on loopback, where the agent looks"),
    "metrics_address": _set("port 8082 on loopback"),
    "model_server_home": _set("it is where the image has TorchServe"),
    "model_snapshot": _set("snapshots are off: they would override the resource at the next start"),
    "model_store": _set("the agent lays it out; where the image has its models is spec.server.modelStore"),
    "models": _set("it is made of spec.models"),
    "python": _set("it is the image's own"),
    "token_expiration_min": _set("token authorization is off"),
    "version": _set("TorchServe writes it itself"),
    # for later
    "enable_grpc_ssl": _GRPC,
    "grpc_inference_address": _GRPC,
    "grpc_inference_max_connection_age_grace_ms": _GRPC,
    "grpc_inference_max_connection_age_ms": _GRPC,
    "grpc_inference_port": _GRPC,
    "grpc_management_address": _GRPC,
    "grpc_management_max_connection_age_grace_ms": _GRPC,
    "grpc_management_max_connection_age_ms": _GRPC,
    "grpc_management_port": _GRPC,
    # free
    "blacklist_env_vars": _free(Type.REGEX),
    "cpp_log_config": _free(Type.PATH),
    "cpu_launcher_args": _free(Type.TEXT),
    "cpu_launcher_enable": _free(Type.BOOLEAN),
    "debug": _free(Type.BOOLEAN),
    "decode_input_request": _free(Type.BOOLEAN),
    "default_service_handler": _free(Type.TEXT),
    "disable_system_metrics": _free(Type.BOOLEAN),
    "enable_metrics_api": _free(Type.BOOLEAN),
    "initial_distribution_port": _free(Type.INTEGER, 1024, 65535),
    "initial_worker_port": _free(Type.INTEGER, 1024, 65535),
    "io_ratio": _free(Type.INTEGER, 1, 100),
    "ipex_enable": _free(Type.BOOLEAN),
    "ipex_gpu_enable": _free(Type.BOOLEAN),
    "limit_max_image_pixels": _free(Type.BOOLEAN),
    "metric_time_interval": _free(Type.INTEGER, 1),
    "model_metrics_auto_detect": _free(Type.BOOLEAN),
    "plugins_path": _free(Type.PATH),
    "prefer_direct_buffer": _free(Type.BOOLEAN),
    "service_envelope": _free(Type.TEXT),
    "system_metrics_cmd": _free(Type.TEXT),
    "ts_header_key_sequence_end": _free(Type.TEXT),
    "ts_header_key_sequence_id": _free(Type.TEXT),
    "ts_header_key_sequence_start": _free(Type.TEXT),
    "ts_open_inference_protocol": _free(Type.BOOLEAN),
    "unregister_model_timeout": _free(Type.INTEGER, 1),
    "use_env_allowed_urls": _free(Type.BOOLEAN),
    "use_native_io": _free(Type.BOOLEAN),
    "workflow_store": _free(Type.PATH),
}

_NO_VARIABLE: Final = frozenset(
    {
        "enable_envvars_config",
        "io_ratio",
        "metric_time_interval",
        "model_snapshot",
        "models",
        "plugins_path",
        "python",
        "system_metrics_cmd",
        "use_env_allowed_urls",
        "use_native_io",
        "version",
        "vmargs",
    }
)
"""Keys whose constant in ConfigManager has no TS_ name, or that it does not read."""
_ODD_VARIABLES: Final = {
    "token_expiration_min": "TS_TOKEN_EXPIRATION_TIME_MIN",
    "ts_header_key_sequence_end": "TS_HEADER_KEY_SEQUENCE_END",
    "ts_header_key_sequence_id": "TS_HEADER_KEY_SEQUENCE_ID",
    "ts_header_key_sequence_start": "TS_HEADER_KEY_SEQUENCE_START",
    "ts_open_inference_protocol": "TS_OPEN_INFERENCE_PROTOCOL",
}


def _variable(key: str) -> str | None:
    return None if key in _NO_VARIABLE else _ODD_VARIABLES.get(key, f"TS_{key.upper()}")


PROPERTIES: Final[dict[str, Property]] = {
    key: Property(p.type, p.kind, p.note, p.least, p.most, p.since, _variable(key)) for key, p in _PROPERTIES.items()
}
"""Every key, by name."""

_VARIABLE_IN_VALUE: Final = re.compile(r"\$\$([^$]+[^$])\$\$")
"""TorchServe's own pattern: `$$NAME$$` is replaced by the variable, and exits with code 1 where there is none."""


def property_errors(spec: TorchServeModelSpec) -> Iterator[FieldError]:
    """Yield what is wrong with `server.properties`: each key by name, by who sets it, and by its value's type."""
    for key, value in spec.server.properties.items():
        path = path_of(("server", "properties", key))
        found = PROPERTIES.get(key)
        if found is None:
            yield FieldError(path, _unknown(key))
            continue
        message = refusal(key, found) or wrong_value(value, found) or missing_variable(value, spec)
        if message is not None:
            yield FieldError(path, message)


def _unknown(key: str) -> str:
    hint = did_you_mean(key, PROPERTIES)
    return f"is not a key of TorchServe's config.properties{hint or '; docs/configuration.md of TorchServe lists them'}"


def refusal(key: str, found: Property) -> str | None:
    """Return why a key is not the user's to set, or None."""
    match found.kind:
        case Kind.FIELD:
            return f"{key} has a field of its own: set {found.note}"
        case Kind.OPERATOR:
            return f"{key} is set by the operator: {found.note}"
        case Kind.RESERVED:
            return f"{key} cannot be set: {found.note}"
        case Kind.FREE:
            return None


def wrong_value(value: str, found: Property) -> str | None:
    """Return what is wrong with a value, or None."""
    expected: str = found.type
    match found.type:
        case Type.INTEGER:
            # Java's Integer.parseInt: no sign but -, no spaces, no underscores, ASCII digits.
            right = re.fullmatch(r"-?[0-9]{1,10}", value, re.ASCII) and found.least <= int(value) <= found.most
            expected = f"a whole number from {found.least} to {found.most}"
        case Type.BOOLEAN:
            # Boolean.parseBoolean takes any case, and everything else for false.
            right = value in {"true", "false"}
        case Type.REGEX:
            right = _compiles(value)
        case Type.PATH:
            right = re.fullmatch(r"/[^\s:]*", value) and ".." not in value.split("/")
        case Type.TEXT:
            right = value != "" and value.isprintable()
            expected = "text in one line"
    return None if right else f'is "{value}"; expected {expected}'


def _compiles(value: str) -> bool:
    # Java's and Python's dialects differ in corners only: an unbalanced bracket is one in both.
    try:
        re.compile(value)
    except re.error:
        return False
    return value != ""


def missing_variable(value: str, spec: TorchServeModelSpec) -> str | None:
    """Return which variable a value names that the pod does not have, or None."""
    known = {item.name for item in spec.pod.env}
    for name in _VARIABLE_IN_VALUE.findall(value):
        if name not in known and not spec.pod.env_from:
            return f"names the environment variable {name}, which spec.pod.env does not set; TorchServe would not start"
    return None
