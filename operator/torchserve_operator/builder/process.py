"""A build as a process: its signals, its status port, its termination message, its exit code."""

import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

from torchserve_operator.builder.auth import FIELD as FIELD_PUSH_SECRET
from torchserve_operator.builder.auth import Keychain
from torchserve_operator.builder.build import Surroundings, build
from torchserve_operator.builder.cancel import BuildCancelledError, Cancellation
from torchserve_operator.builder.errors import BuildError, PassingError
from torchserve_operator.builder.plan import Plan, Result, failed, read_plan
from torchserve_operator.builder.progress import Progress, served
from torchserve_operator.builder.registry import Registries
from torchserve_operator.builder.transport import Transport

BUILT: Final = 0
FAILED: Final = 1
"""Final: the same build would fail again."""
PASSING: Final = 75
"""EX_TEMPFAIL: the same build may succeed later."""
CANCELLED: Final = 128 + signal.SIGTERM

FIELD_CA: Final = "spec.build.caConfigMapName"
GRACE: Final = 4.0
"""Seconds that a build has for deleting its uploads once it is told to stop."""
_LOOKS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Places:
    """Where the process finds and leaves things.

    Attributes:
        plan: The plan.
        push_config: A dockerconfigjson; without its folder, registries are asked anonymously.
        ca: Certificates that are trusted beside the system's; may be absent with its folder.
        termination_log: Where the result goes; None for nowhere.
        port: Of `GET /status`.
    """

    plan: Path
    push_config: Path
    ca: Path
    termination_log: Path | None
    port: int


OpenSurroundings = Callable[[Plan, Registries, Progress, Cancellation], Surroundings]


def run(places: Places, surroundings: OpenSurroundings) -> int:
    """Build what the plan says, and return the exit code; one line goes to standard output or standard error.

    Args:
        places: Where things are.
        surroundings: Makes what the build works with.
    """
    progress = Progress()
    with served(progress, places.port):
        found = supervised(lambda cancellation: _build(places, surroundings, progress, cancellation))
    return tell(found, places.termination_log)


def supervised(
    work: Callable[[Cancellation], Result], meanwhile: Callable[[], None] = lambda: None
) -> Result | BuildError:
    """Do it in a thread, and end it within seconds at SIGTERM or SIGINT.

    Args:
        work: The build.
        meanwhile: Called several times a second.
    """
    cancellation = Cancellation()
    outcome: list[Result | BuildError] = []

    def guarded() -> None:
        try:
            outcome.append(work(cancellation))
        except BuildError as error:
            outcome.append(error)
        except Exception as error:  # noqa: BLE001  whatever it is, the operator must read of it
            traceback.print_exc()
            message = f"the builder failed with {type(error).__name__}, which is a fault of its own"
            outcome.append(BuildError("", message, "its log has the rest"))

    told_to_stop: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        told_to_stop.append(number)
        cancellation.cancel()

    with _signals(stop):
        worker = threading.Thread(target=guarded, name="build", daemon=True)
        worker.start()
        # Not for ever in one wait: a signal that another thread is given would be noticed at its end.
        while worker.is_alive() and not told_to_stop:
            worker.join(_LOOKS)
            meanwhile()
        worker.join(GRACE)
    # One that hangs in the middle of a request is left behind: the process ends in time all the same.
    return outcome[0] if outcome else BuildCancelledError()


def keychain(push_config: Path) -> Keychain:
    """Read the credentials for registries; none where there is not even the folder.

    Raises:
        BuildError: The Secret is not there or is none of its type.
    """
    if not push_config.parent.is_dir():
        return Keychain()
    try:
        text = push_config.read_text()
    except (OSError, UnicodeDecodeError):
        hint = "it is made by `kubectl create secret docker-registry`"
        raise BuildError(FIELD_PUSH_SECRET, "the Secret is not there, or has no key .dockerconfigjson", hint) from None
    return Keychain.from_docker_config(text)


def ca_file(ca: Path) -> Path | None:
    """Return the certificates that are trusted, too; None where there is not even the folder.

    Raises:
        BuildError: The ConfigMap is not there or has no such key.
    """
    if not ca.parent.is_dir():
        return None
    if not ca.is_file():
        raise BuildError(FIELD_CA, f"the ConfigMap is not there, or has no key {ca.name}")
    return ca


def _build(places: Places, surroundings: OpenSurroundings, progress: Progress, cancellation: Cancellation) -> Result:
    plan = read_plan(places.plan)
    credentials, ca = keychain(places.push_config), ca_file(places.ca)
    with contextlib.closing(Transport(ca)) as transport:
        registries = Registries(transport, credentials, plan.registry_mirrors, cancellation)
        return build(plan, surroundings(plan, registries, progress, cancellation))


def tell(found: Result | BuildError, termination_log: Path | None) -> int:
    """Say in a line and in the termination message what came of a build; return the exit code."""
    result = found if isinstance(found, Result) else failed(found)
    if termination_log is not None:
        termination_log.write_bytes(result.termination_message())
    if isinstance(found, Result):
        layers = ", ".join(
            f"{layer.name} {'reused' if layer.reused else f'{layer.size:,} bytes'}" for layer in found.layers
        )
        print(f"{found.image} ({layers or 'no layers'}; {found.seconds['total']} s)", flush=True)  # noqa: T201
        return BUILT
    print(f"Error: {found}", file=sys.stderr, flush=True)  # noqa: T201
    if isinstance(found, BuildCancelledError):
        return CANCELLED
    return PASSING if isinstance(found, PassingError) else FAILED


@contextlib.contextmanager
def _signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def leave(code: int) -> None:
    """End the process now: threads that wait for a registry are not waited for."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
