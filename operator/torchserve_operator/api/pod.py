"""`spec.pod`: an allow-list. Whoever may write a TorchServeModel must not get a privileged pod by it."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from torchserve_operator.api.base import (
    DnsLabel,
    DnsName,
    EnvName,
    FreeObject,
    LabelKey,
    LabelValue,
    Model,
    Quantity,
    Rule,
)
from torchserve_operator.api.names import GROUP, RESERVED_MOUNTS

Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=64)]
Annotations = Annotated[dict[LabelKey, Annotated[str, Field(max_length=16384)]], Field(max_length=64)]
Key = Annotated[str, Field(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253, min_length=1)]


class LocalObjectReference(Model):
    """A named object in the same namespace."""

    name: DnsName
    """The object's name."""


class KeySelector(Model):
    """One key of a ConfigMap or Secret."""

    name: DnsName
    """The object's name."""
    key: Key
    """The key in its data."""
    optional: bool = False
    """Whether the pod starts when the object or the key is missing."""


class FieldSelector(Model):
    """One of the pod's own fields."""

    field_path: Annotated[str, Field(max_length=256)]
    """The field, such as `metadata.name` or `status.podIP`."""


class EnvSource(Model):
    """Where a variable's value comes from; exactly one."""

    secret_key_ref: KeySelector | None = None
    """A key of a Secret."""
    config_map_key_ref: KeySelector | None = None
    """A key of a ConfigMap."""
    field_ref: FieldSelector | None = None
    """A field of the pod."""

    rules: ClassVar = (
        Rule(
            "(has(self.secretKeyRef) ? 1 : 0) + (has(self.configMapKeyRef) ? 1 : 0)"
            " + (has(self.fieldRef) ? 1 : 0) == 1",
            "set exactly one of secretKeyRef, configMapKeyRef and fieldRef",
            lambda m: [m.secret_key_ref, m.config_map_key_ref, m.field_ref].count(None) == 2,
        ),
    )


class EnvVar(Model):
    """One environment variable."""

    name: EnvName
    """The variable's name."""
    value: Annotated[str, Field(max_length=32768)] | None = None
    """The value, as text."""
    value_from: EnvSource | None = None
    """A source of the value; instead of `value`."""

    rules: ClassVar = (
        Rule(
            "!(has(self.value) && has(self.valueFrom))",
            "set only one of value and valueFrom",
            lambda m: m.value is None or m.value_from is None,
        ),
    )


class OptionalReference(Model):
    """A named ConfigMap or Secret that may be allowed to be missing."""

    name: DnsName
    """The object's name."""
    optional: bool = False
    """Whether the pod starts when it is missing."""


class EnvFrom(Model):
    """Every key of a ConfigMap or Secret as a variable; exactly one of both."""

    prefix: Annotated[str, Field(max_length=64)] | None = None
    """Put before each key."""
    config_map_ref: OptionalReference | None = None
    """The ConfigMap."""
    secret_ref: OptionalReference | None = None
    """The Secret."""

    rules: ClassVar = (
        Rule(
            "has(self.configMapRef) != has(self.secretRef)",
            "set exactly one of configMapRef and secretRef",
            lambda m: (m.config_map_ref is None) != (m.secret_ref is None),
        ),
    )


class KeyToPath(Model):
    """One key of a ConfigMap or Secret, projected to a file."""

    key: Key
    """The key."""
    path: Annotated[str, Field(max_length=256, min_length=1)]
    """The file's path in the volume."""
    mode: Annotated[int, Field(ge=0, le=511)] | None = None
    """The file's mode, 0 to 511 (0777)."""


Items = Annotated[list[KeyToPath], Field(max_length=64)]


class ConfigMapVolume(Model):
    """A ConfigMap as files."""

    name: DnsName
    """The ConfigMap."""
    items: Items | None = None
    """Only these keys."""
    default_mode: Annotated[int, Field(ge=0, le=511)] | None = None
    """The files' mode, 0 to 511 (0777)."""
    optional: bool = False
    """Whether the pod starts when it is missing."""


class SecretVolume(Model):
    """A Secret as files."""

    secret_name: DnsName
    """The Secret."""
    items: Items | None = None
    """Only these keys."""
    default_mode: Annotated[int, Field(ge=0, le=511)] | None = None
    """The files' mode, 0 to 511 (0777)."""
    optional: bool = False
    """Whether the pod starts when it is missing."""


class EmptyDirVolume(Model):
    """An empty folder that lives as long as the pod."""

    medium: Literal["", "Memory"] = ""
    """`Memory` for a tmpfs, which counts against the container's memory limit."""
    size_limit: Quantity | None = None
    """The most it may hold, in bytes."""


class PvcVolume(Model):
    """A PersistentVolumeClaim."""

    claim_name: DnsName
    """The claim."""
    read_only: bool = False
    """Whether it is mounted read-only."""


class ImageVolume(Model):
    """An OCI image or artifact as read-only files (Kubernetes 1.33 and later)."""

    reference: Annotated[str, Field(max_length=1024, min_length=1)]
    """The image."""
    pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """When it is pulled."""


class Volume(Model):
    """A volume of one of the kinds that cannot reach the node."""

    name: DnsLabel
    """The volume's name; names that start with `torchserve-operator-` are the operator's."""
    config_map: ConfigMapVolume | None = None
    """A ConfigMap."""
    secret: SecretVolume | None = None
    """A Secret."""
    empty_dir: EmptyDirVolume | None = None
    """An empty folder."""
    persistent_volume_claim: PvcVolume | None = None
    """A claim."""
    image: ImageVolume | None = None
    """An image."""

    rules: ClassVar = (
        Rule(
            "(has(self.configMap) ? 1 : 0) + (has(self.secret) ? 1 : 0) + (has(self.emptyDir) ? 1 : 0)"
            " + (has(self.persistentVolumeClaim) ? 1 : 0) + (has(self.image) ? 1 : 0) == 1",
            "set exactly one of configMap, secret, emptyDir, persistentVolumeClaim and image",
            lambda m: [m.config_map, m.secret, m.empty_dir, m.persistent_volume_claim, m.image].count(None) == 4,
        ),
        Rule(
            "!self.name.startsWith('torchserve-operator-')",
            "volume names that start with torchserve-operator- are the operator's; choose another",
            lambda m: not m.name.startswith("torchserve-operator-"),
            field="name",
        ),
    )


class VolumeMount(Model):
    """Where a volume appears in the server's container."""

    name: DnsLabel
    """The volume's name."""
    mount_path: Annotated[str, Field(pattern=r"^/[^:]*$", max_length=512)]
    """The path in the container; not one of the operator's own."""
    sub_path: Annotated[str, Field(max_length=512)] | None = None
    """A path inside the volume."""
    read_only: bool = False
    """Whether it is mounted read-only."""

    rules: ClassVar = (
        Rule(
            "!(self.mountPath == '/' || ["
            + ", ".join(f"'{path}'" for path in RESERVED_MOUNTS)
            + "].exists(p, self.mountPath == p || self.mountPath.startsWith(p + '/')))",
            f"mountPath is taken by the operator; these are reserved: /, {', '.join(RESERVED_MOUNTS)}",
            lambda m: (
                m.mount_path != "/"
                and not any(m.mount_path == path or m.mount_path.startswith(path + "/") for path in RESERVED_MOUNTS)
            ),
            field="mountPath",
        ),
    )


class Toleration(Model):
    """A taint that the pods tolerate."""

    key: Annotated[str, Field(max_length=317)] | None = None
    """The taint's key; empty with operator Exists for every taint."""
    operator: Literal["Exists", "Equal"] | None = None
    """Equal (the default) compares the value."""
    value: LabelValue | None = None
    """The taint's value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """The taint's effect; every effect when absent."""
    toleration_seconds: int | None = None
    """How long a NoExecute taint is tolerated, in seconds."""


class TopologySpreadConstraint(Model):
    """How the pods spread over the cluster."""

    max_skew: Annotated[int, Field(ge=1, le=1000)] = 1
    """The most that two domains may differ by, in pods."""
    topology_key: Annotated[str, Field(max_length=317, min_length=1)]
    """The node label that makes a domain."""
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"] = "ScheduleAnyway"
    """What happens when it cannot be had."""
    min_domains: Annotated[int, Field(ge=1, le=1000)] | None = None
    """The least number of domains."""
    node_affinity_policy: Literal["Honor", "Ignore"] | None = None
    """Whether nodeSelector and affinity narrow the domains."""
    node_taints_policy: Literal["Honor", "Ignore"] | None = None
    """Whether taints narrow the domains."""


class PodSpec(Model):
    """What may be set on the server's pods. Anything else is refused on purpose."""

    labels: Labels = Field(default_factory=dict)
    """Further labels; the operator's own cannot be replaced."""
    annotations: Annotations = Field(default_factory=dict)
    """Further annotations."""
    node_selector: Labels = Field(default_factory=dict)
    """Node labels that a node must have."""
    tolerations: Annotated[list[Toleration], Field(max_length=32)] = Field(default_factory=list)
    """Taints that the pods tolerate."""
    affinity: FreeObject | None = None
    """core/v1 Affinity, passed on as it is."""
    topology_spread_constraints: Annotated[list[TopologySpreadConstraint], Field(max_length=16)] = Field(
        default_factory=list
    )
    """How the pods spread; they are counted by the resource's own selector."""
    priority_class_name: DnsName | None = None
    """The pods' PriorityClass."""
    runtime_class_name: DnsName | None = None
    """The pods' RuntimeClass, such as `nvidia`."""
    scheduler_name: DnsName | None = None
    """The scheduler that places the pods."""
    image_pull_secrets: Annotated[
        list[LocalObjectReference],
        Field(
            max_length=16,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = Field(default_factory=list)
    """Secrets for pulling the image."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """When the image is pulled; Kubernetes' own default where absent."""
    env: Annotated[
        list[EnvVar],
        Field(
            max_length=64,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = Field(default_factory=list)
    """Environment variables of the server; the workers see them too."""
    env_from: Annotated[list[EnvFrom], Field(max_length=16)] = Field(default_factory=list)
    """Environment variables from whole ConfigMaps and Secrets."""
    volumes: Annotated[
        list[Volume],
        Field(
            max_length=32,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = Field(default_factory=list)
    """Further volumes."""
    volume_mounts: Annotated[
        list[VolumeMount],
        Field(
            max_length=32,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["mountPath"]},
        ),
    ] = Field(default_factory=list)
    """Where the further volumes appear."""
    run_as_user: Annotated[int, Field(ge=1, le=2147483647)] = 1000
    """The numeric user; 1000 is the upstream image's own. Root is refused."""
    run_as_group: Annotated[int, Field(ge=0, le=2147483647)] = 1000
    """The numeric group."""
    fs_group: Annotated[int, Field(ge=0, le=2147483647)] | None = None
    """The group that owns mounted volumes; `runAsGroup` where absent."""
    supplemental_groups: Annotated[list[Annotated[int, Field(ge=0, le=2147483647)]], Field(max_length=32)] = Field(
        default_factory=list
    )
    """Further numeric groups."""
    service_account_name: DnsName | None = None
    """An existing ServiceAccount instead of the operator's own; no token is mounted either way."""

    rules: ClassVar = (
        Rule(
            "!has(self.labels) || self.labels.all(k, !k.startsWith('" + GROUP + "/'))",
            f"labels under {GROUP}/ are the operator's own",
            lambda m: not any(key.startswith(f"{GROUP}/") for key in m.labels),
            field="labels",
        ),
        Rule(
            "!has(self.annotations) || self.annotations.all(k, !k.startsWith('" + GROUP + "/'))",
            f"annotations under {GROUP}/ are the operator's own",
            lambda m: not any(key.startswith(f"{GROUP}/") for key in m.annotations),
            field="annotations",
        ),
        Rule(
            "!has(self.volumeMounts) || self.volumeMounts.all(m, has(self.volumes)"
            " && self.volumes.exists(v, v.name == m.name))",
            "each volumeMount must name one of pod.volumes",
            lambda m: {mount.name for mount in m.volume_mounts} <= {volume.name for volume in m.volumes},
            field="volumeMounts",
        ),
    )
