"""The CRD on a real API server: accepted as it is, and doing what it promises."""

import json
from typing import Any

import pytest

from testbed.apihttp import MODELS, Api
from testbed.apiserver import ApiServer
from torchserve_operator.api.quantity import canonical_quantity
from torchserve_operator.app.yaml_reader import documents

CRD_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/torchservemodels.torchserve-operator.dev"
TOO_LONG = "a-name-of-forty-one-characters-is-too-lon"


def model(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "torchserve-operator.dev/v1alpha1",
        "kind": "TorchServeModel",
        "metadata": {"name": name},
        "spec": {"image": "registry.example/digits:1", "models": [{"name": "digits"}]} | spec,
    }


def test_the_api_server_has_nothing_to_object_to(http: Api) -> None:
    conditions = http.request("GET", CRD_PATH).body["status"]["conditions"]
    assert {condition["type"]: condition["status"] for condition in conditions} == {
        "NamesAccepted": "True",
        "Established": "True",
    }


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (TOO_LONG, "has at most 40 characters, because its children's names are made of it"),
        ("2digits", "is a DNS label that starts with a letter (a-z, 0-9 and -), because it names a Service"),
    ],
)
def test_a_name_that_does_not_fit_is_refused_with_the_reason(http: Api, name: str, reason: str) -> None:
    refusal = http.create(model(name))
    assert refusal.status == 422
    assert refusal.fields == ["metadata.name"]
    assert reason in refusal.body["message"]


def test_a_generated_name_obeys_the_same_rules(http: Api) -> None:
    body = model("") | {"metadata": {"generateName": TOO_LONG[:36]}}
    refusal = http.create(body)
    assert refusal.fields == ["metadata.name"]


def test_only_replicas_gets_a_default(http: Api) -> None:
    wanted = model("defaults")
    assert http.create(wanted).body["spec"] == wanted["spec"] | {"replicas": 1}


def test_the_scale_subresource_reads_and_writes_replicas(api: ApiServer, http: Api) -> None:
    http.request("POST", MODELS, model("scaled"))
    http.request(
        "PATCH",
        f"{MODELS}/scaled/status",
        {"status": {"replicas": 1, "selector": "torchserve-operator.dev/model=scaled"}},
        content_type="application/merge-patch+json",
    )
    api.kubectl("scale", "tsm", "scaled", "--replicas=3")
    scale = http.request("GET", f"{MODELS}/scaled/scale").body
    assert scale["spec"]["replicas"] == 3
    assert scale["status"] == {"replicas": 1, "selector": "torchserve-operator.dev/model=scaled"}
    assert http.request("GET", f"{MODELS}/scaled").body["spec"]["replicas"] == 3


def test_the_status_is_written_by_its_subresource_only(http: Api) -> None:
    created = http.request("POST", MODELS, model("truthful") | {"status": {"replicas": 7}})
    assert "status" not in created.body


def test_kubectl_explain_describes_the_fields(api: ApiServer) -> None:
    assert "How long a batch waits for more requests, in milliseconds." in api.kubectl(
        "explain", "tsm.spec.models.maxBatchDelay"
    )


def test_resources_can_be_selected_by_image(api: ApiServer, http: Api) -> None:
    http.request("POST", MODELS, model("by-image", image="registry.example/sought:1"))
    found = api.kubectl("get", "tsm", "--field-selector", "spec.image=registry.example/sought:1", "-o", "name")
    assert found.strip() == "torchservemodel.torchserve-operator.dev/by-image"


YAML_VALUES = """\
a: 1e3
b: 12:30
c: 2026-11-21
d: 0o17
e: 0x1F
f: 1_000
g: .5
h: 5.
i: +1
j: 0777
k: ~
l: =
m: off
n: Y
o: 1.0
p: 0b11
q: 089
r: 1.5e-3
s: 190:20:30.15
t: 2026-11-21T10:00:00Z
u: NO
v: 1__0
w: !!str 5
x: "1.0"
z: _1
5: number
true: bool
1.5: float
aa: 1.2.3
ab: 1Gi
ac: nO
ad: -0
ae: 1E400x
"""


def test_yaml_is_read_as_kubectl_reads_it(api: ApiServer) -> None:
    parameters = "".join(f"      {line}\n" for line in YAML_VALUES.splitlines())
    manifest = (
        "apiVersion: torchserve-operator.dev/v1alpha1\nkind: TorchServeModel\nmetadata: {name: yaml}\n"
        f"spec:\n  image: x\n  models:\n  - name: digits\n    parameters:\n{parameters}"
    )
    created = json.loads(api.kubectl("create", "-f", "-", "--dry-run=server", "-o", "json", stdin=manifest))
    (document,) = documents(YAML_VALUES)
    assert document.value == created["spec"]["models"][0]["parameters"]


QUANTITIES = [
    *("1000m", "1024Mi", "0.5", "0.5Gi", "1.5Gi", "512Ki", "0.5Ki", "1e9", "1000e6", "1E3", "1000k", "1500", "2000"),
    *("2147483648", "+2G", "0Mi", "0", "100u", "1.5", "12e-1", "1.0001Ki", "0.3Mi", "1.", ".5", "1e-3", "1023Mi"),
    *("0.001Ki", "1048576Ki", "1P", "999999999999999999", "1e18", "8Ei", "100e3", "1e4", "15e2", "123.456k"),
]


def test_a_quantity_in_our_canonical_form_comes_back_as_it_was_written(http: Api) -> None:
    # Else the operator would see a difference for ever, and repair it for ever.
    hard = {f"requests.example.com/q{index}": canonical_quantity(text) for index, text in enumerate(QUANTITIES)}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "quantities"}, "spec": {"hard": hard}}
    answer = http.request("POST", "/api/v1/namespaces/default/resourcequotas", quota, dryRun="All")
    assert answer.body["spec"]["hard"] == hard
