"""One resource, from what is to what is wanted. Read `Reconciler.reconcile` from top to bottom.

It is level-triggered: it looks at what is there now, whatever happened in between, and running it again changes
nothing. Everything that decides is in `desired` and `status`.
"""

import datetime as dt
import logging
from collections.abc import Callable, Mapping
from typing import Any

from torchserve_operator.agent.bundle import AgentBundle
from torchserve_operator.api.conditions import ConditionType, Reason
from torchserve_operator.api.errors import FieldError, InvalidResourceError
from torchserve_operator.api.names import ANNOTATION_POLICY, API_VERSION, KIND, LABEL_REVISION, LABEL_ROLE
from torchserve_operator.api.parse import parse_spec
from torchserve_operator.api.spec import TorchServeModelSpec
from torchserve_operator.desired.build_job import ROLE
from torchserve_operator.desired.build_plan import BuildDefaults
from torchserve_operator.desired.checks import cross_checks
from torchserve_operator.desired.children import Children, can_hold, children
from torchserve_operator.desired.render import in_write_order
from torchserve_operator.desired.sizing import size
from torchserve_operator.kube.cache import Cache, Key
from torchserve_operator.kube.client import ApiError, Client
from torchserve_operator.kube.drift import digest, dotted, first_difference
from torchserve_operator.kube.events import Recorder
from torchserve_operator.kube.kinds import CONFIG_MAP, DEPLOYMENT, POD, REPLICA_SET
from torchserve_operator.reconcile.agents import AgentReader
from torchserve_operator.reconcile.build import Builds, BuildStep
from torchserve_operator.reconcile.projections import RESOURCE, WRITTEN
from torchserve_operator.reconcile.writer import Writer
from torchserve_operator.status.build import BuildState
from torchserve_operator.status.build_words import Progress
from torchserve_operator.status.causes import STALLING
from torchserve_operator.status.compute import compute_status, settled
from torchserve_operator.status.observed import Observed, Refusal
from torchserve_operator.status.pods import Pod
from torchserve_operator.status.report import Report

logger = logging.getLogger(__name__)

Object = dict[str, Any]


class RetryLaterError(Exception):
    """Something transient was in the way; the key is to be worked on again.

    Attributes:
        retry_after: Seconds that the API server asked to wait, whatever happens meanwhile.
        at_least: Seconds to wait unless something changes before.
    """

    def __init__(self, message: str, retry_after: float | None = None, at_least: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after or 0.0
        self.at_least = at_least


class Reconciler:
    """Brings resources into shape, one key at a time.

    Args:
        client: The API server.
        cache: What is known of the cluster.
        reader: The agents' words.
        recorder: Where Events go.
        builders: The builders' words.
        build_defaults: What builds follow beside their resource.
        again: Called with a key that must be looked at once more: an answer to a write may bring what somebody else
            changed just before, and its event then is no news.
        bundle: The agent that new pods are started with.
        clock: The time, for conditions.
    """

    def __init__(
        self,
        client: Client,
        cache: Cache,
        reader: AgentReader[Report],
        recorder: Recorder,
        *,
        builders: AgentReader[Progress],
        build_defaults: BuildDefaults,
        again: Callable[[Key], None],
        bundle: AgentBundle,
        clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self._client = client
        self._cache = cache
        self._writer = Writer(client, cache)
        self._reader = reader
        self._recorder = recorder
        self._again = again
        self._bundle = bundle
        self._clock = clock
        self._builds = Builds(client, cache, self._writer, builders, defaults=build_defaults, clock=clock)

    async def reconcile(self, key: Key) -> None:
        """Bring one resource into shape and say how it stands.

        Raises:
            RetryLaterError: Something transient was in the way.
        """
        resource = self._cache.get(RESOURCE, *key)
        if resource is None:
            self._reader.track(key, (), settled=True)  # its children go by their owner references
            self._builds.forget(key)
            return
        spec, errors = _parsed(resource)
        pods = self._pods(key)
        step = await self._have_built(key, resource, spec)
        wanted = self._wanted(key, resource, spec, step.state)
        refusals: tuple[Refusal, ...] = ()
        later = RetryLaterError(step.again, at_least=10.0) if step.again else None
        if spec is not None and wanted is not None and not spec.paused and not _deleting(resource):
            refusals = await self._write_children(resource, wanted)
            if not refusals:
                try:
                    await self._remove_unwanted(key, resource, wanted)
                    await self._touch_pods(key, pods, wanted)
                except RetryLaterError as error:
                    later = error  # how it stands is told all the same
        observed = self._observe(
            key,
            resource,
            spec,
            errors=errors,
            pods=pods,
            wanted=wanted,
            refusals=(*step.refusals, *refusals),
            build=step.state,
        )
        status = compute_status(observed, self._now())
        self._reader.track(key, pods, settled=settled(status) and not self._shrinking(key, spec))
        # Before an agent's first word, a new operator would call what it finds unknown, and take it back at once.
        if not self._reader.awaiting(key):
            await self._write_status(resource, status)
        for refusal in observed.refusals:
            at_least = 0.0 if refusal.transient else 10.0
            raise RetryLaterError(f"{refusal.child}: {refusal.message}", refusal.retry_after, at_least)
        if later is not None:
            raise later

    async def _have_built(self, key: Key, resource: Object, spec: TorchServeModelSpec | None) -> BuildStep:
        """Look for the image that the children need, or have it built."""
        if spec is None:
            return BuildStep()
        step = await self._builds.step(key, resource, spec)
        for reason, note in step.news:
            await self._tell(resource, "Normal", reason, note)
        return step

    def _wanted(
        self, key: Key, resource: Object, spec: TorchServeModelSpec | None, build: BuildState | None
    ) -> Children | None:
        """Decide the children, keeping the pod template of an unchanged spec, or of one whose image is not there."""
        if spec is None:
            return None
        deployment = self._cache.get(DEPLOYMENT, *key)
        image = None if build is None else build.image
        if spec.image is None and image is None and not can_hold(deployment):
            return None  # nothing before the first image
        return children(
            resource["metadata"],
            spec,
            self._bundle,
            image=image,
            deployment=deployment,
            config_maps=frozenset(item["metadata"]["name"] for item in self._cache.children(CONFIG_MAP, key)),
            certificate=self._renewed_certificate(key),
        )

    def _renewed_certificate(self, key: Key) -> str | None:
        """Return the hash of a certificate that is mounted and not served yet."""
        reports = [read.report for read in self._reader.reads_of(key).values()]
        return next((report.certificate for report in reports if report is not None and report.certificate), None)

    def _pods(self, key: Key) -> tuple[Pod, ...]:
        return tuple(Pod.of(kept) for kept in self._cache.children(POD, key) if "view" in kept)

    async def _write_children(self, resource: Object, wanted: Children) -> tuple[Refusal, ...]:
        """Write each child that is not what is wanted, in an order in which each finds what it needs."""
        uid = resource["metadata"]["uid"]
        for kind, body in in_write_order(wanted):
            before = self._cache.get(kind, body["metadata"]["namespace"], body["metadata"]["name"])
            written = await self._writer.ensure(kind, body, uid)
            if written.refusal is not None:
                return (written.refusal,)
            if written.restored is not None:
                name = body["metadata"]["name"]
                await self._tell(resource, "Normal", "Restored", f"{kind.name} {name}: {written.restored}; restored")
            elif written.changed and kind == DEPLOYMENT and before is not None:
                rolled = _rolled(before, body)
                if rolled is not None:
                    await self._tell(resource, "Normal", "RollingOut", f"pods are replaced: {rolled} changed")
        return ()

    async def _remove_unwanted(self, key: Key, resource: Object, wanted: Children) -> None:
        """Remove children that are wanted no more, and ConfigMaps that no ReplicaSet can start a pod from."""
        uid = resource["metadata"]["uid"]
        kept = {(kind, body["metadata"]["name"]) for kind, body in in_write_order(wanted)}
        kept |= {(CONFIG_MAP, name) for name in wanted.referenced}
        kept |= {
            (CONFIG_MAP, live["metadata"]["name"])
            for live in self._cache.children(CONFIG_MAP, key)
            if live["metadata"]["labels"].get(LABEL_ROLE) == ROLE  # a build's plan, which goes with its Job
        }
        for replica_set in self._cache.children(REPLICA_SET, key):
            kept |= {(CONFIG_MAP, name) for name in replica_set["configMaps"]}
        for kind in WRITTEN:
            for live in self._cache.children(kind, key):
                owners = live["metadata"].get("ownerReferences") or ()
                if (kind, live["metadata"]["name"]) not in kept and any(owner["uid"] == uid for owner in owners):
                    try:
                        await self._writer.remove(kind, live)
                    except ApiError as error:
                        raise RetryLaterError(str(error), error.retry_after) from error

    async def _touch_pods(self, key: Key, pods: tuple[Pod, ...], wanted: Children) -> None:
        """Have the kubelet sync a changed policy now: 0.1 to 0.4 s after a touched annotation, 65 s without."""
        reads = self._reader.reads_of(key)
        for pod in pods:
            read = reads.get(pod.uid)
            if pod.deleting or read is None or read.report is None or read.report.policy_hash == wanted.policy_hash:
                continue
            if pod.policy != wanted.policy_hash:
                patch = {"metadata": {"annotations": {ANNOTATION_POLICY: wanted.policy_hash}}}
                try:
                    answer = await self._client.patch_merge(POD, key[0], pod.name, patch)
                except ApiError as error:
                    if error.status == 404:
                        continue
                    raise RetryLaterError(str(error), error.retry_after) from error
                self._cache.put(POD, answer)
                self._again(key)
            self._reader.soon(key, 1.0)

    def _observe(
        self,
        key: Key,
        resource: Object,
        spec: TorchServeModelSpec | None,
        *,
        errors: tuple[FieldError, ...],
        pods: tuple[Pod, ...],
        wanted: Children | None,
        refusals: tuple[Refusal, ...],
        build: BuildState | None,
    ) -> Observed:
        deployment = self._cache.get(DEPLOYMENT, *key)
        live_revision = None
        if deployment is not None:
            labels = deployment["spec"].get("template", {}).get("metadata", {}).get("labels") or {}
            live_revision = labels.get(LABEL_REVISION)
        # without its image, the current generation has no pods: those that run are of an earlier one
        revision = None if wanted is None or (build is not None and build.image is None) else wanted.revision
        return Observed(
            resource=resource,
            spec=spec,
            errors=errors,
            bounds={} if spec is None else {name: bounds.minimum for name, bounds in size(spec).workers.items()},
            revision=revision,
            rolled_out=revision is not None and live_revision == revision,
            deployment=None if deployment is None else deployment["status"],
            pods=pods,
            reads=self._reader.reads_of(key),
            refusals=refusals,
            build=build,
        )

    def _shrinking(self, key: Key, spec: TorchServeModelSpec | None) -> bool:
        """Return whether some pod still has more workers than it may: they end within seconds."""
        if spec is None:
            return False
        most = {name: bounds.maximum for name, bounds in size(spec).workers.items()}
        reports = [read.report for read in self._reader.reads_of(key).values() if read.report is not None]
        models = [model for report in reports for model in report.models]
        return any(model.ready_workers > most.get(model.name, model.ready_workers) for model in models)

    async def _write_status(self, resource: Object, status: Object) -> None:
        """Write the status if it changed, and tell what a person would want to know."""
        previous = resource["status"]
        if previous == status:
            return
        metadata = resource["metadata"]
        body = {"metadata": {"namespace": metadata["namespace"], "name": metadata["name"]}, "status": status}
        try:
            # the uid keeps a slow write from landing on a resource of the same name made anew
            answer = await self._client.apply(
                RESOURCE, {**body, "metadata": {**body["metadata"], "uid": metadata["uid"]}}, subresource="status"
            )
        except ApiError as error:
            if error.status == 404:
                return
            raise RetryLaterError(str(error), error.retry_after) from error
        self._cache.put(RESOURCE, answer)
        if answer["metadata"]["generation"] != metadata["generation"]:
            self._again((metadata["namespace"], metadata["name"]))
        before, after = _ready(previous), _ready(status)
        logger.info(
            "status written",
            extra={
                "resource": f"{metadata['namespace']}/{metadata['name']}",
                "ready": after["status"],
                "reason": after["reason"],
            },
        )
        if (before.get("status"), before.get("reason")) == (after["status"], after["reason"]):
            return
        if after["status"] == "True" and before.get("status") != "True":
            await self._tell(resource, "Normal", after["reason"], after["message"])
        elif after["reason"] in STALLING or after["reason"] in _WORTH_A_WARNING:
            await self._tell(resource, "Warning", after["reason"], after["message"])

    async def _tell(self, resource: Object, kind: Any, reason: str, note: str) -> None:
        regarding = {"apiVersion": API_VERSION, "kind": KIND, "metadata": resource["metadata"]}
        await self._recorder.record(regarding, kind, reason, "Reconcile", note)

    def _now(self) -> str:
        return self._clock().strftime("%Y-%m-%dT%H:%M:%SZ")


_WORTH_A_WARNING = frozenset(
    {
        Reason.WRITE_REFUSED,
        Reason.BUILD_BLOCKED,
        Reason.POD_REJECTED,
        Reason.UNSCHEDULABLE,
        Reason.CONTAINER_CRASHED,
        Reason.SERVER_FAILED,
        Reason.WORKER_DIED,
        Reason.AGENT_UNREACHABLE,
    }
)


def _parsed(resource: Mapping[str, Any]) -> tuple[TorchServeModelSpec | None, tuple[FieldError, ...]]:
    try:
        spec = parse_spec(resource["spec"])
    except InvalidResourceError as invalid:
        return None, invalid.errors
    errors = tuple(cross_checks(spec))
    return (None, errors) if errors else (spec, ())


def _deleting(resource: Mapping[str, Any]) -> bool:
    return "deletionTimestamp" in resource["metadata"]


def _ready(status: Mapping[str, Any]) -> Mapping[str, Any]:
    conditions = status.get("conditions") or ()
    return next((condition for condition in conditions if condition["type"] == ConditionType.READY), {})


def _rolled(before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    """Return what in the pod template makes the pods roll, in words, or None."""
    old, new = before["spec"].get("template") or {}, after["spec"]["template"]
    if (old.get("metadata", {}).get("labels") or {}).get(LABEL_REVISION) == new["metadata"]["labels"][LABEL_REVISION]:
        return None
    path = first_difference({"spec": new["spec"]}, old) or first_difference(
        {"metadata": {"annotations": new["metadata"].get("annotations", {})}}, old
    )
    return dotted(path) if path else f"revision {digest(new)}"
