"""The CustomResourceDefinition, made from the models.

One default only is in it: `spec.replicas`, without which the scale subresource answers 500 ("the spec replicas field
does not exist"). Every other default is the operator's to fill in while it reads: a default in the CRD is written into
users' objects, where Argo CD and Flux see a difference from what was committed, and where it stays what it was on the
day of writing while the operator's own has moved on.
"""

from typing import Any, Final

from torchserve_operator.api.names import GROUP, KIND, PLURAL, SHORT_NAME, VERSION
from torchserve_operator.api.spec import NAME_RULES, TorchServeModelSpec
from torchserve_operator.api.status import TorchServeModelStatus
from torchserve_operator.api.structural import structural

KEPT_DEFAULTS: Final = frozenset({"spec.replicas"})


def custom_resource_definition() -> dict[str, Any]:
    """Return the CRD as a plain object, ready for YAML or an apply."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": [SHORT_NAME],
                "categories": ["all"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": _schema()},
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.replicas",
                            "statusReplicasPath": ".status.replicas",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                    "additionalPrinterColumns": _columns(),
                    # `kubectl get tsm -A --field-selector spec.image=…`: who runs this image?
                    "selectableFields": [{"jsonPath": ".spec.image"}],
                }
            ],
        },
    }


def _schema() -> dict[str, Any]:
    return {
        "description": "One TorchServe server and its models: what is wanted, and what is observed.",
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"description": f"{GROUP}/{VERSION}.", "type": "string"},
            "kind": {"description": f"{KIND}.", "type": "string"},
            # Its name is declared so that the rules over it can point at it. No description: the API server, which
            # has its own, refuses one.
            "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
            "spec": structural(
                TorchServeModelSpec.model_json_schema(by_alias=True), root="spec", keep_defaults=KEPT_DEFAULTS
            ),
            "status": structural(TorchServeModelStatus.model_json_schema(by_alias=True), root="status"),
        },
        "x-kubernetes-validations": [dict(rule) for rule in NAME_RULES],
    }


def _columns() -> list[dict[str, Any]]:
    def ready(part: str) -> str:
        return f'.status.conditions[?(@.type=="Ready")].{part}'

    return [
        _column("Ready", "string", ready("status"), "Whether every wanted replica answers."),
        _column("Replicas", "integer", ".status.readyReplicas", "Pods that answer."),
        _column("Workers", "string", ".status.workers", "Ready and wanted workers."),
        _column("Version", "string", ".status.version", "The models' versions."),
        _column("Reason", "string", ready("reason"), "Why it is ready or not."),
        _column("Age", "date", ".metadata.creationTimestamp", "Since when it exists."),
        _column("Image", "string", ".status.image", "The running image.", wide=True),
        _column("URL", "string", ".status.url", "The Service's address inside the cluster.", wide=True),
        _column("Message", "string", ready("message"), "The cause, in one line.", wide=True),
    ]


def _column(name: str, kind: str, path: str, description: str, *, wide: bool = False) -> dict[str, Any]:
    column = {"name": name, "type": kind, "jsonPath": path, "description": description}
    return column | {"priority": 1} if wide else column
