"""What the operator writes for a resource, and what it does not write."""

import asyncio
from dataclasses import replace

import pytest
from world import World, container_of, template_of

from testbed.audit import Mark
from torchserve_operator.agent.bundle import agent_bundle
from torchserve_operator.kube.client import ApiError
from torchserve_operator.kube.kinds import CONFIG_MAP, DEPLOYMENT, POD_DISRUPTION_BUDGET, SERVICE, SERVICE_ACCOUNT
from torchserve_operator.reconcile.projections import RESOURCE


def operators_writes(world: World, since: Mark) -> list[str]:
    """Return what the operator (everybody in this namespace who is not the test) wrote since."""
    return [
        line
        for event in world.api.audit.events(since)
        if (line := f"{event['verb']} {event['requestURI']}")
        and event["verb"] in {"create", "update", "patch", "delete"}
        and f"/namespaces/{world.namespace}/" in event["requestURI"]
        and "fieldManager=torchserve-operator" in event["requestURI"]
    ]


async def test_a_resource_gets_its_children_owned_and_labelled(world: World) -> None:
    async with world.operator() as operator:
        resource = await world.create(replicas=2)
        await world.condition("Ready", "False", reason="Progressing")
        await world.at_rest(operator)
        names = await world.child_names()
        assert names["Deployment"] == names["Service"] == names["PodDisruptionBudget"] == ["digits"]
        assert names["ServiceAccount"] == ["digits"]
        assert [name.rsplit("-", 1)[0] for name in names["ConfigMap"]] == ["digits-agent", "digits", "digits-server"]
        for kind in (DEPLOYMENT, SERVICE, CONFIG_MAP, SERVICE_ACCOUNT, POD_DISRUPTION_BUDGET):
            for child in await world.all_of(kind):
                assert child["metadata"]["ownerReferences"][0]["uid"] == resource["metadata"]["uid"]
                assert child["metadata"]["labels"]["torchserve-operator.dev/model"] == "digits"


async def test_nothing_is_written_at_rest_after_a_restart_and_at_a_resync(world: World) -> None:
    spec = {
        "replicas": 2,
        "resources": {"limits": {"cpu": "1000m", "memory": "1024Mi"}, "requests": {"cpu": "0.5", "memory": "1024Mi"}},
        "pod": {
            "env": [{"name": "EMPTY", "value": ""}, {"name": "B", "value": "1"}],
            "volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": "2048Mi"}}],
            "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
        },
    }
    async with world.operator() as operator:
        await world.create(**spec)
        await world.condition("Ready", "False")
        await world.at_rest(operator)
    before = {kind.name: await world.all_of(kind) for kind in (DEPLOYMENT, SERVICE, CONFIG_MAP, RESOURCE)}
    mark = world.api.audit.mark()
    async with world.operator(resync_seconds=0.2) as operator:
        await world.at_rest(operator)
        done = operator.metrics.reconciles.labels("done")
        first = done._value.get()  # noqa: SLF001  # prometheus-client has no public way to read a counter

        async def resynced() -> bool:
            return bool(done._value.get() >= first + 3)  # noqa: SLF001  # the same

        await world.eventually(resynced)
        assert operator.client.writes == {}
    await world.client.patch_merge(RESOURCE, world.namespace, "digits", {"spec": {"replicas": 2}})
    assert operators_writes(world, mark) == []
    assert {kind.name: await world.all_of(kind) for kind in (DEPLOYMENT, SERVICE, CONFIG_MAP, RESOURCE)} == before


async def test_a_new_operator_with_a_new_agent_rolls_nothing_until_the_spec_changes(world: World) -> None:
    async with world.operator() as operator:
        await world.create()
        await world.condition("Ready", "False")
        await world.at_rest(operator)
    first = template_of(await world.get(DEPLOYMENT) or {})
    newer = replace(agent_bundle(), pyz=agent_bundle().pyz + b"newer", digest="newer")
    async with world.operator(newer) as operator:
        await world.at_rest(operator)
        assert template_of(await world.get(DEPLOYMENT) or {}) == first
        assert operator.client.writes == {}
        await world.patch(
            RESOURCE,
            "digits",
            {"spec": {"service": {"type": "NodePort"}, "models": [{"name": "digits", "minWorkers": 2}]}},
        )

        async def service_changed() -> bool:
            return ((await world.get(SERVICE)) or {})["spec"]["type"] == "NodePort"

        await world.eventually(service_changed)
        await world.at_rest(operator)
        assert template_of(await world.get(DEPLOYMENT) or {}) == first
        await world.patch(RESOURCE, "digits", {"spec": {"logging": {"level": "WARN"}}})

        async def rolled() -> bool:
            return template_of(await world.get(DEPLOYMENT) or {}) != first

        await world.eventually(rolled)


async def test_old_configuration_stays_while_a_replica_set_names_it(world: World) -> None:
    async with world.operator() as operator:
        await world.create()
        await world.condition("Ready", "False")
        await world.at_rest(operator)
        old = template_of(await world.get(DEPLOYMENT) or {})
        old_maps = set((await world.child_names())["ConfigMap"])
        await world.client.request(
            "POST",
            f"/apis/apps/v1/namespaces/{world.namespace}/replicasets",
            body={
                "metadata": {"name": "digits-old", "labels": old["metadata"]["labels"]},
                "spec": {"replicas": 0, "selector": {"matchLabels": old["metadata"]["labels"]}, "template": old},
            },
        )
        await world.patch(RESOURCE, "digits", {"spec": {"logging": {"level": "WARN"}}})

        async def both() -> bool:
            return len((await world.child_names())["ConfigMap"]) == 4

        await world.eventually(both)
        await world.at_rest(operator)
        assert old_maps < set((await world.child_names())["ConfigMap"])
        await world.client.request("DELETE", f"/apis/apps/v1/namespaces/{world.namespace}/replicasets/digits-old")
        await world.patch(RESOURCE, "digits", {"spec": {"replicas": 3}})

        async def removed() -> bool:
            return len((await world.child_names())["ConfigMap"]) == 3

        await world.eventually(removed)


async def test_a_bad_new_configuration_cannot_reach_what_an_old_container_was_started_with(world: World) -> None:
    async with world.operator() as operator:
        await world.create()
        await world.condition("Ready", "False")
        await world.at_rest(operator)
        server = next(n for n in (await world.child_names())["ConfigMap"] if n.startswith("digits-server-"))
        with pytest.raises(ApiError, match="immutable"):
            await world.patch(CONFIG_MAP, server, {"data": {"config.properties": "broken"}})


async def test_an_invalid_change_leaves_what_runs_alone_and_says_what_is_wrong(world: World) -> None:
    async with world.operator() as operator:
        await world.create()
        await world.condition("Ready", "False")
        await world.at_rest(operator)
        before = await world.get(DEPLOYMENT)
        await world.patch(RESOURCE, "digits", {"spec": {"server": {"properties": {"jobb_queue_size": "5"}}}})
        condition = await world.condition("Ready", "False", reason="InvalidSpec")
        assert "spec.server.properties.jobb_queue_size" in condition["message"]
        await world.at_rest(operator)
        assert await world.get(DEPLOYMENT) == before


async def test_paused_writes_nothing_to_the_children_and_says_so(world: World) -> None:
    async with world.operator() as operator:
        await world.create()
        await world.condition("Ready", "False")
        await world.at_rest(operator)
        before = await world.get(DEPLOYMENT)
        await world.patch(RESOURCE, "digits", {"spec": {"paused": True, "replicas": 5}})
        condition = await world.condition("Ready", "False", reason="Paused")
        assert "paused is true" in condition["message"]
        assert await world.get(DEPLOYMENT) == before
        await world.patch(RESOURCE, "digits", {"spec": {"paused": False}})

        async def scaled() -> bool:
            return ((await world.get(DEPLOYMENT)) or {})["spec"]["replicas"] == 5

        await world.eventually(scaled)


async def test_a_budget_comes_with_the_second_replica_and_goes_with_it(world: World) -> None:
    async with world.operator() as operator:
        await world.create()
        await world.condition("Ready", "False")
        await world.at_rest(operator)
        assert await world.all_of(POD_DISRUPTION_BUDGET) == []
        await world.patch(RESOURCE, "digits", {"spec": {"replicas": 2}})

        async def there() -> bool:
            return len(await world.all_of(POD_DISRUPTION_BUDGET)) == 1

        async def gone() -> bool:
            return await world.all_of(POD_DISRUPTION_BUDGET) == []

        await world.eventually(there)
        await world.patch(RESOURCE, "digits", {"spec": {"replicas": 1}})
        await world.eventually(gone)


async def test_a_strangers_object_by_a_childs_name_is_left_alone_and_named(world: World) -> None:
    await world.client.create(
        SERVICE, {"metadata": {"namespace": world.namespace, "name": "digits"}, "spec": {"ports": [{"port": 99}]}}
    )
    async with world.operator():
        await world.create()
        condition = await world.condition("Stalled", "True", reason="Conflict")
        assert "Service digits: exists and does not belong to this resource" in condition["message"]
        service = await world.get(SERVICE)
        assert service is not None
        assert service["spec"]["ports"][0]["port"] == 99
        await world.client.request("DELETE", SERVICE.path(world.namespace, "digits"))
        await world.condition("Stalled", "False")


async def test_what_the_api_server_refuses_is_said_in_its_words(world: World) -> None:
    bad = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}
    async with world.operator():
        await world.create(pod={"affinity": bad})
        condition = await world.condition("Ready", "False", reason="WriteRefused")
        assert "nodeSelectorTerms" in condition["message"]


async def test_names_of_40_characters_work_for_every_child_and_41_are_refused_with_the_reason(world: World) -> None:
    async with world.operator() as operator:
        longest = "n" * 40
        await world.create(longest, replicas=2)
        await world.condition("Ready", "False", longest)
        await world.at_rest(operator)
        names = await world.child_names()
        assert all(names.values())
        assert all(len(name) <= 63 for found in names.values() for name in found)
        with pytest.raises(ApiError, match="at most 40 characters"):
            await world.create("n" * 41)
        with pytest.raises(ApiError, match="starts with a letter"):
            await world.create("9lives")


async def test_the_pods_are_restricted_and_say_nothing_of_the_clusters_token(world: World) -> None:
    async with world.operator():
        await world.create()
        await world.condition("Ready", "False")
        deployment = await world.get(DEPLOYMENT)
        assert deployment is not None
        pod = template_of(deployment)["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        container = container_of(deployment)
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        }


async def test_many_resources_at_once_all_get_their_children(world: World) -> None:
    async with world.operator() as operator:
        await asyncio.gather(*(world.create(f"m{number}") for number in range(30)))

        async def all_there() -> bool:
            return len(await world.all_of(DEPLOYMENT)) == 30

        await world.eventually(all_there, 30)
        await world.at_rest(operator)
        assert operator.metrics.reconciles.labels("failed")._value.get() == 0  # noqa: SLF001  # no public way
