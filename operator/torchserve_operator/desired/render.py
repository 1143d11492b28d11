"""All objects of one resource, offline: what `torchserve-operator render` prints. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from torchserve_operator.agent.bundle import agent_bundle
from torchserve_operator.api.parse import parse_resource
from torchserve_operator.api.spec import TorchServeModelSpec
from torchserve_operator.builder.in_base import bundle
from torchserve_operator.builder.requirements import from_lines
from torchserve_operator.desired.build_job import build_config_map, build_job
from torchserve_operator.desired.build_plan import BuildDefaults, build_inputs, build_plan
from torchserve_operator.desired.children import Children, children
from torchserve_operator.desired.objects import Object
from torchserve_operator.kube.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    JOB,
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
    built = list(_build(metadata, spec))
    image = f"{spec.build.repository}@sha256:{'0' * 64}" if spec.build is not None else None
    wanted = children(metadata, spec, agent_bundle(), image=image)
    objects = [*built, *in_write_order(wanted)]
    return [{"apiVersion": kind.api_version, "kind": kind.name, **child} for kind, child in objects]


def _build(metadata: Mapping[str, Any], spec: TorchServeModelSpec) -> Iterator[tuple[Kind, Object]]:
    """Yield a build's objects; a ConfigMap's requirements, and the operator's settings, are not known here."""
    build = spec.build
    if build is None:
        return
    defaults = BuildDefaults(builder_image="torchserve-operator")
    requirements = from_lines(build.requirements)
    source = build.requirements_from
    lines = [line.text for line in requirements.lines]
    if source is not None:
        lines = [f"(key {source.key} of ConfigMap {source.config_map_name})"]
    plan = build_plan(metadata, spec, build, defaults, requirements=lines)
    config_map = build_config_map(metadata, plan, requirements.plan() if lines else None, bundle())
    yield CONFIG_MAP, config_map
    yield (
        JOB,
        build_job(
            metadata,
            spec,
            build,
            defaults,
            attempt=build_inputs(spec, build).attempt,
            config_map=config_map["metadata"]["name"],
            requirements=bool(lines),
        ),
    )
