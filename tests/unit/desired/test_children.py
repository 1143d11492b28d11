"""The generated objects of whole specs, as a person would review them, and what changes them and what does not.

``UPDATE_GOLDEN=1 python -m pytest tests/unit/desired/test_children.py`` writes the golden files anew. The files inside
the server's ConfigMap are golden in tests/golden.
"""

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from torchserve_operator.agent.bundle import AgentBundle
from torchserve_operator.api.names import (
    ANNOTATION_CERTIFICATE,
    ANNOTATION_SPEC_HASH,
    ANNOTATION_TEMPLATE,
    LABEL_REVISION,
)
from torchserve_operator.api.parse import parse_resource, parse_spec
from torchserve_operator.api.spec import TorchServeModelSpec
from torchserve_operator.desired.children import Children, can_hold, children, spec_hash
from torchserve_operator.desired.render import in_write_order
from torchserve_operator.kube.kinds import CONFIG_MAP

HERE = Path(__file__).parent
SPECS = Path(__file__).parents[2] / "golden"
GOLDEN = ("minimal", "tls", "two-models", "mig")
BUNDLE = AgentBundle(pyz=b"agent", jar=b"jar", digest="0" * 64)
NEWER = AgentBundle(pyz=b"newer agent", jar=b"jar", digest="1" * 64)
RESOURCE = {"name": "m", "namespace": "ns", "uid": "u"}
BASE: dict[str, Any] = {"image": "registry.example/m:1", "models": [{"name": "m"}]}


def spec(**changes: Any) -> TorchServeModelSpec:
    return parse_spec(BASE | changes)


def decide(wanted: TorchServeModelSpec, bundle: AgentBundle = BUNDLE, **known: Any) -> Children:
    return children(RESOURCE, wanted, bundle, **known)


def after(before: Children, **more: Any) -> dict[str, Any]:
    """What the next decision knows: the Deployment and the ConfigMaps of the one before."""
    maps = (before.server_config, before.agent_config)
    return {"deployment": before.deployment, "config_maps": {m["metadata"]["name"] for m in maps if m}, **more}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_spec_makes_exactly_its_golden_objects(name: str) -> None:
    body = yaml.safe_load((SPECS / name / "spec.yaml").read_text())
    wanted = children({"namespace": "default", "uid": "uid", **body["metadata"]}, parse_resource(body), BUNDLE)
    objects = []
    for kind, child in in_write_order(wanted):
        if kind == CONFIG_MAP and "data" in child:
            child["data"] = dict.fromkeys(child["data"], "...")
        annotations = child["metadata"].get("annotations", {})
        if ANNOTATION_TEMPLATE in annotations:
            assert json.loads(annotations[ANNOTATION_TEMPLATE]) == child["spec"]["template"]
            annotations[ANNOTATION_TEMPLATE] = "..."
        objects.append({"apiVersion": kind.api_version, "kind": kind.name, **child})
    text = yaml.safe_dump_all(objects, sort_keys=False, width=120, explicit_start=True)
    golden = HERE / "golden_objects" / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert golden.read_text() == text


ROLLS_NOTHING: list[dict[str, Any]] = [
    {"replicas": 3},
    {"paused": True},
    {"rollout": {"strategy": "Replace"}},
    {"service": {"type": "NodePort", "port": 8000, "annotations": {"a": "b"}}},
    {"podDisruptionBudget": {"enabled": False}},
    {"models": [{"name": "m", "minWorkers": 3, "maxWorkers": 8}]},
    {"server": {}, "logging": {}, "pod": {}, "resources": {"limits": {}}},
]
ROLLS: list[dict[str, Any]] = [
    {"image": "registry.example/m:2"},
    {"models": [{"name": "m", "batchSize": 4}]},
    {"models": [{"name": "n"}]},
    {"models": [{"name": "m"}, {"name": "n"}]},
    {"logging": {"level": "WARN"}},
    {"resources": {"limits": {"cpu": "2"}}},
    {"server": {"tls": {"secretName": "s"}}},
    {"pod": {"env": [{"name": "A", "value": "1"}]}},
    {"pod": {"nodeSelector": {"gpu": "yes"}}},
]


@pytest.mark.parametrize("change", ROLLS_NOTHING, ids=",".join)
def test_what_the_pods_are_not_made_of_leaves_the_template_as_it_is(change: dict[str, Any]) -> None:
    before = decide(spec())
    now = decide(spec(**change), **after(before))
    assert spec_hash(spec(**change)) == spec_hash(spec())
    assert now.template == before.template
    assert now.revision == before.revision


@pytest.mark.parametrize("change", ROLLS, ids=str)
def test_what_the_pods_are_made_of_gives_a_new_revision(change: dict[str, Any]) -> None:
    before = decide(spec())
    now = decide(spec(**change), **after(before))
    assert spec_hash(spec(**change)) != spec_hash(spec())
    assert now.revision != before.revision


def test_edited_bounds_change_the_policy_and_only_the_policy() -> None:
    before, now = decide(spec()), decide(spec(models=[{"name": "m", "minWorkers": 2, "maxWorkers": 4}]))
    assert now.policy_hash != before.policy_hash
    assert now.policy["metadata"] == before.policy["metadata"]
    assert now.server_config == before.server_config


def test_a_new_agent_rolls_nothing_until_the_spec_changes() -> None:
    before = decide(spec())
    now = decide(spec(), NEWER, **after(before))
    assert now.template == before.template
    assert now.agent_config is None  # what the kept template names exists, and is left alone
    assert now.referenced == before.referenced
    changed = decide(spec(image="registry.example/m:2"), NEWER, **after(before))
    assert changed.agent_config is not None
    assert base64.b64decode(changed.agent_config["binaryData"]["agent.pyz"]) == NEWER.pyz


def test_a_kept_template_whose_files_are_gone_is_made_afresh() -> None:
    before = decide(spec())
    now = decide(spec(), NEWER, deployment=before.deployment)
    assert now.revision != before.revision
    assert now.agent_config is not None


@pytest.mark.parametrize(
    "damage",
    [
        {ANNOTATION_SPEC_HASH: "other"},
        {ANNOTATION_TEMPLATE: "no JSON"},
        {ANNOTATION_TEMPLATE: "[]"},
        {ANNOTATION_TEMPLATE: "{}"},
        {ANNOTATION_TEMPLATE: '{"metadata": {"labels": {}}, "spec": {"volumes": []}}'},
    ],
    ids=str,
)
def test_a_damaged_memory_of_the_template_is_no_obstacle(damage: dict[str, str]) -> None:
    before = decide(spec())
    metadata = before.deployment["metadata"]
    damaged = {**before.deployment, "metadata": {**metadata, "annotations": metadata["annotations"] | damage}}
    now = decide(spec(), deployment=damaged, config_maps=after(before)["config_maps"])
    assert now.deployment == before.deployment


def test_a_renewed_certificate_rolls_once_and_is_remembered() -> None:
    tls = spec(server={"tls": {"secretName": "s"}})
    before = decide(tls)
    renewed = decide(tls, **after(before, certificate="abc"))
    assert renewed.template["metadata"]["annotations"][ANNOTATION_CERTIFICATE] == "abc"
    assert renewed.revision != before.revision
    again = decide(tls, **after(before) | {"deployment": renewed.deployment}, certificate="abc")
    later = decide(tls, **after(before) | {"deployment": renewed.deployment})
    assert again.template == later.template == renewed.template
    assert renewed.template["spec"] == before.template["spec"]


def test_the_revision_depends_on_nothing_but_the_template() -> None:
    first, second = decide(spec()), decide(spec(replicas=4))
    assert first.revision == second.revision == first.template["metadata"]["labels"][LABEL_REVISION]


def test_what_a_container_starts_with_is_immutable_and_named_by_its_content() -> None:
    one, two = decide(spec()), decide(spec(logging={"level": "WARN"}))
    assert one.server_config is not None
    assert two.server_config is not None
    assert one.server_config["immutable"] is two.server_config["immutable"] is True
    assert one.server_config["metadata"]["name"] != two.server_config["metadata"]["name"]
    assert "immutable" not in one.policy


def test_a_budget_comes_with_the_second_replica() -> None:
    assert decide(spec(replicas=0)).pod_disruption_budget is None
    assert decide(spec(replicas=1)).pod_disruption_budget is None
    assert decide(spec(replicas=2, podDisruptionBudget={"enabled": False})).pod_disruption_budget is None
    for budget, expected in [
        ({}, {"maxUnavailable": 1}),
        ({"maxUnavailable": "25%"}, {"maxUnavailable": "25%"}),
        ({"minAvailable": 1}, {"minAvailable": 1}),
        ({"maxUnavailable": 0}, {"maxUnavailable": 0}),
    ]:
        made = decide(spec(replicas=2, podDisruptionBudget=budget)).pod_disruption_budget
        assert made is not None
        assert expected.items() <= made["spec"].items()
        assert len({"minAvailable", "maxUnavailable"} & made["spec"].keys()) == 1


def test_an_existing_service_account_is_used_and_none_is_made() -> None:
    wanted = decide(spec(pod={"serviceAccountName": "mine"}))
    assert wanted.service_account is None
    assert wanted.template["spec"]["serviceAccountName"] == "mine"


@given(name=st.from_regex(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", fullmatch=True))
def test_no_childs_name_is_longer_than_a_dns_label(name: str) -> None:
    wanted = children({**RESOURCE, "name": name}, spec(replicas=2), BUNDLE)
    for _, child in in_write_order(wanted):
        assert len(child["metadata"]["name"]) <= 63
        assert child["metadata"]["name"].startswith(name)
        assert all(len(value) <= 63 for value in child["metadata"]["labels"].values())


BUILT: dict[str, Any] = {
    "build": {"repository": "registry.example/m", "requirements": ["pillow"]},
    "models": [{"name": "m", "archive": {"url": "s3://models/m.mar"}}],
}
ONE, TWO = f"registry.example/m@sha256:{'1' * 64}", f"registry.example/m@sha256:{'2' * 64}"


def test_an_image_that_is_built_rolls_the_pods_when_it_changes_and_not_when_its_build_does() -> None:
    first = decide(parse_spec(BUILT), image=ONE)
    assert first.template["spec"]["containers"][0]["image"] == ONE
    other_build = {**BUILT, "build": {**BUILT["build"], "revision": "2", "tags": ["latest"]}}
    assert decide(parse_spec(other_build), NEWER, image=ONE, **after(first)).template == first.template
    assert decide(parse_spec(BUILT), image=TWO, **after(first)).revision != first.revision


def test_an_image_that_is_built_makes_the_same_pods_as_one_that_is_named() -> None:
    named = decide(parse_spec({"image": ONE, "models": [{"name": "m"}]}))
    assert decide(parse_spec(BUILT), image=ONE).template == named.template


def test_without_the_image_the_template_is_held_whatever_the_spec_says_and_the_rest_follows() -> None:
    first = decide(parse_spec(BUILT), image=ONE)
    changed = {**BUILT, "replicas": 3, "logging": {"level": "WARN"}, "service": {"type": "NodePort"}}
    changed["models"] = [{**BUILT["models"][0], "minWorkers": 2, "batchSize": 8}]
    held = decide(parse_spec(changed), NEWER, **after(first))
    assert held.template == first.template
    assert held.referenced == first.referenced
    assert held.deployment["metadata"]["annotations"] == first.deployment["metadata"]["annotations"]
    assert held.deployment["spec"]["replicas"] == 3
    assert held.service["spec"]["type"] == "NodePort"
    assert '"minWorkers":2' in held.policy["data"]["policy.json"]
    assert held.pod_disruption_budget is not None
    then = decide(parse_spec(changed), NEWER, image=TWO, **after(held))
    assert then.revision != first.revision
    assert then.template["spec"]["containers"][0]["image"] == TWO


def test_a_template_can_be_held_only_where_the_deployment_says_which() -> None:
    first = decide(parse_spec(BUILT), image=ONE)
    assert can_hold(first.deployment)
    assert not can_hold(None)
    for annotations in ({}, {ANNOTATION_SPEC_HASH: "x"}, {ANNOTATION_SPEC_HASH: "x", ANNOTATION_TEMPLATE: "{"}):
        assert not can_hold({"metadata": {"annotations": annotations}})
    with pytest.raises(ValueError, match="neither an image nor a template"):
        decide(parse_spec(BUILT))
