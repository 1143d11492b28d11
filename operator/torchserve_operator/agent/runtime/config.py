"""What the agent is told: agent.json (fixed for the life of the container) and policy.json (may change any time)."""

from __future__ import annotations

import json
from typing import Any, Dict, List, NamedTuple, Optional

from .digest import sha256_hex
from .problem import SERVER_FAILED, ProblemError

SCHEMA = 1


class Paths(NamedTuple):
    """Where things are in the pod."""

    agent: str = "/opt/torchserve-operator/agent"
    """agent.pyz and graceful.jar (ConfigMap)."""
    server: str = "/opt/torchserve-operator/server"
    """config.properties, log4j2.xml and agent.json (immutable ConfigMap)."""
    policy: str = "/opt/torchserve-operator/policy/policy.json"
    """The worker bounds (ConfigMap that the operator edits; the kubelet swaps the file under a symlink)."""
    run: str = "/run/torchserve"
    """Writable: the model store and the logs that the agent reads."""
    termination_log: str = "/dev/termination-log"
    """The kubelet shows its content as the container's termination message."""


class Model(NamedTuple):
    """One model of the resource."""

    name: str
    version: str
    path: Optional[str]
    """In the image: absolute, or relative to the image's model store; None: the name, as directory or archive."""
    settings: Dict[str, Any]
    """TorchServe's own keys of model-config.yaml (batchSize, …)."""
    parameters: Dict[str, Any]
    """Free keys of model-config.yaml."""


class Tls(NamedTuple):
    """The files that the server answers with."""

    certificate: str
    key: str


class Config(NamedTuple):
    """agent.json."""

    model_store: str
    models: List[Model]
    inference_port: int
    management_port: int
    agent_port: int
    jvm_args: List[str]
    async_logging: bool
    tls: Optional[Tls]
    drain_min: int
    """Seconds in which answers go on after SIGTERM, however idle the server is."""
    drain_max: int
    """Seconds after which requests in work are cut."""
    memory_limit: Optional[int]
    """Bytes; None when unlimited."""


class Bounds(NamedTuple):
    """How many workers a model may have."""

    minimum: int
    maximum: int


class Policy(NamedTuple):
    """policy.json and the hash of its bytes, by which the operator knows which one is in force."""

    hash: str
    bounds: Dict[str, Bounds]


def read_config(text: str) -> Config:
    """Parses agent.json. Raises ProblemError naming what is missing: it was written by another version, then."""
    try:
        data = json.loads(text)
        if data["schema"] != SCHEMA:
            raise ProblemError(SERVER_FAILED, "agent.json has schema %r, expected %d" % (data["schema"], SCHEMA))
        tls = data["tls"]
        return Config(
            model_store=data["modelStore"],
            models=[
                Model(m["name"], str(m["version"]), m["path"], dict(m["settings"] or {}), dict(m["parameters"] or {}))
                for m in data["models"]
            ],
            inference_port=int(data["inference"]["port"]),
            management_port=int(data["management"]["port"]),
            agent_port=int(data["agent"]["port"]),
            jvm_args=[str(argument) for argument in data["jvm"]["args"]],
            async_logging=bool(data["jvm"]["asyncLogging"]),
            tls=Tls(tls["certificate"], tls["key"]) if tls else None,
            drain_min=int(data["drain"]["minSeconds"]),
            drain_max=int(data["drain"]["maxSeconds"]),
            memory_limit=data["memoryLimitBytes"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProblemError(SERVER_FAILED, "agent.json is not as expected: %r" % (error,)) from error


def read_policy(data: bytes) -> Policy:
    """Parses policy.json. Raises ValueError with one line when it is not a policy."""
    try:
        document = json.loads(data.decode("utf-8"))
        if document["schema"] != SCHEMA:
            raise ValueError("schema %r, expected %d" % (document["schema"], SCHEMA))
        bounds = {}
        for name, model in document["models"].items():
            low, high = int(model["minWorkers"]), int(model["maxWorkers"])
            if not 0 <= low <= high:
                raise ValueError("%s: minWorkers %d and maxWorkers %d are no bounds" % (name, low, high))
            bounds[name] = Bounds(low, high)
        return Policy(sha256_hex(data), bounds)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("not a policy: %r" % (error,)) from error
