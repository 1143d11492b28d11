"""The names that make up the operator's contract with the cluster."""

from typing import Final

GROUP: Final = "torchserve-operator.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "TorchServeModel"
PLURAL: Final = "torchservemodels"
SHORT_NAME: Final = "tsm"

NAME_MAX_LENGTH: Final = 40
"""Children's names are made of the resource's: `NAME-server-HASH` and the Pods' own suffixes must fit 63 characters."""

FIELD_MANAGER: Final = "torchserve-operator"

LABEL_MODEL: Final = f"{GROUP}/model"
"""The children's label that names their resource; the Deployment's and the Service's whole selector."""
LABEL_ROLE: Final = f"{GROUP}/role"
"""On ConfigMaps: `server`, `agent`, `policy` or `build`."""
LABEL_BUILD: Final = f"{GROUP}/build"
"""On a build's pods instead of LABEL_MODEL, which would make them the Service's: the resource's name."""
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
"""The recommended label; on every child and every pod."""

LABEL_REVISION: Final = f"{GROUP}/revision"
"""On pods: the hash of the template that they were made from."""

ANNOTATION_APPLIED: Final = f"{GROUP}/applied"
"""On every child: the hash of what was last applied, so that a field that is wanted no more is noticed."""
ANNOTATION_SPEC_HASH: Final = f"{GROUP}/spec-hash"
"""On the Deployment: the hash of the resource's own fields that its pods were made from."""
ANNOTATION_TEMPLATE: Final = f"{GROUP}/template"
"""On the Deployment: the pod template as last decided, kept until the resource's own spec changes."""
ANNOTATION_ATTEMPT: Final = f"{GROUP}/build-attempt"
"""On a build's Job: the hash of everything that it is made of."""
ANNOTATION_POLICY: Final = f"{GROUP}/policy"
"""On pods: the policy's hash; touching it makes the kubelet sync the mounted policy at once."""
ANNOTATION_CERTIFICATE: Final = f"{GROUP}/certificate"
"""On the pod template: the hash of the served certificate; a renewed one rolls the pods."""

CONTAINER: Final = "torchserve"
BUILDER_CONTAINER: Final = "builder"
REQUIREMENTS_CONTAINER: Final = "requirements"

INFERENCE_PORT: Final = 8080
MANAGEMENT_PORT: Final = 8081
METRICS_PORT: Final = 8082
AGENT_PORT: Final = 8090

AGENT_DIR: Final = "/opt/torchserve-operator/agent"
SERVER_DIR: Final = "/opt/torchserve-operator/server"
POLICY_DIR: Final = "/opt/torchserve-operator/policy"
TLS_DIR: Final = "/opt/torchserve-operator/tls"
RUN_DIR: Final = "/run/torchserve"
HOME_DIR: Final = "/home/torchserve"
MODEL_STORE: Final = f"{RUN_DIR}/model-store"
MODELS_LOG: Final = f"{RUN_DIR}/logs/models.log"
IMAGE_MODEL_STORE: Final = "/home/model-server/model-store"

BUILD_DIR: Final = "/run/build"
"""Where a build's plan, sources and scratch folders are, in its pod."""

RESERVED_MOUNTS: Final = ("/opt/torchserve-operator", RUN_DIR, HOME_DIR, "/tmp", "/dev/shm")  # noqa: S108  # paths in the pod
