"""Builds of small models against real registries, with everything that a test may want to change."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torchserve_operator.builder import files
from torchserve_operator.builder.auth import Keychain
from torchserve_operator.builder.build import Surroundings, build
from torchserve_operator.builder.cancel import Cancellation
from torchserve_operator.builder.files import File
from torchserve_operator.builder.layers import LayerSource, layer_key
from torchserve_operator.builder.patience import Patience
from torchserve_operator.builder.plan import Plan, Result
from torchserve_operator.builder.progress import Progress
from torchserve_operator.builder.registry import Registries
from torchserve_operator.builder.transport import READ_TIMEOUT, Transport

IMPATIENT = Patience(tries=4, first=0.01)
"""Tries as in earnest, without their waits; what a server asks for is waited for."""
BASE_LAYERS = (b"first layer of the base " * 4096, b"second layer of the base " * 64)


def model(name: str, content: bytes | Sequence[File], *, identity: str = "") -> LayerSource:
    """A model's layer-to-be of one file, or of these."""
    root = f"/home/model-server/model-store/{name}"
    content = (files.of_bytes("model.pt", content),) if isinstance(content, bytes) else tuple(content)
    identity = identity or f"etag:{name}"
    return LayerSource(f"model {name}", root, identity, layer_key(root, identity), lambda: content, "", name)


@dataclass
class Builder:
    """Builds as often as it is told.

    Attributes:
        plan: What is built; `models` beside it.
        keychain: Credentials.
        ca: Certificates that are trusted, too.
        read_timeout: Seconds without a byte.
        patience: With the registries.
        cancellation: Of the next build.
        progress: Of the last build.
    """

    plan: dict[str, Any]
    keychain: Keychain = field(default_factory=Keychain)
    ca: Path | None = None
    read_timeout: float = READ_TIMEOUT
    patience: Patience = IMPATIENT
    cancellation: Cancellation = field(default_factory=Cancellation)
    progress: Progress = field(default_factory=Progress)

    def build(self, *models: LayerSource, **changes: Any) -> Result:
        """Build, with these changes of the plan."""
        self.progress = Progress()
        plan = Plan.model_validate({**self.plan, **changes})
        transport = Transport(self.ca, self.read_timeout)
        registries = Registries(transport, self.keychain, plan.registry_mirrors, self.cancellation, self.patience)
        try:
            return build(plan, Surroundings(registries, lambda _: models, self.progress))
        finally:
            transport.close()
            self.cancellation = Cancellation()

    def in_thread(self, *models: LayerSource) -> tuple[threading.Thread, list[BaseException | Result]]:
        """Begin a build; the list gets what it returns or raises."""
        outcome: list[BaseException | Result] = []

        def run() -> None:
            try:
                outcome.append(self.build(*models))
            except BaseException as error:  # noqa: BLE001  the test looks at it
                outcome.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread, outcome


def plan_for(host: str, space: str, mirrors: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A plan whose base is `SPACE/base:1` and whose image goes to `SPACE/image`."""
    return {
        "owner": "team/digits",
        "base": f"{host}/{space}/base:1",
        "repository": f"{host}/{space}/image",
        "tags": ["latest"],
        "platform": "linux/amd64",
        "registryMirrors": {host: f"http://{host}"} if mirrors is None else dict(mirrors),
    }
