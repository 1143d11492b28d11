"""`spec.server` against itself and against the limits. Pure."""

import math
import re
from collections.abc import Iterator
from typing import Final

from torchserve_operator.api.errors import FieldError
from torchserve_operator.api.names import RESERVED_MOUNTS
from torchserve_operator.api.spec import TorchServeModelSpec
from torchserve_operator.desired.properties import missing_variable
from torchserve_operator.desired.sizing import Sizing

_ORIGIN: Final = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[^\s/,?#@]+", re.IGNORECASE | re.ASCII)


def server_errors(spec: TorchServeModelSpec, sizing: Sizing) -> Iterator[FieldError]:
    """Yield what the server would take and not do."""
    server = spec.server
    for field, threads in (
        ("numberOfNettyThreads", server.number_of_netty_threads),
        ("nettyClientThreads", server.netty_client_threads),
    ):
        if threads is not None and sizing.cpus is not None:
            most = threads_most(math.ceil(sizing.cpus))
            if threads > most:
                yield FieldError(
                    f"spec.server.{field}",
                    f"is {threads}, on {sizing.cpus:f} CPUs; these threads never block, so the most is {most}",
                )
    if server.cors is not None:
        yield from _origin(server.cors.allowed_origin, spec)
    for index, url in enumerate(server.allowed_urls):
        path = f"spec.server.allowedUrls[{index}]"
        try:
            re.compile(url)
        except re.error as error:
            yield FieldError(path, f'"{url}" is not a regular expression: {error}')
        message = missing_variable(url, spec)
        if message:
            yield FieldError(path, message)
    yield from _hidden(spec)


def threads_most(cpus: int) -> int:
    """Return the most I/O threads that make sense on so many CPUs; netty's own default is two each."""
    return max(8, 4 * cpus)


def _origin(origin: str, spec: TorchServeModelSpec) -> Iterator[FieldError]:
    path = "spec.server.cors.allowedOrigin"
    if not _ORIGIN.fullmatch(origin):
        # TorchServe sends it as it is, and a browser compares it letter by letter.
        yield FieldError(
            path,
            f'"{origin}" is not an origin; write * or one scheme://host[:port], without a path or a slash at the end',
        )
    message = missing_variable(origin, spec)
    if message:
        yield FieldError(path, message)


def _hidden(spec: TorchServeModelSpec) -> Iterator[FieldError]:
    """Yield places in the image that the operator's own mounts hide."""
    places = [("spec.server.modelStore", spec.server.model_store)]
    places += [
        (f"spec.models[{index}].path", model.path)
        for index, model in enumerate(spec.models)
        if model.path is not None and model.path.startswith("/")
    ]
    for path, place in places:
        for mount in RESERVED_MOUNTS:
            if place == mount or place.startswith(f"{mount}/"):
                yield FieldError(
                    path, f"{place} cannot be seen in the pod: an empty {mount} is mounted there; move it in the image"
                )
