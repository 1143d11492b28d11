"""The kinds that the operator reads and writes, and where the API server keeps them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """A resource type.

    Attributes:
        group: The API group; empty for core.
        version: The API version.
        plural: The name in URLs.
        name: The kind, in CamelCase.
    """

    group: str
    version: str
    plural: str
    name: str

    @property
    def api_version(self) -> str:
        """What an object's apiVersion says."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """Return the URL's path; without a namespace, that of all namespaces."""
        path = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        if namespace is not None:
            path += f"/namespaces/{namespace}"
        path += f"/{self.plural}"
        for part in (name, subresource):
            if part is not None:
                path += f"/{part}"
        return path

    def __str__(self) -> str:
        return self.name


CONFIG_MAP = Kind("", "v1", "configmaps", "ConfigMap")
DEPLOYMENT = Kind("apps", "v1", "deployments", "Deployment")
EVENT = Kind("events.k8s.io", "v1", "events", "Event")
JOB = Kind("batch", "v1", "jobs", "Job")
POD = Kind("", "v1", "pods", "Pod")
POD_DISRUPTION_BUDGET = Kind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
REPLICA_SET = Kind("apps", "v1", "replicasets", "ReplicaSet")
SERVICE = Kind("", "v1", "services", "Service")
SERVICE_ACCOUNT = Kind("", "v1", "serviceaccounts", "ServiceAccount")
