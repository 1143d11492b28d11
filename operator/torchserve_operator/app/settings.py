"""The operator's settings, from the environment. Each has a default that suits a cluster of any size."""

from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Settings(BaseSettings):
    """Read from `TORCHSERVE_OPERATOR_*` variables, such as `TORCHSERVE_OPERATOR_LOG_LEVEL=DEBUG`."""

    model_config = SettingsConfigDict(env_prefix="TORCHSERVE_OPERATOR_", use_attribute_docstrings=True, extra="forbid")

    namespaces: Annotated[tuple[str, ...], NoDecode] = ()
    """The namespaces to serve, separated by commas. Empty: the whole cluster."""
    context: str | None = None
    """The kubeconfig context, when running outside a cluster. Default: the current one."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """What is logged."""
    log_format: Literal["json", "text"] = "json"
    """One JSON object a line, or text for people."""
    http_host: str | None = None
    """The address of /healthz, /readyz and /metrics. Default: every address."""
    http_port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """The port of /healthz, /readyz and /metrics; 0 for any free one."""
    api_timeout_seconds: Annotated[float, Field(gt=0)] = 30.0
    """How long one request to the API server may take, in seconds; a watch lasts longer."""
    workers: Annotated[int, Field(ge=1, le=256)] = 16
    """How many resources are reconciled at once."""
    resync_seconds: Annotated[float, Field(gt=0)] = 600.0
    """How often every resource is looked at again, and the caches are compared with the cluster, in seconds."""
    agent_unsettled_seconds: Annotated[float, Field(gt=0)] = 5.0
    """How often the agents of a resource are read while something is going on, in seconds."""
    agent_settled_seconds: Annotated[float, Field(gt=0)] = 60.0
    """How often the agents of a resource at rest are read, in seconds."""
    agent_concurrency: Annotated[int, Field(ge=1, le=1024)] = 32
    """How many agents are read at once."""
    agent_timeout_seconds: Annotated[float, Field(gt=0)] = 3.0
    """How long one read of an agent may take, in seconds."""

    @field_validator("namespaces", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value
