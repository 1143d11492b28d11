"""HTTPS with a certificate from a Secret, renewed under load."""

import json
from typing import Any

import pytest
from certificates import Authority, Issued
from kube import Namespace, eventually
from load import Load
from rolling import agent, python, rolled, uids

URL = "https://sleepy/predictions/sleepy"
CERTIFICATE = "torchserve-operator.dev/certificate"
KEY = "/opt/torchserve-operator/tls/tls.key"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def first(authority: Authority, shared: Namespace) -> Issued:
    return authority.issue("sleepy", f"sleepy.{shared.name}.svc")


@pytest.fixture(scope="module")
def sleepy(shared: Namespace, first: Issued) -> Namespace:
    """Two replicas of `sleepy` by HTTPS, Ready."""
    shared.kubectl("apply", "-f", "-", stdin=json.dumps(first.secret("certificate")))
    shared.apply(shared.cr("sleepy", replicas=2, server={"tls": {"secretName": "certificate"}}))
    shared.ready("sleepy")
    return shared


def test_it_answers_by_https_alone(sleepy: Namespace, authority: Authority, first: Issued) -> None:
    with Load(sleepy, URL, requests=8, service_seconds=0.01, ca=authority.certificate) as load:
        summary = load.finish(now=False)
    assert (summary.lost, summary.certificates) == ([], [first.fingerprint])
    assert sleepy.tsm("sleepy")["status"]["url"] == f"https://sleepy.{sleepy.name}.svc"
    service = sleepy.api.get(f"{sleepy.core}/services/sleepy")
    assert [(port["name"], port["port"], port["targetPort"]) for port in service["spec"]["ports"]] == [
        ("https", 443, 8080)
    ]
    (container,) = sleepy.deployment("sleepy")["spec"]["template"]["spec"]["containers"]
    assert container["livenessProbe"]["httpGet"]["scheme"] == "HTTPS"


def test_the_key_is_for_the_pods_group_alone(sleepy: Namespace) -> None:
    look = f"import json, os; s = os.stat({KEY!r}); print(json.dumps([s.st_uid, s.st_gid, oct(s.st_mode & 0o777)]))"
    assert python(sleepy, sleepy.pods("sleepy")[0], look) == [0, 1000, "0o440"]


@pytest.mark.usefixtures("attentive")
def test_a_renewed_certificate_rolls_the_pods_once_and_loses_nothing(
    sleepy: Namespace, authority: Authority, first: Issued
) -> None:
    old = uids(sleepy, "sleepy")
    second = authority.issue("sleepy", f"sleepy.{sleepy.name}.svc")
    with Load(sleepy, URL, ca=authority.certificate) as load:
        sleepy.kubectl("apply", "-f", "-", stdin=json.dumps(second.secret("certificate")))
        mounted = _noticed(sleepy)
        eventually(lambda: _annotation(sleepy) == mounted, 15, "the operator rolls the pods")
        rolled(sleepy, "sleepy", old)
        summary = load.finish()
    print(summary)
    assert summary.lost == [], summary
    assert (summary.certificates[0], summary.certificates[-1]) == (first.fingerprint, second.fingerprint)
    assert [agent(sleepy, pod)["tls"] for pod in sleepy.pods("sleepy")] == [
        {"certificateChanged": False, "mountedHash": mounted}
    ] * 2
    # nothing rolls again once nobody reports the renewal any more
    sleepy.wait_for("sleepy", "Reconciling", "False")
    assert _annotation(sleepy) == mounted
    assert len(_revisions(sleepy)) == 2


def _noticed(namespace: Namespace) -> str:
    """Have the kubelets sync the Secret, and wait until an agent has seen it; the hash that it names.

    Any touched annotation of a pod makes its kubelet look now; by itself it does within a minute or so.
    """
    pod = namespace.pods("sleepy")[0]
    touches = iter(range(100))

    def question() -> Any:
        names = [pod["metadata"]["name"] for pod in namespace.pods("sleepy")]
        namespace.kubectl("annotate", "--overwrite", "pods", *names, f"touched={next(touches)}")
        tls = agent(namespace, pod)["tls"]
        return tls["mountedHash"] if tls["certificateChanged"] else None

    return str(eventually(question, 30, "the agent notices the renewed certificate"))


def _annotation(namespace: Namespace) -> str | None:
    annotations = namespace.deployment("sleepy")["spec"]["template"]["metadata"]["annotations"]
    return str(annotations[CERTIFICATE]) if CERTIFICATE in annotations else None


def _revisions(namespace: Namespace) -> list[str]:
    selector = "torchserve-operator.dev/model=sleepy"
    items = namespace.api.get(f"{namespace.apps}/replicasets", labelSelector=selector)["items"]
    return [item["metadata"]["name"] for item in items]
