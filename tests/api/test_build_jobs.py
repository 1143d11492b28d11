"""A build's Job under the real Job controller: the test plays the kubelet alone."""

import uuid
from collections.abc import AsyncIterator

import pytest
from test_builds import build, building, error, has_image, message_has, result, status_of
from world import Object, World

from testbed.apiserver import ApiServer
from torchserve_operator.api.names import LABEL_BUILD
from torchserve_operator.kube.client import Client, load_configuration
from torchserve_operator.kube.kinds import JOB, POD
from torchserve_operator.reconcile.projections import RESOURCE


@pytest.fixture
async def controlled(controlled_apiserver: ApiServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """Return a namespace in which controllers work."""
    api = controlled_apiserver
    api.kubectl("apply", "--server-side", "-k", "crds")
    api.kubectl("wait", "--for=condition=Established", f"crd/{RESOURCE.plural}.{RESOURCE.group}")
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig))
    configuration = await load_configuration()
    namespace = f"t-{uuid.uuid4().hex[:8]}"
    async with Client(configuration, "test") as client:
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        await client.request("POST", "/api/v1/namespaces", body={"metadata": {"name": namespace, "labels": labels}})
        yield World(api, configuration, client, namespace)


async def pod_of(world: World, *seen: str) -> str:
    """Return the name of the build's one pod that was not seen yet."""

    async def question() -> str | None:
        pods = await world.client.select(POD, world.namespace, LABEL_BUILD)
        fresh = [name for pod in pods if (name := pod["metadata"]["name"]) not in seen]
        return fresh[0] if fresh else None

    name: str = await world.eventually(question, 30)
    return name


async def test_success_needs_no_word_of_the_job(controlled: World) -> None:
    async with building(controlled) as (_, cluster):
        pod = await pod_of(controlled)
        await cluster.ends(pod, result())
        await has_image(controlled, "1")

        async def complete() -> bool:
            (job,) = await cluster.jobs()
            return any(condition["type"] == "Complete" for condition in job["status"].get("conditions", ()))

        await controlled.eventually(complete)
        await controlled.condition("ImageReady", "True", reason="Built")


@pytest.mark.parametrize("code", [1, 2, 137])
async def test_what_another_pod_would_end_with_too_is_final_at_once(controlled: World, code: int) -> None:
    async with building(controlled) as (operator, cluster):
        pod = await pod_of(controlled)
        await cluster.ends(pod, error("spec.models[0].archive", "is no archive"), code)
        condition = await controlled.condition("ImageReady", "False", reason="BuildFailed")
        assert condition["message"] == "spec.models[0].archive: is no archive"
        await controlled.at_rest(operator)
        assert len(await controlled.client.select(POD, controlled.namespace, LABEL_BUILD)) == 1


async def test_what_may_pass_is_tried_again(controlled: World) -> None:
    async with building(controlled) as (_, cluster):
        first = await pod_of(controlled)
        await cluster.ends(first, error("spec.build.repository", "the registry does not answer"), 75)
        await message_has(controlled, "trying again: spec.build.repository: the registry does not answer")
        second = await pod_of(controlled, first)
        await cluster.ends(second, result())
        await has_image(controlled, "1")


async def test_requirements_that_cannot_be_installed_end_the_build(controlled: World) -> None:
    async with building(controlled) as (_, cluster):
        await controlled.patch(RESOURCE, "digits", {"spec": {"build": build(requirements=["pillow"])}})

        async def with_requirements() -> Object | None:
            jobs = await cluster.jobs()
            return jobs[0] if jobs and "initContainers" in jobs[0]["spec"]["template"]["spec"] else None

        job = await controlled.eventually(with_requirements)

        async def its_pod() -> str | None:
            selector = f"batch.kubernetes.io/controller-uid={job['metadata']['uid']}"
            pods = await controlled.client.select(POD, controlled.namespace, selector)
            return pods[0]["metadata"]["name"] if pods else None

        pod = await controlled.eventually(its_pod, 30)
        running = status_of("requirements", {"running": {"startedAt": "2026-01-01T00:00:00Z"}})
        await cluster.say(pod, phase="Pending", initContainerStatuses=[running])
        await message_has(controlled, "installing the requirements")
        words = error("spec.build.requirements[0]", "pillow has no wheel for this Python")
        terminated = {"exitCode": 1, "reason": "Error", "message": str(words).replace("'", '"')}
        ended = status_of("requirements", {"terminated": terminated})
        await cluster.say(pod, phase="Failed", initContainerStatuses=[ended])
        condition = await controlled.condition("ImageReady", "False", reason="BuildFailed")
        assert condition["message"] == "spec.build.requirements[0]: pillow has no wheel for this Python"


async def test_a_cancelled_builds_pod_is_stopped(controlled: World) -> None:
    async with building(controlled) as (_, cluster):
        first = await pod_of(controlled)
        await controlled.patch(RESOURCE, "digits", {"spec": {"build": {"revision": "2"}}})
        await pod_of(controlled, first)

        async def gone() -> bool:
            pod = await controlled.get(POD, first)
            return pod is None or "deletionTimestamp" in pod["metadata"]

        await controlled.eventually(gone, 30)
        assert len(await cluster.jobs()) == 1


async def test_deleting_the_resource_ends_its_build(controlled: World) -> None:
    async with building(controlled) as (_, _cluster):
        await pod_of(controlled)
        await controlled.client.request("DELETE", RESOURCE.path(controlled.namespace, "digits"))

        async def gone() -> bool:
            return await controlled.all_of(JOB) == []

        await controlled.eventually(gone, 30)
