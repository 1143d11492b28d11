"""Everything that status is decided from. Pure data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torchserve_operator.api.errors import FieldError
from torchserve_operator.api.spec import TorchServeModelSpec
from torchserve_operator.status.build import BuildState
from torchserve_operator.status.pods import Pod
from torchserve_operator.status.report import Read, Report


@dataclass(frozen=True, slots=True)
class Refusal:
    """A child that could not be written.

    Attributes:
        child: Kind and name, such as `Service digits`.
        message: The API server's words, or whose the object is.
        conflict: Whether an object of that name is somebody else's.
        transient: Whether it may go away by itself at once: not worth telling.
        retry_after: Seconds that the API server asked to wait.
    """

    child: str
    message: str
    conflict: bool = False
    transient: bool = False
    retry_after: float = 0.0


@dataclass(frozen=True, slots=True)
class Observed:
    """One resource and what belongs to it.

    Attributes:
        resource: The resource: metadata, and status as last written.
        spec: The parsed spec, or None where it is invalid.
        errors: Why it is invalid.
        bounds: Each model's effective minWorkers, by name.
        revision: The label value of the current generation's pods, or None where none was decided.
        rolled_out: Whether the Deployment in the cluster has the current template.
        deployment: The Deployment's status as kept, or None where there is none.
        pods: Every pod of the resource.
        reads: The last read of each pod's agent, by pod uid.
        refusals: Children that could not be written.
        build: How the image's build stands; None where none is built.
    """

    resource: Mapping[str, Any]
    spec: TorchServeModelSpec | None
    errors: tuple[FieldError, ...] = ()
    bounds: Mapping[str, int] = field(default_factory=dict)
    revision: str | None = None
    rolled_out: bool = False
    deployment: Mapping[str, Any] | None = None
    pods: tuple[Pod, ...] = ()
    reads: Mapping[str, Read[Report]] = field(default_factory=dict)
    refusals: tuple[Refusal, ...] = ()
    build: BuildState | None = None

    @property
    def current(self) -> tuple[Pod, ...]:
        """The pods of the current generation that are not on their way out."""
        return tuple(pod for pod in self.pods if pod.revision == self.revision and not pod.deleting)

    def answers(self, pod: Pod) -> bool:
        """Return whether the kubelet has the pod ready, and its agent does not say otherwise.

        A report that is older than the kubelet's word is read again within milliseconds; until then a resource is not
        called Ready beside a count of workers that says it is not. An agent that cannot be read objects to nothing.
        """
        read = self.reads.get(pod.uid)
        objects = read is not None and read.report is not None and read.failures == 0 and not read.report.ready
        return pod.ready and not objects

    @property
    def staying(self) -> tuple[Pod, ...]:
        """All pods that are not on their way out."""
        return tuple(pod for pod in self.pods if not pod.deleting)
