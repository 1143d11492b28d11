"""`spec.server` and `spec.logging`: TorchServe's config.properties and log4j2, typed.

Names and units are TorchServe's own, in camelCase; docs/configuration.md of TorchServe 0.12 is their source.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from torchserve_operator.api.base import DnsName, FreeObject, Model, Quantity, Rule
from torchserve_operator.api.names import IMAGE_MODEL_STORE

LogLevel = Literal["OFF", "FATAL", "ERROR", "WARN", "INFO", "DEBUG", "TRACE", "ALL"]
ShortText = Annotated[str, Field(max_length=1024, min_length=1)]


class Cors(Model):
    """What a browser on another origin may do; without it no CORS header is sent."""

    allowed_origin: ShortText
    """`*` or one origin, such as `https://shop.example`."""
    allowed_methods: Annotated[
        list[Literal["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"]], Field(max_length=8, min_length=1)
    ] = Field(default_factory=lambda: ["GET", "POST", "OPTIONS"])  # type: ignore[arg-type]  # literals
    """The allowed methods."""
    allowed_headers: Annotated[
        list[Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", max_length=128)]], Field(max_length=64)
    ] = Field(default_factory=lambda: ["Content-Type"])
    """The allowed request headers."""


class Tls(Model):
    """HTTPS on the inference port."""

    secret_name: DnsName
    """A Secret of type kubernetes.io/tls in the same namespace, with `tls.crt` and `tls.key` (PKCS#8). RSA: TorchServe
    takes no other kind of key."""


class Metrics(Model):
    """TorchServe's own metrics, on the metrics port."""

    mode: Literal["prometheus", "log", "legacy"] = "prometheus"
    """TorchServe's metrics_mode; only `prometheus` fills /metrics."""
    config: FreeObject | None = None
    """The content of a metrics_config file (dimensions, ts_metrics, model_metrics) instead of the image's default;
    checked, because TorchServe silently drops every metric when one field is wrong."""


class ServerSpec(Model):
    """The server: what config.properties says, typed."""

    model_store: Annotated[str, Field(pattern=r"^/[^\n]*$", max_length=512)] = IMAGE_MODEL_STORE
    """Where the image keeps its models; an absolute path."""
    async_logging: bool = True
    """async_logging: log4j2 writes in a thread of its own."""
    job_queue_size: Annotated[int, Field(ge=1, le=1000000)] | None = None
    """job_queue_size: requests that may wait, per model. Default 100, or twice what all workers' batches hold where
    that is more."""
    default_workers_per_model: Annotated[int, Field(ge=1, le=1000)] | None = None
    """default_workers_per_model: workers of a model that names none. Default: the pod's GPUs, else its CPU limit
    divided by the number of models, at least 1."""
    cors: Cors | None = None
    """cors_allowed_*: cross-origin requests."""
    tls: Tls | None = None
    """HTTPS with a certificate from a Secret."""
    max_request_size: Annotated[int, Field(ge=1, le=2147483647)] | None = None
    """max_request_size in bytes; default 6553500."""
    max_response_size: Annotated[int, Field(ge=1, le=2147483647)] | None = None
    """max_response_size in bytes; default 6553500."""
    number_of_netty_threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """number_of_netty_threads: the frontend's I/O threads. Default: the CPU limit, rounded up, at least 2."""
    netty_client_threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """netty_client_threads: the threads that speak to the workers. Default: the CPU limit, rounded up, at least 2."""
    number_of_gpu: Annotated[int, Field(ge=0, le=64)] | None = None
    """number_of_gpu: how many GPUs the frontend deals out. Default: what `resources` asks for."""
    heap_size: Quantity | None = None
    """The JVM's largest heap (-Xmx). Default: a quarter of the memory limit, between 128Mi and 2Gi."""
    vmargs: Annotated[list[Annotated[str, Field(pattern=r"^-[^\s]+$", max_length=512)]], Field(max_length=64)] = Field(
        default_factory=list
    )
    """vmargs: further options of the JVM, one each."""
    allowed_urls: Annotated[list[Annotated[str, Field(pattern=r"^[^\s,]+$", max_length=512)]], Field(max_length=64)] = (
        Field(default_factory=list)
    )
    """allowed_urls: regular expressions of URLs that models may be registered from. Default: none at all."""
    enable_envvars_config: bool = False
    """enable_envvars_config: TS_* environment variables override config.properties."""
    metrics: Metrics = Field(default_factory=Metrics)
    """TorchServe's own metrics."""
    properties: Annotated[
        dict[
            Annotated[str, Field(max_length=128)],
            Annotated[str, Field(max_length=4096)],
        ],
        Field(max_length=128),
    ] = Field(default_factory=dict)
    """Any other key of config.properties, checked by name and type against TorchServe 0.12's list. A key that has a
    field of its own, or that the operator sets, is refused with a pointer to it."""

    rules: ClassVar = (
        Rule(
            "!has(self.modelStore) || !self.modelStore.split('/').exists(part, part == '..')",
            "modelStore must not contain ..",
            lambda m: ".." not in m.model_store.split("/"),
            field="modelStore",
        ),
    )


class LoggingSpec(Model):
    """What the server logs, to its standard output."""

    level: LogLevel = "INFO"
    """The level of TorchServe and of the handlers."""
    access_level: LogLevel = "INFO"
    """The level of the access log; requests are logged at INFO."""
    format: Literal["json", "text"] = "json"
    """One JSON object a line, or text."""
    pings: bool = False
    """Whether the probes' and the agent's own requests appear in the access log."""
