"""All objects of one resource, offline: what `torchserve-operator render` prints. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from torchserve_operator.agent.bundle import agent_bundle
from torchserve_operator.api.parse import parse_resource
from torchserve_operator.desired.children import Children, children
from torchserve_operator.desired.objects import Object
from torchserve_operator.kube.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    POD_DISRUPTION_BUDGET,
    SERVICE,
    SERVICE_ACCOUNT,
    Kind,
)


def in_write_order(wanted: Children) -> Iterator[tuple[Kind, Object]]:
    """Yield the wanted objects so that each exists before another needs it."""
    for kind, body in (
        (SERVICE_ACCOUNT, wanted.service_account),
        (CONFIG_MAP, wanted.server_config),
        (CONFIG_MAP, wanted.agent_config),
        (CONFIG_MAP, wanted.policy),
        (SERVICE, wanted.service),
        (DEPLOYMENT, wanted.deployment),
        (POD_DISRUPTION_BUDGET, wanted.pod_disruption_budget),
    ):
        if body is not None:
            yield kind, body


def render(body: Mapping[str, Any]) -> list[Object]:
    """Return every generated object of a resource, as on its first day in a cluster.

    Raises:
        InvalidResourceError: With every error found in it.
    """
    spec = parse_resource(body)
    metadata = {"namespace": "default", "uid": "00000000-0000-0000-0000-000000000000", **body["metadata"]}
    wanted = children(metadata, spec, agent_bundle())
    return [{"apiVersion": kind.api_version, "kind": kind.name, **child} for kind, child in in_write_order(wanted)]
