"""The pod template: restricted whatever the spec says, and nothing of a user's lost."""

from typing import Any

import pytest

from torchserve_operator.api.names import CONTAINER, LABEL_MODEL
from torchserve_operator.desired.pod_template import pod_template
from torchserve_operator.desired.sizing import size
from unit.desired.specs import make_spec


def template(*models: dict[str, Any], **fields: Any) -> dict[str, Any]:
    spec = make_spec(*models, **fields)
    return pod_template(
        "m",
        spec,
        size(spec),
        image=spec.image or "built",
        server_config="m-server-1",
        agent_config="m-agent-1",
        policy="m-policy",
    )


def container(*models: dict[str, Any], **fields: Any) -> dict[str, Any]:
    (only,) = template(*models, **fields)["spec"]["containers"]
    return dict(only)


def volumes(made: dict[str, Any]) -> dict[str, Any]:
    return {volume["name"].removeprefix("torchserve-operator-"): volume for volume in made["spec"]["volumes"]}


def test_a_pod_is_restricted_and_gets_no_token() -> None:
    made = template()["spec"]
    assert made["automountServiceAccountToken"] is False
    assert made["securityContext"]["runAsNonRoot"] is True
    assert made["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_every_mount_has_its_volume() -> None:
    made = template(
        server={"tls": {"secretName": "s"}},
        pod={
            "volumes": [{"name": "data", "emptyDir": {}}],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        },
    )
    (only,) = made["spec"]["containers"]
    assert {mount["name"] for mount in only["volumeMounts"]} == {volume["name"] for volume in made["spec"]["volumes"]}


def test_the_key_is_read_by_the_pods_group_and_nobody_else() -> None:
    assert "tls" not in volumes(template())
    made = template(server={"tls": {"secretName": "digits-tls"}})
    assert volumes(made)["tls"]["secret"] == {"secretName": "digits-tls", "defaultMode": 0o440}
    assert made["spec"]["securityContext"]["fsGroup"] == made["spec"]["securityContext"]["runAsGroup"]
    mount = next(m for m in container(server={"tls": {"secretName": "s"}})["volumeMounts"] if m["name"].endswith("tls"))
    assert mount["readOnly"] is True


@pytest.mark.parametrize(
    "name", ["nvidia.com/gpu", "nvidia.com/mig-1g.10gb", "amd.com/gpu", "gpu.intel.com/i915", "gpu.intel.com/xe"]
)
def test_gpus_of_every_vendor_are_asked_for_by_their_own_name(name: str) -> None:
    made = container({"deviceType": "gpu"}, limits={"cpu": "2", "memory": "4Gi", name: "1"})
    assert made["resources"]["limits"][name] == "1"


def test_quantities_are_written_as_the_api_server_gives_them_back() -> None:
    made = container(limits={"cpu": "1000m", "memory": "1024Mi"}, requests={"cpu": "0.5", "memory": "1048576Ki"})
    assert made["resources"] == {
        "limits": {"cpu": "1", "memory": "1Gi"},
        "requests": {"cpu": "500m", "memory": "1Gi"},
    }


def test_a_users_variable_wins_and_comes_once() -> None:
    made = container(pod={"env": [{"name": "OMP_NUM_THREADS", "value": "7"}, {"name": "HOME", "value": "/data"}]})
    names = [variable["name"] for variable in made["env"]]
    assert len(names) == len(set(names))
    assert {"name": "OMP_NUM_THREADS", "value": "7"} in made["env"]
    assert {"name": "HOME", "value": "/data"} in made["env"]


def test_a_users_label_cannot_take_the_pods_away_from_their_service() -> None:
    made = template(pod={"labels": {"team": "vision"}, "annotations": {"note": "x"}})
    assert made["metadata"]["labels"]["team"] == "vision"
    assert made["metadata"]["labels"][LABEL_MODEL] == "m"
    assert made["metadata"]["annotations"]["note"] == "x"
    assert made["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"] == CONTAINER


def test_an_affinity_is_passed_on_as_it_is() -> None:
    affinity: dict[str, Any] = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}
    }
    assert template(pod={"affinity": affinity})["spec"]["affinity"] == affinity


def test_spread_constraints_select_this_resources_pods() -> None:
    made = template(pod={"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone"}]})
    (constraint,) = made["spec"]["topologySpreadConstraints"]
    assert constraint["labelSelector"] == {"matchLabels": {LABEL_MODEL: "m"}}
    assert constraint["maxSkew"] == 1
    assert constraint["whenUnsatisfiable"] in {"DoNotSchedule", "ScheduleAnyway"}


def test_the_startup_probe_allows_what_the_slowest_model_may_take() -> None:
    quick, slow = container({"startupTimeout": 10}), container({"startupTimeout": 3000})
    patience = [c["startupProbe"]["failureThreshold"] * c["startupProbe"]["periodSeconds"] for c in (quick, slow)]
    assert patience[0] < 3000 <= patience[1]


def test_probes_follow_tls() -> None:
    plain, encrypted = container(), container(server={"tls": {"secretName": "s"}})
    schemes = {probe["httpGet"].get("scheme", "HTTP") for probe in (plain["livenessProbe"], plain["readinessProbe"])}
    assert schemes == {"HTTP"}
    assert encrypted["livenessProbe"]["httpGet"]["scheme"] == "HTTPS"
