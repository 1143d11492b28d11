"""The cluster under the tests is what the testbed promises, seen from inside by pods."""

import json
import time
from collections.abc import Callable, Iterator

import pytest

from testbed import images, registry
from testbed.audit import AuditLog
from testbed.cluster import Cluster
from testbed.errors import TestbedError

NAMESPACE = "testbed-checks"

SERVER = """
use IO::Socket::INET; $SIG{TERM} = sub { exit };
my $s = IO::Socket::INET->new(LocalPort => 8080, Listen => 16, ReuseAddr => 1) or die;
while (my $c = $s->accept) { print $c "hello from $ENV{HOSTNAME}\n"; close $c }
"""

DENY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress]}
"""

ALLOW_FRIENDS = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allow-friends}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {friend: "yes"}}}]
    ports: [{protocol: TCP, port: http}]
"""


class Inside:
    """A namespace with two servers behind a Service, and a client that acts on request."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.cluster.kubectl("-n", NAMESPACE, *arguments, stdin=stdin)

    def sh(self, script: str) -> str:
        return self.kubectl("exec", "client", "--", "bash", "-c", script)

    def get(self, address: str) -> str:
        host, port = address.rsplit(":", 1)
        return self.sh(f"exec 3<>/dev/tcp/{host}/{port} && timeout 5 cat <&3")

    def reaches_web(self) -> bool:
        try:
            return self.sh("timeout 2 bash -c 'exec 3<>/dev/tcp/web/80 && cat <&3'").startswith("hello")
        except TestbedError:
            return False


@pytest.fixture(scope="module")
def inside(cluster: Cluster) -> Iterator[Inside]:
    base = images.debian_base()
    images.push(base)
    found = Inside(cluster)
    container = {"name": "c", "image": registry.reference(base)}
    resources = {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}}
    server = container | {
        "command": ["perl", "-e", SERVER],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 1},
        "resources": resources,
    }
    client = container | {"command": ["sleep", "infinity"], "resources": resources}
    pod = {"terminationGracePeriodSeconds": 1}
    objects = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web", "namespace": NAMESPACE},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": pod | {"containers": [server]}},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": NAMESPACE},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]},
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "client", "namespace": NAMESPACE},
            "spec": pod | {"containers": [client]},
        },
    ]
    try:
        cluster.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
        found.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
        found.kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=90s")
        yield found
    finally:
        cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=90s")


def test_pods_run_images_pushed_to_the_registry_on_the_loopback(inside: Inside) -> None:
    reference = registry.reference(images.debian_base())
    running = inside.kubectl("get", "pod", "client", "-o", "jsonpath={.status.containerStatuses[0].image}")
    assert running == reference


def test_a_service_name_resolves_to_its_address(inside: Inside) -> None:
    address = inside.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
    assert inside.sh(f"getent hosts web.{NAMESPACE}.svc.cluster.local").split()[0] == address


def test_a_service_spreads_requests_over_its_pods_on_every_node(inside: Inside) -> None:
    answers = {inside.get("web:80").strip() for _ in range(20)}
    names = inside.kubectl("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].metadata.name}").split()
    assert answers == {f"hello from {name}" for name in names}


def test_a_name_outside_the_cluster_does_not_exist(inside: Inside) -> None:
    with pytest.raises(TestbedError, match="exited with"):
        inside.sh("getent hosts www.example.org")


def test_what_would_leave_the_cluster_is_refused_at_once(inside: Inside) -> None:
    began = time.monotonic()
    with pytest.raises(TestbedError, match="exited with"):
        inside.get("192.0.2.1:80")
    assert time.monotonic() - began < 3, "it was dropped, not refused: the network guard is not what answered"


def test_network_policies_are_enforced(inside: Inside) -> None:
    assert inside.reaches_web()
    try:
        inside.kubectl("apply", "-f", "-", stdin=DENY)
        _eventually(lambda: not inside.reaches_web())
        inside.kubectl("apply", "-f", "-", stdin=ALLOW_FRIENDS)
        inside.kubectl("label", "pod", "client", "friend=yes")
        _eventually(inside.reaches_web)
    finally:
        inside.kubectl("delete", "networkpolicies", "--all")
        inside.kubectl("label", "pod", "client", "friend-")
    _eventually(inside.reaches_web)


def test_the_audit_log_on_this_machine_has_every_write_and_who_did_it(inside: Inside) -> None:
    path = inside.cluster.audit_log
    assert path is not None, "a given cluster has no audit log that tests could read"
    log = AuditLog(path)
    mark = log.mark()
    inside.kubectl("create", "configmap", "written")
    inside.kubectl("get", "configmap", "written")
    inside.kubectl("delete", "configmap", "written")
    mine = [line for line in log.writes(mark, user="kubernetes-admin") if NAMESPACE in line]
    assert mine == [f"create configmaps {NAMESPACE}/written", f"delete configmaps {NAMESPACE}/written"]


def _eventually(condition: Callable[[], bool], within: float = 10) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within} s"
