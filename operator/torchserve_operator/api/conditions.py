"""Condition types and reasons: the words that users alert on. Each reason's docstring is its entry in the docs."""

from enum import StrEnum
from typing import Final


class ConditionType(StrEnum):
    """The conditions of a TorchServeModel, in the order they are written."""

    READY = "Ready"
    """The current generation answers on all wanted replicas."""
    AVAILABLE = "Available"
    """Some revision answers now; alerts go by this."""
    IMAGE_READY = "ImageReady"
    """The image is there and its container could be made; with `spec.build`, how far its build is."""
    MODELS_READY = "ModelsReady"
    """Every model of the current generation has its minWorkers."""
    RECONCILING = "Reconciling"
    """kstatus: work is going on towards the current generation."""
    STALLED = "Stalled"
    """kstatus: nothing will get better by itself; somebody must act."""


class Reason(StrEnum):
    """Why a condition has its status."""

    ANSWERING = "Answering"
    """Every model answers. Nothing to do."""
    SCALED_TO_ZERO = "ScaledToZero"
    """`replicas` is 0. Raise it to serve."""
    PAUSED = "Paused"
    """`paused` is true: the operator writes nothing to the children. Set it to false to go on."""
    DELETING = "Deleting"
    """The resource is being deleted; its children go with it."""
    INVALID_SPEC = "InvalidSpec"
    """The spec cannot be served as written; the message names each field. What ran before goes on. Mend the spec."""
    CONFLICT = "Conflict"
    """An object with a child's name exists and is not ours, or an older resource pushes to the same tag; the message
    names it. Rename or remove one of them."""
    WRITE_REFUSED = "WriteRefused"
    """The API server refused a child; the message has its words (a quota, a policy, a bad affinity). Mend the spec or
    the policy; the operator tries again by itself."""
    BUILDING = "Building"
    """The image is being built; the message has the stage and the bytes. What ran before goes on. Wait."""
    BUILD_BLOCKED = "BuildBlocked"
    """The build's pod cannot start; the message has the kubelet's or the scheduler's words. Mend what it names: the
    build goes on by itself."""
    BUILD_FAILED = "BuildFailed"
    """The image could not be built; the message has the field, what is wrong and what to do. What ran before goes on,
    and nothing is tried again by itself: mend the spec, change build.revision, or delete the failed Job."""
    BUILT = "Built"
    """The image is built and pushed; no pod of this generation has pulled it yet. Wait."""
    PROGRESSING = "Progressing"
    """Pods of the current generation are being made. Wait."""
    MODELS_LOADING = "ModelsLoading"
    """The server is up and models are loading. Wait."""
    WORKERS_MISSING = "WorkersMissing"
    """A model answers with fewer workers than its minWorkers; the message counts them. They are restarted by
    themselves; if it lasts, read the worker's error in the message or the logs."""
    LOAD_FAILED = "LoadFailed"
    """A model's handler failed while loading; the message has the exception's last line. Mend the handler, the image
    or the parameters."""
    ARCHIVE_MISSING = "ArchiveMissing"
    """A model is not in the image where the spec says; the message names the path and what is there. Mend `path`,
    `server.modelStore` or the image."""
    ARCHIVE_BROKEN = "ArchiveBroken"
    """A model's archive cannot be read or has no manifest. Build it again."""
    WORKER_DIED = "WorkerDied"
    """A worker ended without an exception. Read the pod's log."""
    OUT_OF_MEMORY = "OutOfMemory"
    """A worker or the container was killed at the memory limit; the message has the limit. Raise
    resources.limits.memory or lower minWorkers."""
    IMAGE_PULL_FAILED = "ImagePullFailed"
    """The image cannot be pulled; the message has the kubelet's words. Mend `image` or pod.imagePullSecrets."""
    IMAGE_UNSUITABLE = "ImageUnsuitable"
    """The image lacks what serving needs (python, java or TorchServe); the message names it."""
    UNSCHEDULABLE = "Unschedulable"
    """No node takes the pod; the message has the scheduler's words."""
    CONTAINER_CONFIG_ERROR = "ContainerConfigError"
    """The kubelet cannot make the container: a Secret or ConfigMap that the spec names is missing, say."""
    CONTAINER_CRASHED = "ContainerCrashed"
    """The server's container ended; the message has its termination message or exit code."""
    SERVER_FAILED = "ServerFailed"
    """TorchServe ended or does not answer; the message has its last error."""
    POD_REJECTED = "PodRejected"
    """Pods cannot be created (a quota, pod security, a missing service account); the message has the words."""
    AGENT_UNREACHABLE = "AgentUnreachable"
    """A pod runs and its agent did not answer the operator: a network policy between both, say. Known state is kept."""
    DRAIN_DEGRADED = "DrainDegraded"
    """Every model answers, but a stop may cut kept-alive connections: the image's TorchServe is of a version that the
    operator's classes do not fit. Use TorchServe 0.8 to 0.12."""
    POLICY_INVALID = "PolicyInvalid"
    """Every model answers, but the agent cannot read the workers' bounds; the message says why. The last good bounds
    are in force."""
    UNKNOWN = "Unknown"
    """Not observed yet."""


BY_NAME: Final = {reason.value: reason for reason in Reason}
"""The reasons by the words that agents use for them."""
