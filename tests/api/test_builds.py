"""The life of a build on a real API server: the test plays the Job's controller and the kubelet."""

import asyncio
import contextlib
import datetime as dt
import itertools
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from test_children import operators_writes
from world import Object, World, container_of, template_of

from torchserve_operator.api.names import AGENT_PORT, LABEL_BUILD, LABEL_MODEL
from torchserve_operator.app.operator import Operator
from torchserve_operator.builder.plan import Plan
from torchserve_operator.kube.kinds import CONFIG_MAP, DEPLOYMENT, JOB, POD, SERVICE, SERVICE_ACCOUNT
from torchserve_operator.reconcile.projections import RESOURCE

_addresses = itertools.count(1)

REPOSITORY = "registry.example/team/digits"
ARCHIVE: Object = {"name": "digits", "archive": {"url": "https://models.example/digits.mar"}}
SETTINGS: Object = {"builder_image": "registry.example/operator:1", "agent_unsettled_seconds": 0.2}
BUILDER = "registry.example/operator:1"


def image(digit: str = "1") -> str:
    return f"{REPOSITORY}@sha256:{digit * 64}"


def result(digit: str = "1", **changes: Any) -> Object:
    return {
        "schema": 1,
        "image": image(digit),
        "base": {"reference": "pytorch/torchserve:0.12.0-cpu", "digest": "sha256:" + "b" * 64},
        "sources": [{"model": "digits", "identity": 'etag:"7"'}],
        "seconds": {"total": 1.0},
    } | changes


def error(field: str, message: str, hint: str = "") -> Object:
    return {"schema": 1, "error": {"field": field, "message": message, "hint": hint}}


def now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Cluster:
    """Plays the Job's controller and the kubelet for one resource's builds."""

    def __init__(self, world: World, name: str = "digits") -> None:
        self.world = world
        self.name = name
        self._pods = itertools.count(1)

    async def jobs(self) -> list[Object]:
        return [job for job in await self.world.all_of(JOB) if job["metadata"]["labels"][LABEL_MODEL] == self.name]

    async def job(self, other_than: str = "") -> Object:
        """Return the one Job once it is there."""

        async def question() -> Object | None:
            found = [job for job in await self.jobs() if job["metadata"]["name"] != other_than]
            return found[0] if len(found) == 1 else None

        job: Object = await self.world.eventually(question)
        return job

    async def start(self, job: Object, **status: Any) -> str:
        """Make the Job's pod, and return its name."""
        name = f"{job['metadata']['name']}-{next(self._pods)}"
        labels = {
            **job["spec"]["template"]["metadata"]["labels"],
            "batch.kubernetes.io/controller-uid": job["metadata"]["uid"],
        }
        namespace = self.world.namespace
        spec = job["spec"]["template"]["spec"]
        # the API server's admission asks for the ServiceAccount that the operator has made
        await self.world.client.create(
            POD, {"metadata": {"namespace": namespace, "name": name, "labels": labels}, "spec": spec}
        )
        await self.world.client.patch_merge(
            JOB, namespace, job["metadata"]["name"], {"status": {"startTime": now(), "active": 1}}, "status"
        )
        await self.say(name, **status)
        return name

    async def say(self, pod: str, **status: Any) -> None:
        await self.world.client.patch_merge(POD, self.world.namespace, pod, {"status": status}, "status")

    async def runs(self, pod: str, address: str) -> None:
        running = status_of("builder", {"running": {"startedAt": now()}})
        await self.say(pod, phase="Running", podIP=address, podIPs=[{"ip": address}], containerStatuses=[running])

    async def ends(self, pod: str, message: object, code: int = 0, **state: Any) -> None:
        text = message if isinstance(message, str) else json.dumps(message)
        terminated = {
            "exitCode": code,
            "reason": "Error" if code else "Completed",
            "message": text,
            "finishedAt": now(),
        }
        ended = status_of("builder", {"terminated": terminated | state})
        await self.say(pod, phase="Failed" if code else "Succeeded", containerStatuses=[ended])

    async def fails(self, job: Object, reason: str = "PodFailurePolicy", at: str | None = None) -> None:
        """Write the Job's failure as its controller does: first the target, then the verdict."""
        words = {"reason": reason, "message": f"{reason} it is", "lastTransitionTime": at or now(), "status": "True"}
        target = {"type": "FailureTarget", **words}
        await self._ends(job, {"failed": 1, "conditions": [target]})
        await self._ends(job, {"failed": 1, "conditions": [target, {"type": "Failed", **words}]})

    async def completes(self, job: Object) -> None:
        at = now()
        met = {"type": "SuccessCriteriaMet", "status": "True", "lastTransitionTime": at, "reason": "CompletionsReached"}
        conditions = [met, {**met, "type": "Complete"}]
        await self._ends(job, {"succeeded": 1, "conditions": [met]})
        await self._ends(job, {"succeeded": 1, "completionTime": at, "conditions": conditions})

    async def _ends(self, job: Object, status: Object) -> None:
        found = await self.world.get(JOB, job["metadata"]["name"]) or {}
        began = {"startTime": found["status"].get("startTime") or now(), "active": 0}
        name = job["metadata"]["name"]
        await self.world.client.patch_merge(JOB, self.world.namespace, name, {"status": began | status}, "status")

    async def built(self, digit: str = "1") -> Object:
        """Have the one Job succeed."""
        job = await self.job()
        pod = await self.start(job)
        await self.ends(pod, result(digit))
        await self.completes(job)
        return job


def status_of(name: str, state: Object) -> Object:
    return {
        "name": name,
        "image": BUILDER,
        "imageID": "",
        "ready": "running" in state,
        "restartCount": 0,
        "state": state,
    }


class Builder:
    """A builder on a loopback address of its own that says how far it is."""

    def __init__(self) -> None:
        number = next(_addresses)
        self.address = f"127.{os.getpid() % 250 + 1}.{os.getpid() // 250 % 250}.{number + 100}"
        self.progress: Object = {"schema": 1, "stage": "resolve", "model": "", "bytesDone": 0, "bytesTotal": 0}
        self.reads = 0

    async def _status(self, _: web.Request) -> web.Response:
        self.reads += 1
        return web.json_response(self.progress)


@pytest.fixture
async def builder() -> AsyncIterator[Builder]:
    made = Builder()
    application = web.Application()
    application.router.add_get("/status", made._status)  # noqa: SLF001  # its own
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, made.address, AGENT_PORT).start()
    yield made
    await runner.cleanup()


def build(**changes: Any) -> Object:
    return {"repository": REPOSITORY, **changes}


@contextlib.asynccontextmanager
async def building(world: World, **settings: Any) -> AsyncIterator[tuple[Operator, Cluster]]:
    """Run an operator, and have a resource whose image is to be built."""
    async with world.operator(**{**SETTINGS, **settings}) as operator:
        await world.create(build=build(), models=[ARCHIVE])
        yield operator, Cluster(world)


async def status_build(world: World, digit: str | None = None) -> Object:
    """Return `status.build`, once it has an image: the children come before the status."""

    async def question() -> Object | None:
        resource = await world.get(RESOURCE) or {}
        found: Object = resource["status"].get("build") or {}
        return found if digit is None or found.get("image") == image(digit) else None

    found: Object = await world.eventually(question)
    return found


async def has_image(world: World, digit: str) -> Object:
    """Wait for the Deployment of an image."""

    async def question() -> Object | None:
        deployment = await world.get(DEPLOYMENT)
        return deployment if deployment and container_of(deployment)["image"] == image(digit) else None

    deployment: Object = await world.eventually(question)
    return deployment


async def message_has(world: World, words: str, kind: str = "ImageReady") -> Object:
    async def question() -> Object | None:
        resource = await world.get(RESOURCE) or {}
        conditions = resource.get("status", {}).get("conditions", ())
        return next((c for c in conditions if c["type"] == kind and words in c["message"]), None)

    condition: Object = await world.eventually(question)
    return condition


async def test_before_the_first_image_there_is_a_job_and_nothing_that_would_need_it(world: World) -> None:
    async with building(world) as (operator, cluster):
        condition = await world.condition("ImageReady", "Unknown", reason="Building")
        assert condition["message"] == "waiting for the build's pod"
        await world.condition("Ready", "False", reason="Building")
        await world.condition("Reconciling", "True")
        job = await cluster.job()
        await world.at_rest(operator)
        assert await world.all_of(DEPLOYMENT) == await world.all_of(SERVICE) == []
        assert [item["metadata"]["name"] for item in await world.all_of(CONFIG_MAP)] == [
            job["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"]
        ]
        assert "digits" in [item["metadata"]["name"] for item in await world.all_of(SERVICE_ACCOUNT)]
        assert job["metadata"]["ownerReferences"][0]["name"] == "digits"
        labels = job["spec"]["template"]["metadata"]["labels"]
        assert labels[LABEL_BUILD] == "digits"
        assert LABEL_MODEL not in labels, "the Service would send it requests"


async def test_the_builder_can_read_its_plan(world: World) -> None:
    async with building(world, registry_mirrors='{"registry.example": "http://10.0.0.5:5000"}') as (_, cluster):
        await cluster.job()
        (config_map,) = await world.all_of(CONFIG_MAP)
        plan = Plan.model_validate_json(config_map["data"]["plan.json"])
        assert plan.repository == REPOSITORY
        assert plan.registry_mirrors == {"registry.example": "http://10.0.0.5:5000"}
        assert [(model.name, model.field) for model in plan.models] == [("digits", "spec.models[0]")]
        assert config_map["immutable"] is True


async def test_progress_is_told_and_the_image_becomes_a_deployment(world: World, builder: Builder) -> None:
    async with building(world) as (operator, cluster):
        job = await cluster.job()
        pod = await cluster.start(job)
        await cluster.runs(pod, builder.address)
        await message_has(world, "looking up the base image and the sources")
        builder.progress |= {"stage": "layers", "model": "digits", "bytesDone": 120 << 20, "bytesTotal": 540 << 20}
        await message_has(world, "uploading layer of model digits: 120 of 540 MiB")
        await cluster.ends(pod, result())
        deployment = await has_image(world, "1")
        await world.condition("ImageReady", "True", reason="Built")
        found = await status_build(world, "1")
        assert found["baseDigest"] == "sha256:" + "b" * 64
        assert found["sources"] == [{"model": "digits", "identity": 'etag:"7"'}]
        assert found["why"] == "the first build"
        assert found["seconds"] >= 0
        assert template_of(deployment)["metadata"]["labels"][LABEL_MODEL] == "digits"
        assert operator.metrics.reconciles.labels("failed")._value.get() == 0  # noqa: SLF001  # no public way


async def test_progress_is_written_no_more_often_than_it_is_read(world: World, builder: Builder) -> None:
    async with building(world, agent_unsettled_seconds=0.5) as (operator, cluster):
        pod = await cluster.start(await cluster.job())
        await cluster.runs(pod, builder.address)
        await message_has(world, "looking up the base image and the sources")
        await world.at_rest(operator)
        mark, before, began = world.api.audit.mark(), builder.reads, asyncio.get_running_loop().time()
        builder.progress |= {"stage": "layers", "bytesTotal": 100 << 20}

        async def read_again() -> bool:
            builder.progress["bytesDone"] += 1 << 20  # something new whenever it is asked
            return builder.reads >= before + 5

        await world.eventually(read_again)
        await world.at_rest(operator)
        taken = asyncio.get_running_loop().time() - began
        written = [line for line in world.api.audit.writes(mark) if f"/status {world.namespace}/digits" in line]
        assert 3 <= len([line for line in written if "torchservemodels" in line]) <= builder.reads - before
        assert builder.reads - before <= taken / 0.5 + 1


async def test_at_rest_and_after_a_restart_nothing_is_written_and_nothing_built(world: World) -> None:
    async with building(world) as (operator, cluster):
        await cluster.built()
        await has_image(world, "1")
        await world.at_rest(operator)
    mark = world.api.audit.mark()
    async with world.operator(resync_seconds=0.2, **SETTINGS) as operator:
        await world.at_rest(operator)
        operator.queue.add((world.namespace, "digits"))
        await world.at_rest(operator)
        assert operator.client.writes == {}
    assert operators_writes(world, mark) == []


async def test_a_newer_operator_with_other_defaults_builds_nothing_anew(world: World) -> None:
    async with building(world) as (operator, cluster):
        await cluster.built()
        await has_image(world, "1")
        await world.at_rest(operator)
    newer = {**SETTINGS, "builder_image": "registry.example/operator:2", "base_image_cpu": "registry.example/base:2"}
    async with world.operator(**newer) as operator:
        await world.at_rest(operator)
        assert operator.client.writes == {}


async def test_the_job_may_go_when_its_time_is_over(world: World) -> None:
    async with building(world) as (operator, cluster):
        job = await cluster.built()
        await has_image(world, "1")
        await world.at_rest(operator)
        # as the TTL controller does
        await world.client.delete(JOB, world.namespace, job["metadata"]["name"], job["metadata"]["uid"], "Background")

        async def plan_gone() -> bool:
            return not [item for item in await world.all_of(CONFIG_MAP) if "-build-" in item["metadata"]["name"]]

        await world.eventually(plan_gone)
        await world.at_rest(operator)
        assert await cluster.jobs() == []
        assert container_of(await has_image(world, "1"))["image"] == image()


async def test_a_restart_in_the_middle_takes_the_build_up_where_it_is(world: World, builder: Builder) -> None:
    async with building(world) as (operator, cluster):
        job = await cluster.job()
        pod = await cluster.start(job)
        await cluster.runs(pod, builder.address)
        await world.at_rest(operator)
    await cluster.ends(pod, result())
    await cluster.completes(job)
    async with world.operator(**SETTINGS) as operator:
        await has_image(world, "1")
        await world.at_rest(operator)
        assert operator.client.writes.get(("create", "Job")) is None


async def test_a_failed_build_says_why_and_is_not_tried_again_by_itself(world: World) -> None:
    async with building(world) as (operator, cluster):
        job = await cluster.job()
        pod = await cluster.start(job)
        await cluster.ends(pod, error("spec.models[0].archive.url", "404 Not Found", "is the file there?"), 1)
        await cluster.fails(job)
        condition = await world.condition("ImageReady", "False", reason="BuildFailed")
        assert condition["message"] == "spec.models[0].archive.url: 404 Not Found; is the file there?"
        await world.condition("Stalled", "True", reason="BuildFailed")
        await world.at_rest(operator)
        operator.queue.add((world.namespace, "digits"))
        await world.patch(RESOURCE, "digits", {"spec": {"replicas": 3}})
        await world.condition("ImageReady", "False", reason="BuildFailed")
        await world.at_rest(operator)
        assert [item["metadata"]["uid"] for item in await cluster.jobs()] == [job["metadata"]["uid"]]


async def test_a_failed_job_that_somebody_deletes_is_made_once_more(world: World) -> None:
    async with building(world) as (_, cluster):
        job = await cluster.job()
        pod = await cluster.start(job)
        await cluster.ends(pod, error("", "no space"), 1)
        await cluster.fails(job)
        await world.condition("ImageReady", "False", reason="BuildFailed")
        await world.client.delete(JOB, world.namespace, job["metadata"]["name"], job["metadata"]["uid"], "Background")

        async def again() -> Object | None:
            found = await cluster.jobs()
            return found[0] if found and found[0]["metadata"]["uid"] != job["metadata"]["uid"] else None

        await world.eventually(again)
        await world.condition("ImageReady", "Unknown", reason="Building")


async def test_a_failed_job_whose_time_is_over_is_not_made_once_more(world: World) -> None:
    async with building(world, build_ttl_seconds=60) as (operator, cluster):
        job = await cluster.job()
        pod = await cluster.start(job)
        await cluster.ends(pod, error("", "no space"), 1)
        long_ago = (dt.datetime.now(dt.UTC) - dt.timedelta(seconds=61)).strftime("%Y-%m-%dT%H:%M:%SZ")
        await cluster.fails(job, at=long_ago)
        await world.condition("ImageReady", "False", reason="BuildFailed")
        await world.client.delete(JOB, world.namespace, job["metadata"]["name"], job["metadata"]["uid"], "Background")
        await world.at_rest(operator)
        await world.condition("ImageReady", "False", reason="BuildFailed")
        assert await cluster.jobs() == []
        await world.patch(RESOURCE, "digits", {"spec": {"build": {"revision": "2"}}})
        await cluster.job()
        condition = await world.condition("ImageReady", "Unknown", reason="Building")
        resource = await world.get(RESOURCE)
        assert resource is not None
        assert "failure" not in resource["status"].get("build", {}), condition


async def test_a_changed_spec_cancels_the_build_before(world: World, builder: Builder) -> None:
    async with building(world) as (operator, cluster):
        first = await cluster.job()
        pod = await cluster.start(first)
        await cluster.runs(pod, builder.address)
        await world.patch(RESOURCE, "digits", {"spec": {"build": {"revision": "2"}}})
        second = await cluster.job(other_than=first["metadata"]["name"])
        await world.at_rest(operator)
        gone = f"delete batch/jobs {world.namespace}/{first['metadata']['name']}"
        assert world.api.audit.writes().count(gone) == 1
        # what the first one still makes is nobody's
        await cluster.ends(pod, result("9"))
        await world.at_rest(operator)
        assert await world.all_of(DEPLOYMENT) == []
        pod = await cluster.start(second)
        await cluster.ends(pod, result("2"))
        await has_image(world, "2")


async def test_a_rebuild_leaves_what_runs_alone_until_it_is_done(world: World) -> None:
    async with building(world) as (operator, cluster):
        first = await cluster.built("1")
        before = template_of(await has_image(world, "1"))
        await world.at_rest(operator)
        models = [{**ARCHIVE, "archive": {"url": "https://models.example/other.mar"}, "minWorkers": 2}]
        await world.patch(RESOURCE, "digits", {"spec": {"models": models, "replicas": 2, "logging": {"level": "WARN"}}})
        second = await cluster.job(other_than=first["metadata"]["name"])
        await world.condition("Ready", "False", reason="Building")

        async def follows() -> bool:
            deployment = await world.get(DEPLOYMENT) or {}
            policy = await world.get(CONFIG_MAP, "digits-policy") or {}
            return deployment["spec"]["replicas"] == 2 and '"minWorkers":2' in policy["data"]["policy.json"]

        await world.eventually(follows)
        assert template_of(await has_image(world, "1")) == before
        pod = await cluster.start(second)
        await cluster.ends(pod, error("spec.models[0].archive", "is no archive"), 1)
        await cluster.fails(second)
        await world.condition("ImageReady", "False", reason="BuildFailed")
        await world.at_rest(operator)
        assert template_of(await has_image(world, "1")) == before
        assert await status_build(world, "1")
        await world.patch(RESOURCE, "digits", {"spec": {"build": {"revision": "2"}}})
        third = await cluster.job(other_than=second["metadata"]["name"])
        pod = await cluster.start(third)
        await cluster.ends(pod, result("3"))
        await has_image(world, "3")
        found = await status_build(world, "3")
        assert found["why"] == "the revision, model digits changed"
        assert "failure" not in found


async def test_going_back_to_what_is_built_needs_no_build(world: World) -> None:
    async with building(world) as (operator, cluster):
        first = await cluster.built()
        before = template_of(await has_image(world, "1"))
        await world.patch(RESOURCE, "digits", {"spec": {"build": {"revision": "2"}}})
        await cluster.job(other_than=first["metadata"]["name"])
        await world.patch(RESOURCE, "digits", {"spec": {"build": {"revision": None}}})

        async def cancelled() -> bool:
            return await cluster.jobs() == []

        await world.eventually(cancelled)
        await world.condition("ImageReady", "True")
        await world.at_rest(operator)
        assert template_of(await has_image(world, "1")) == before


async def test_a_pod_that_cannot_start_is_told_of_and_the_build_goes_on_by_itself(world: World) -> None:
    async with building(world) as (_, cluster):
        pod = await cluster.start(await cluster.job())
        waiting = {"reason": "ImagePullBackOff", "message": "Back-off: ErrImagePull: no such host"}
        await cluster.say(pod, phase="Pending", containerStatuses=[status_of("builder", {"waiting": waiting})])
        condition = await world.condition("ImageReady", "False", reason="BuildBlocked")
        assert condition["message"] == f"the builder's image {BUILDER} cannot be pulled: no such host"
        await world.condition("Stalled", "False")
        await cluster.ends(pod, result())
        await has_image(world, "1")


async def test_what_a_complete_job_has_made_is_asked_for_where_its_pod_was_not_seen(world: World) -> None:
    async with building(world) as (_, cluster):
        job = await cluster.job()
        await cluster.completes(job)  # and its pod is gone

        async def again() -> Object | None:
            found = await cluster.jobs()
            return found[0] if found and found[0]["metadata"]["uid"] != job["metadata"]["uid"] else None

        second = await world.eventually(again)
        pod = await cluster.start(second)
        await cluster.ends(pod, "Killed by nobody")
        await cluster.completes(second)
        condition = await world.condition("ImageReady", "False", reason="BuildFailed")
        assert "its result cannot be read" in condition["message"]


async def test_an_image_of_another_repository_is_not_taken(world: World) -> None:
    async with building(world) as (_, cluster):
        job = await cluster.job()
        pod = await cluster.start(job)
        await cluster.ends(pod, result(image="evil.example/x@sha256:" + "1" * 64))
        await cluster.completes(job)
        await world.condition("ImageReady", "False", reason="BuildFailed")
        assert await world.all_of(DEPLOYMENT) == []


async def test_paused_starts_no_build(world: World) -> None:
    async with world.operator(**SETTINGS) as operator:
        await world.create(build=build(), models=[ARCHIVE], paused=True)
        condition = await world.condition("ImageReady", "Unknown", reason="Building")
        assert "nothing is built while paused is true" in condition["message"]
        await world.condition("Ready", "False", reason="Paused")
        await world.at_rest(operator)
        assert await world.all_of(JOB) == []
        await world.patch(RESOURCE, "digits", {"spec": {"paused": False}})
        await Cluster(world).job()


async def test_of_two_resources_that_push_to_one_tag_the_older_one_builds(world: World) -> None:
    async with world.operator(**SETTINGS):
        await world.create("b-older", build=build(tags=["latest"]), models=[ARCHIVE])
        await Cluster(world, "b-older").job()
        await world.create("c-later", build=build(tags=["latest", "other"]), models=[ARCHIVE])
        condition = await world.condition("Stalled", "True", "c-later", reason="Conflict")
        assert condition["message"].startswith(f"{REPOSITORY}:latest: the older resource {world.namespace}/b-older")
        assert await Cluster(world, "c-later").jobs() == []
        await world.patch(RESOURCE, "c-later", {"spec": {"build": {"tags": ["other"]}}})
        await Cluster(world, "c-later").job()


async def test_requirements_of_a_config_map_are_waited_for_and_told_of(world: World) -> None:
    async with world.operator(**SETTINGS) as operator:
        await world.create(build=build(requirementsFrom={"configMapName": "wanted"}))
        condition = await world.condition("ImageReady", "False", reason="BuildBlocked")
        assert "ConfigMap wanted, key requirements.txt: there is no such ConfigMap" in condition["message"]
        text = {"requirements.txt": "pillow==11.0.0\n--extra-index-url https://index.example\n"}
        metadata = {"namespace": world.namespace, "name": "wanted"}
        await world.client.create(CONFIG_MAP, {"metadata": metadata, "data": text})
        operator.queue.add((world.namespace, "digits"))
        await message_has(world, "key requirements.txt line 2")
        await world.patch(CONFIG_MAP, "wanted", {"data": {"requirements.txt": "pillow==11.0.0\n"}})
        operator.queue.add((world.namespace, "digits"))
        job = await Cluster(world).job()
        (container,) = job["spec"]["template"]["spec"]["initContainers"]
        assert container["image"] == "pytorch/torchserve:0.12.0-cpu"


async def test_without_the_builders_image_the_setting_is_named(world: World) -> None:
    async with world.operator():
        await world.create(build=build(), models=[ARCHIVE])
        condition = await world.condition("ImageReady", "False", reason="BuildBlocked")
        assert "TORCHSERVE_OPERATOR_BUILDER_IMAGE" in condition["message"]


async def test_a_strangers_job_by_the_name_is_left_alone_and_named(world: World) -> None:
    async with building(world) as (operator, cluster):
        job = await cluster.job()
        await world.at_rest(operator)
    name, uid = job["metadata"]["name"], job["metadata"]["uid"]
    await world.client.delete(JOB, world.namespace, name, uid, "Background")
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}}
    metadata = {"namespace": world.namespace, "name": name}
    await world.client.create(JOB, {"metadata": metadata, "spec": {"template": template}})
    async with world.operator(**SETTINGS):
        condition = await world.condition("Stalled", "True", reason="Conflict")
        assert condition["message"].startswith(f"Job {name}: exists and does not belong to this resource")


async def test_an_image_instead_of_a_build_removes_what_was_building(world: World) -> None:
    async with building(world) as (_, cluster):
        await cluster.job()
        await world.patch(
            RESOURCE, "digits", {"spec": {"build": None, "image": image("5"), "models": [{"name": "digits"}]}}
        )
        await has_image(world, "5")

        async def gone() -> bool:
            plans = [item for item in await world.all_of(CONFIG_MAP) if "-build-" in item["metadata"]["name"]]
            return await cluster.jobs() == plans == []

        await world.eventually(gone)
        resource = await world.get(RESOURCE)
        assert resource is not None
        assert "build" not in resource["status"]


async def test_the_jobs_pod_passes_restricted_pod_security(world: World) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    await world.client.request(
        "PATCH",
        f"/api/v1/namespaces/{world.namespace}",
        body={"metadata": {"labels": labels}},
        content_type="application/merge-patch+json",
    )
    async with building(world) as (_, cluster):
        job = await cluster.job()
        assert await cluster.start(job)
