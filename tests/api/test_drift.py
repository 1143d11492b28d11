"""The shape holds: what is deleted comes back, what is changed is restored, what is added is removed."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from world import Object, World, container_of, template_of

from torchserve_operator.kube.kinds import CONFIG_MAP, DEPLOYMENT, SERVICE, SERVICE_ACCOUNT, Kind
from torchserve_operator.reconcile.projections import RESOURCE


@pytest.fixture
async def served(world: World) -> AsyncIterator[World]:
    """Return a world with an operator and one resource at rest."""
    async with world.operator() as operator:
        limits = {"cpu": "1000m", "memory": "1024Mi"}
        await world.create(resources={"limits": limits}, pod={"env": [{"name": "MINE", "value": "1"}]})
        await world.condition("Ready", "False")
        await world.at_rest(operator)
        yield world


async def restored(world: World, kind: Kind, name: str, before: Object) -> None:
    """Wait until the object's content is what it was."""

    async def question() -> bool:
        live = await world.client.get(kind, world.namespace, name)
        return live is not None and content(live) == content(before)

    await world.eventually(question)


def content(body: Object) -> Object:
    kept = {key: value for key, value in body.items() if key not in {"apiVersion", "kind", "metadata", "status"}}
    if "clusterIP" in kept.get("spec", {}):
        kept["spec"] = {k: v for k, v in kept["spec"].items() if k not in {"clusterIP", "clusterIPs"}}
    return kept | {"labels": body["metadata"].get("labels")}


async def test_each_deleted_child_comes_back(served: World) -> None:
    for kind in (SERVICE, DEPLOYMENT, SERVICE_ACCOUNT, CONFIG_MAP):
        for child in await served.all_of(kind):
            await served.client.request("DELETE", kind.path(served.namespace, child["metadata"]["name"]))
            await restored(served, kind, child["metadata"]["name"], child)


CHANGES: list[tuple[str, Kind, str, Object]] = [
    ("replicas", DEPLOYMENT, "digits", {"spec": {"replicas": 7}}),
    ("a paused rollout", DEPLOYMENT, "digits", {"spec": {"paused": True}}),
    ("the Service's selector", SERVICE, "digits", {"spec": {"selector": {"app": "other"}}}),
    ("the Service's type", SERVICE, "digits", {"spec": {"type": "NodePort"}}),
    ("a label", SERVICE, "digits", {"metadata": {"labels": {"app.kubernetes.io/instance": "x"}}}),
    ("the policy", CONFIG_MAP, "digits-policy", {"data": {"policy.json": "{}"}}),
    ("the token", SERVICE_ACCOUNT, "digits", {"automountServiceAccountToken": True}),
    ("a host network", DEPLOYMENT, "digits", {"spec": {"template": {"spec": {"hostNetwork": True}}}}),
    ("a foreign label on the pods", DEPLOYMENT, "digits", {"spec": {"template": {"metadata": {"labels": {"x": "y"}}}}}),
]


@pytest.mark.parametrize(("kind", "name", "patch"), [case[1:] for case in CHANGES], ids=[case[0] for case in CHANGES])
async def test_a_changed_field_is_restored(served: World, kind: Kind, name: str, patch: Object) -> None:
    before = await served.get(kind, name)
    assert before is not None
    await served.patch(kind, name, patch)
    await restored(served, kind, name, before)


async def strategic(world: World, patch: Object) -> None:
    """Patch the Deployment as `kubectl edit` and `kubectl set` do."""
    await world.client.request(
        "PATCH",
        DEPLOYMENT.path(world.namespace, "digits"),
        params={"fieldManager": "kubectl-edit"},
        body=patch,
        content_type="application/strategic-merge-patch+json",
    )


def pod(**spec: Any) -> Object:
    return {"spec": {"template": {"spec": spec}}}


STRANGERS: list[tuple[str, Object]] = [
    ("a container", pod(containers=[{"name": "evil", "image": "x"}])),
    ("an init container", pod(initContainers=[{"name": "evil", "image": "x"}])),
    ("a variable", pod(containers=[{"name": "torchserve", "env": [{"name": "EVIL", "value": "1"}]}])),
    ("a changed variable", pod(containers=[{"name": "torchserve", "env": [{"name": "MINE", "value": "2"}]}])),
    ("a volume", pod(volumes=[{"name": "evil", "hostPath": {"path": "/"}}])),
    (
        "a volume with its mount",
        pod(
            volumes=[{"name": "evil", "emptyDir": {}}],
            containers=[{"name": "torchserve", "volumeMounts": [{"name": "evil", "mountPath": "/evil"}]}],
        ),
    ),
    ("a capability", pod(containers=[{"name": "torchserve", "securityContext": {"privileged": False}}])),
    ("two containers and a command", pod(containers=[
        {"name": "a", "image": "x"}, {"name": "torchserve", "command": ["sh"]}, {"name": "z", "image": "x"},
    ])),
    ("a node name", pod(nodeName="there")),
]  # fmt: skip


@pytest.mark.parametrize("patch", [case[1] for case in STRANGERS], ids=[case[0] for case in STRANGERS])
async def test_what_a_stranger_puts_into_the_pod_template_is_removed(served: World, patch: Object) -> None:
    before = await served.get(DEPLOYMENT)
    assert before is not None
    await strategic(served, patch)
    await restored(served, DEPLOYMENT, "digits", before)


async def test_a_stranger_that_applies_server_side_is_removed_too(served: World) -> None:
    before = await served.get(DEPLOYMENT)
    assert before is not None
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "digits"},
        "spec": {
            "template": {"spec": {"containers": [{"name": "torchserve", "env": [{"name": "EVIL", "value": "1"}]}]}}
        },
    }
    await served.client.request(
        "PATCH",
        DEPLOYMENT.path(served.namespace, "digits"),
        params={"fieldManager": "argocd", "force": "true"},
        body=body,
        content_type="application/apply-patch+yaml",
    )
    await restored(served, DEPLOYMENT, "digits", before)


async def test_a_restart_by_kubectl_is_welcome(world: World) -> None:
    async with world.operator() as operator:
        await world.create()
        await world.condition("Ready", "False")
        await world.at_rest(operator)
        stamp = {"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"}
        await world.patch(DEPLOYMENT, "digits", {"spec": {"template": {"metadata": {"annotations": stamp}}}})
        await world.at_rest(operator)
        deployment = await world.get(DEPLOYMENT)
        assert deployment is not None
        annotations = template_of(deployment)["metadata"]["annotations"]
        assert annotations["kubectl.kubernetes.io/restartedAt"] == stamp["kubectl.kubernetes.io/restartedAt"]


async def test_a_field_that_is_wanted_no_more_goes(served: World) -> None:
    await served.patch(RESOURCE, "digits", {"spec": {"pod": {"env": None}}})

    async def gone() -> bool:
        deployment = await served.get(DEPLOYMENT)
        assert deployment is not None
        return "MINE" not in {variable["name"] for variable in container_of(deployment)["env"]}

    await served.eventually(gone)


async def test_what_was_restored_is_told_in_an_event(served: World) -> None:
    await served.patch(SERVICE, "digits", {"spec": {"selector": {"torchserve-operator.dev/model": "other"}}})

    async def told() -> bool:
        answer = await served.client.request("GET", f"/apis/events.k8s.io/v1/namespaces/{served.namespace}/events")
        return any(
            event["reason"] == "Restored" and "Service digits: spec.selector" in event["note"]
            for event in answer["items"]
        )

    await served.eventually(told)
