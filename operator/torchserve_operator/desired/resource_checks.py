"""`spec.resources`, and the disruption budget against `spec.replicas`. Pure.

The API server would refuse most of this too, but only when the Deployment makes its first pod, in an event of a
ReplicaSet.
"""

import math
from collections.abc import Iterator
from typing import Final

from torchserve_operator.api.errors import FieldError, did_you_mean
from torchserve_operator.api.explain import path_of
from torchserve_operator.api.quantity import parse_quantity
from torchserve_operator.api.spec import TorchServeModelSpec

_PLAIN: Final = ("cpu", "memory", "ephemeral-storage")


def resource_errors(spec: TorchServeModelSpec) -> Iterator[FieldError]:
    """Yield what no node could give, and a budget that lets no pod go."""
    requests, limits = spec.resources.requests, spec.resources.limits
    for field, resources in (("requests", requests), ("limits", limits)):
        for name, text in resources.items():
            message = _wrong_name(name) or _wrong_amount(name, text)
            if message is not None:
                yield FieldError(path_of(("resources", field, name)), message)
    for name, text in requests.items():
        path, limit = path_of(("resources", "requests", name)), limits.get(name)
        if limit is None:
            if not _divisible(name):
                yield FieldError(
                    path, f"{name} is given in limits: set {path_of(('resources', 'limits', name))} to {text}"
                )
        elif not _divisible(name) and parse_quantity(text) != parse_quantity(limit):
            yield FieldError(path, f"is {text} and its limit is {limit}; {name} cannot be shared, so both are the same")
        elif parse_quantity(text) > parse_quantity(limit):
            yield FieldError(path, f"is {text}, more than its limit of {limit}; raise the limit or lower the request")
    yield from _budget(spec)


def _divisible(name: str) -> bool:
    """Return whether a node gives parts of it, and more than it has."""
    return name in _PLAIN


def _wrong_name(name: str) -> str | None:
    if name in _PLAIN or name.startswith("hugepages-") or "/" in name:
        return None
    hint = did_you_mean(name, _PLAIN) or f"; known are {', '.join(_PLAIN)} and names with a domain, as nvidia.com/gpu"
    return f'"{name}" is not a resource{hint}'


def _wrong_amount(name: str, text: str) -> str | None:
    amount = parse_quantity(text)
    if "/" in name and amount != amount.to_integral_value():
        return f"is {text}; {name} is counted in whole numbers"
    if name == "memory" and 0 < amount < 2**20:
        return f"is {text}, less than a mebibyte; memory is counted in bytes: write {math.ceil(amount)}Mi, for example"
    return None


def _budget(spec: TorchServeModelSpec) -> Iterator[FieldError]:
    budget, replicas = spec.pod_disruption_budget, spec.replicas
    if not budget.enabled or replicas < 2:
        return
    at = "spec.podDisruptionBudget"
    if budget.min_available is not None and _pods(budget.min_available, replicas) >= replicas:
        yield FieldError(
            f"{at}.minAvailable",
            f"is {budget.min_available} of {replicas} replicas, so no node with one of them could ever be drained; "
            f"the most is {replicas - 1}",
        )
    if budget.max_unavailable is not None and _pods(budget.max_unavailable, replicas) == 0:
        yield FieldError(
            f"{at}.maxUnavailable",
            f"is {budget.max_unavailable}, so no node with a replica could ever be drained; the least is 1",
        )


def _pods(bound: int | str, replicas: int) -> int:
    """Return a bound in pods; Kubernetes rounds percentages of a disruption budget up."""
    return bound if isinstance(bound, int) else math.ceil(replicas * int(bound.removesuffix("%")) / 100)
