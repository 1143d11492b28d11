"""The operator's settings, from the environment. Each has a default that suits a cluster of any size."""

import json
import os
import re
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import Field, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from torchserve_operator.api.errors import did_you_mean
from torchserve_operator.desired.build_plan import BuildDefaults

PREFIX: Final = "TORCHSERVE_OPERATOR_"
_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_ADDRESS: Final = re.compile(r"https?://[^/\s@?#]+/?")
_NOT_OURS: Final = re.compile(r"(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?|CACHE)")
"""What Kubernetes sets beside a Service called torchserve-operator, and where the testbed keeps what it built."""

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Settings(BaseSettings):
    """Read from `TORCHSERVE_OPERATOR_*` variables, such as `TORCHSERVE_OPERATOR_LOG_LEVEL=DEBUG`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, use_attribute_docstrings=True, extra="forbid")

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
    api_timeout_seconds: Seconds = 30.0
    """How long one request to the API server may take, in seconds; a watch lasts longer."""
    workers: Annotated[int, Field(ge=1, le=256)] = 16
    """How many resources are reconciled at once."""
    resync_seconds: Seconds = 600.0
    """How often every resource is looked at again, and the caches are compared with the cluster, in seconds."""
    agent_unsettled_seconds: Seconds = 5.0
    """How often the agents of a resource are read while something is going on, in seconds."""
    agent_settled_seconds: Seconds = 60.0
    """How often the agents of a resource at rest are read, in seconds."""
    agent_concurrency: Annotated[int, Field(ge=1, le=1024)] = 32
    """How many agents are read at once."""
    agent_timeout_seconds: Seconds = 3.0
    """How long one read of an agent may take, in seconds."""
    builder_image: str = ""
    """This project's image, which builds run; the manifests fill in the operator's own. Empty: nothing can be built."""
    base_image_cpu: str = "pytorch/torchserve:0.12.0-cpu"
    """The base image of a build that names none, where its models run on CPUs."""
    base_image_gpu: str = "pytorch/torchserve:0.12.0-gpu"
    """The base image of a build that names none, where a model runs on a GPU."""
    registry_mirrors: Annotated[dict[str, str], NoDecode] = Field(default_factory=dict)
    """Where builders reach a registry whose name only the nodes know, as a JSON object:
    `{"registry.example": "http://10.0.0.5:5000"}`."""
    allow_http_sources: bool = False
    """Whether builds may read models by plain HTTP: `http://` sources, and S3 endpoints without TLS. Whoever is on the
    way can change what they read; with `sha256` in the resource, not unseen."""
    build_ttl_seconds: Annotated[int, Field(ge=60, le=2592000)] = 3600
    """How long a finished build's Job is kept, in seconds. A failed one that is deleted before is tried again."""

    @field_validator("registry_mirrors", mode="before")
    @classmethod
    def _addresses(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        expected = 'expected a JSON object such as {"registry.example": "http://10.0.0.5:5000"}'
        try:
            addresses = json.loads(value or "{}")
        except ValueError:
            raise ValueError(f"is no JSON; {expected}") from None
        if not isinstance(addresses, dict):
            raise ValueError(f"is {value[:80]!r}; {expected}")  # noqa: TRY004  # pydantic's own
        for host, url in addresses.items():
            if not isinstance(url, str) or not _ADDRESS.fullmatch(url):
                raise ValueError(f"has {url!r} for {host}; expected http://HOST[:PORT] or https://HOST[:PORT]")
        return addresses

    def build_defaults(self) -> BuildDefaults:
        """Return what builds follow."""
        return BuildDefaults(
            builder_image=self.builder_image,
            base_images={"cpu": self.base_image_cpu, "gpu": self.base_image_gpu},
            registry_mirrors=self.registry_mirrors,
            allow_http_sources=self.allow_http_sources,
            ttl_seconds=self.build_ttl_seconds,
        )

    @field_validator("namespaces", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        names = tuple(part.strip() for part in value.split(",") if part.strip())
        wrong = next((name for name in names if not _NAMESPACE.fullmatch(name)), None)
        if wrong is not None:
            raise ValueError(f"has {wrong!r}, which is no name of a namespace; expected names separated by commas")
        return names


class SettingsError(Exception):
    """Some variables are wrong.

    Attributes:
        problems: One line for each: the variable, what is wrong, what was expected.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def read_settings() -> Settings:
    """Return the settings of this process's environment.

    Raises:
        SettingsError: With every problem found in it.
    """
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    given = [name for name in map(str.upper, os.environ) if name.startswith(PREFIX)]
    problems = [
        f"{name} is not a setting{did_you_mean(name, known)}"
        for name in sorted(set(given) - set(known))
        if not _NOT_OURS.fullmatch(name.removeprefix(PREFIX))
    ]
    try:
        settings = Settings()
    except ValidationError as error:
        problems += [_problem(detail) for detail in error.errors()]
    if problems:
        raise SettingsError(tuple(problems))
    return settings


def _problem(detail: ErrorDetails) -> str:
    name, given, context = str(detail["loc"][0]), detail["input"], detail.get("ctx", {})
    expected = next(_expected(detail["type"], name, context), None)
    if expected is None:
        return f"{PREFIX}{name.upper()} {detail['msg'].removeprefix('Value error, ')}"
    return f"{PREFIX}{name.upper()} is {str(given)[:80]!r}; expected {expected}"


def _expected(kind: str, name: str, context: dict[str, Any]) -> Iterator[str]:
    """Yield what was expected, where it can be told."""
    if kind == "literal_error":
        yield "one of " + ", ".join(map(str, get_args(Settings.model_fields[name].annotation)))
    elif kind.startswith(("int_", "float_", "finite_")):
        yield "a whole number" if kind.startswith("int_") else "a number"
    elif kind in {"greater_than", "greater_than_equal", "less_than_equal"}:
        word, key = {"greater_than": ("more than", "gt"), "greater_than_equal": ("at least", "ge")}.get(
            kind, ("at most", "le")
        )
        yield f"{word} {context[key]:g}"
