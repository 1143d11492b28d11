"""The image of a resource that has its own built: one Job for each attempt, and what becomes of it.

It comes before the children: they need its image. What decides is in `desired.build_plan`, `desired.build_job` and
`status.build`.
"""

import datetime as dt
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torchserve_operator.api.build import BuildSpec
from torchserve_operator.api.names import LABEL_ROLE
from torchserve_operator.api.spec import TorchServeModelSpec
from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.in_base import bundle
from torchserve_operator.builder.requirements import Requirements, from_lines, from_text
from torchserve_operator.desired.build_job import ROLE, build_config_map, build_job
from torchserve_operator.desired.build_plan import BuildDefaults, BuildInputs, build_inputs, build_plan, why
from torchserve_operator.desired.children import service_account
from torchserve_operator.kube.cache import Cache, Key
from torchserve_operator.kube.client import ApiError, Client
from torchserve_operator.kube.kinds import CONFIG_MAP, JOB, POD, SERVICE_ACCOUNT
from torchserve_operator.reconcile.agents import AgentReader
from torchserve_operator.reconcile.projections import RESOURCE
from torchserve_operator.reconcile.writer import Writer
from torchserve_operator.status.build import BuildState, Phase, Wanted, build_state, unreadable
from torchserve_operator.status.build_pods import BuildJob, BuildPod
from torchserve_operator.status.build_words import Progress
from torchserve_operator.status.observed import Refusal
from torchserve_operator.status.report import Read

logger = logging.getLogger(__name__)

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class BuildStep:
    """What the step came to.

    Attributes:
        state: How the build stands; None where none is wanted.
        refusal: What could not be written or read, or who is in the way.
        again: Why it is to be tried again before anything is heard of, or nothing.
        news: Reason and note of what a person would want to know.
    """

    state: BuildState | None = None
    refusal: Refusal | None = None
    again: str = ""
    news: tuple[tuple[str, str], ...] = ()

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """The refusal, if there is one."""
        return () if self.refusal is None else (self.refusal,)


class Builds:
    """Has images built.

    Args:
        client: The API server.
        cache: What is known of the cluster.
        writer: Writes children.
        reader: The builders' words.
        defaults: The operator's settings.
        clock: The time.
    """

    def __init__(
        self,
        client: Client,
        cache: Cache,
        writer: Writer,
        reader: AgentReader[Progress],
        *,
        defaults: BuildDefaults,
        clock: Callable[[], dt.datetime],
    ) -> None:
        self._client = client
        self._cache = cache
        self._writer = writer
        self._reader = reader
        self._defaults = defaults
        self._clock = clock

    def forget(self, key: Key) -> None:
        """Read no builder of a resource any more."""
        self._reader.track(key, (), settled=True)

    async def step(self, key: Key, resource: Object, spec: TorchServeModelSpec) -> BuildStep:
        """Look for the image of a resource, and have it built where it is not there."""
        known = resource["status"].get("build") or {}
        uid = resource["metadata"]["uid"]
        jobs = [BuildJob.of(kept) for kept in self._cache.children(JOB, key) if _belongs(kept, uid)]
        if spec.build is None and not jobs and not known:
            return BuildStep()  # nearly all the others
        build = spec.build
        if build is None:
            self.forget(key)
            return BuildStep(refusal=None if spec.paused else await self._tidy(key, uid, jobs, None))
        inputs = build_inputs(spec, build)
        wanted = self._wanted(build, inputs, known)
        job = next((job for job in jobs if job.attempt == inputs.attempt), None)
        pods = tuple(self._pods(key, job))
        state = build_state(wanted, known, job, pods=pods, read=self._read(key, pods), now=self._clock())
        if state.phase is Phase.LOST and job is not None:
            state = await self._found(wanted, known, state, job)
        self._reader.track(key, [pod for pod in pods if pod.running and not pod.deleting], settled=False)
        if spec.paused or "deletionTimestamp" in resource["metadata"]:
            still = f"{state.message}; nothing is built while paused is true"
            return BuildStep(replace(state, message=still) if state.phase is Phase.WANTED else state)
        refusal = await self._tidy(key, uid, jobs, job)
        if refusal is not None:
            return BuildStep(state, refusal)
        if state.phase is Phase.WANTED:
            return await self._start(resource, spec, build, wanted, state)
        built = state.phase is Phase.READY and known.get("key") != wanted.key
        return BuildStep(state, news=(("Built", f"{state.image}, for {wanted.why}"),) if built else ())

    def _wanted(self, build: BuildSpec, inputs: BuildInputs, known: Mapping[str, Any]) -> Wanted:
        return Wanted(
            key=inputs.key,
            attempt=inputs.attempt,
            parts=inputs.parts,
            why=why(known.get("parts"), inputs.parts),
            repository=build.repository,
            revision=build.revision,
            timeout_seconds=build.timeout_seconds,
            ttl_seconds=self._defaults.ttl_seconds,
        )

    def _read(self, key: Key, pods: Sequence[BuildPod]) -> Read[Progress] | None:
        """Return the last read of the builder that runs."""
        reads = self._reader.reads_of(key)
        return next((reads[pod.uid] for pod in pods if pod.uid in reads), None)

    def _pods(self, key: Key, job: BuildJob | None) -> Iterator[BuildPod]:
        if job is not None:
            for kept in self._cache.children(POD, key):
                if "build" in kept and kept["build"]["job"] == job.uid:
                    yield BuildPod.of(kept)

    async def _found(self, wanted: Wanted, known: Mapping[str, Any], state: BuildState, job: BuildJob) -> BuildState:
        """Return what a complete Job has made, from its pod as it is now: its event may come after the Job's.

        Where the pod is gone, the Job is removed: the next one finds every layer where this one has put it.
        """
        try:
            listed = await self._client.select(POD, job.namespace, f"batch.kubernetes.io/controller-uid={job.uid}")
            for body in listed:
                self._cache.put(POD, body)
            pods = [BuildPod.of(kept) for body in listed if (kept := self._kept(body)) is not None]
            if not pods:
                await self._remove_job(job)
                return replace(state, phase=Phase.WANTED)
        except ApiError as error:
            return replace(state, message=f"looking for what the build has made: {error.message}")
        again = build_state(wanted, known, job, pods=pods, read=None, now=self._clock())
        return unreadable(again, wanted, job) if again.phase is Phase.LOST else again

    def _kept(self, body: Mapping[str, Any]) -> Object | None:
        kept = self._cache.get(POD, body["metadata"]["namespace"], body["metadata"]["name"])
        return kept if kept is not None and "build" in kept else None

    async def _start(
        self, resource: Object, spec: TorchServeModelSpec, build: BuildSpec, wanted: Wanted, state: BuildState
    ) -> BuildStep:
        """Make the Job and what it needs."""
        if not self._defaults.builder_image:
            return _blocked(
                state,
                "the operator does not know the builder's image: set TORCHSERVE_OPERATOR_BUILDER_IMAGE where it runs",
            )
        rival = self._rival(resource, build)
        if rival is not None:
            return BuildStep(state, rival)
        metadata, uid = resource["metadata"], resource["metadata"]["uid"]
        try:
            requirements = await self._requirements(metadata["namespace"], build)
        except BuildError as error:
            return _blocked(state, str(error))
        except ApiError as error:
            return BuildStep(state, _refusal("spec.build.requirementsFrom", error))
        present = bool(requirements.lines)
        plan = build_plan(
            metadata,
            spec,
            build,
            self._defaults,
            requirements=[line.text for line in requirements.lines],
            previous=state.status.get("image"),
        )
        config_map = build_config_map(metadata, plan, requirements.plan() if present else None, bundle())
        account = service_account(metadata, spec)
        for kind, body in ((SERVICE_ACCOUNT, account), (CONFIG_MAP, config_map)):
            if body is not None:
                written = await self._writer.ensure(kind, body, uid)
                if written.refusal is not None:
                    return BuildStep(state, written.refusal)
        job = build_job(
            metadata,
            spec,
            build,
            self._defaults,
            attempt=wanted.attempt,
            config_map=config_map["metadata"]["name"],
            requirements=present,
        )
        written = await self._writer.create(JOB, job, uid)
        if written.refusal is not None:
            return BuildStep(state, written.refusal)
        name = "/".join((metadata["namespace"], metadata["name"]))
        logger.info("build started", extra={"resource": name, "why": wanted.why})
        running = replace(state, phase=Phase.RUNNING, message="waiting for the build's pod")
        return BuildStep(running, news=(("Building", f"the image is built: {wanted.why}"),))

    async def _requirements(self, namespace: str, build: BuildSpec) -> Requirements:
        """Return the requirements; those of a ConfigMap are read once, when the Job is made.

        Raises:
            ApiError: The ConfigMap cannot be read.
            BuildError: It is not there, or a line of it is no requirement.
        """
        source = build.requirements_from
        if source is None:
            return from_lines(build.requirements)
        field = f"spec.build.requirementsFrom: ConfigMap {source.config_map_name}, key {source.key}"
        found = await self._client.get(CONFIG_MAP, namespace, source.config_map_name)
        text = ((found or {}).get("data") or {}).get(source.key)
        if text is None:
            raise BuildError(field, "has no such key" if found else "there is no such ConfigMap", "make it")
        return from_text(text, field)

    def _rival(self, resource: Object, build: BuildSpec) -> Refusal | None:
        """Return the older resource that pushes to one of the same tags: two would overwrite each other for ever."""
        if not build.tags:
            return None
        mine = _age(resource)
        for key in self._cache.keys(RESOURCE):
            other = self._cache.get(RESOURCE, *key)
            theirs = ((other or {}).get("spec") or {}).get("build") or {}
            if other is None or theirs.get("repository") != build.repository or _age(other) >= mine:
                continue
            common = [tag for tag in build.tags if tag in (theirs.get("tags") or ())]
            if common and "deletionTimestamp" not in other["metadata"]:
                message = (
                    f"the older resource {'/'.join(key)} pushes to it, too; choose another tag or another repository"
                )
                return Refusal(f"{build.repository}:{common[0]}", message, conflict=True)
        return None

    async def _tidy(self, key: Key, uid: str, jobs: Sequence[BuildJob], current: BuildJob | None) -> Refusal | None:
        """Remove the Jobs of other attempts, running ones included, and plans that no Job names."""
        named = () if current is None else current.config_maps
        try:
            for job in jobs:
                if job is not current:
                    await self._remove_job(job)
            for live in self._cache.children(CONFIG_MAP, key):
                metadata = live["metadata"]
                plan = _belongs(live, uid) and metadata["labels"].get(LABEL_ROLE) == ROLE
                if plan and metadata["name"] not in named:
                    await self._writer.remove(CONFIG_MAP, live)
        except ApiError as error:
            return _refusal("the build before", error)
        return None

    async def _remove_job(self, job: BuildJob) -> None:
        metadata = {"namespace": job.namespace, "name": job.name, "uid": job.uid}
        await self._writer.remove(JOB, {"metadata": metadata})


def _blocked(state: BuildState, message: str) -> BuildStep:
    return BuildStep(replace(state, phase=Phase.BLOCKED, message=message), again=message)


def _refusal(child: str, error: ApiError) -> Refusal:
    return Refusal(child, error.message, transient=error.transient, retry_after=error.retry_after or 0.0)


def _belongs(live: Mapping[str, Any], uid: str) -> bool:
    return any(owner["uid"] == uid for owner in live["metadata"].get("ownerReferences") or ())


def _age(resource: Mapping[str, Any]) -> tuple[str, str, str]:
    metadata = resource["metadata"]
    return metadata.get("creationTimestamp") or "", metadata["namespace"], metadata["name"]
