"""Images are built in the cluster: each example from one resource, and a build that fails touches nothing."""

import base64
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from apiproxy import ApiProxyError, Object
from build_ground import Ground, ground
from certificates import Authority
from installed import Installed
from kube import Namespace
from rolling import python, uids_to_the_end

from testbed import example_models, project_images, registry
from testbed.errors import TestbedError
from testbed.example_models import EXAMPLES

PREFLIGHT = """
import http.client, json, ssl
connection = http.client.HTTPSConnection("127.0.0.1", 8080, context=ssl._create_unverified_context())
asked = {"Origin": "https://energy.example", "Access-Control-Request-Method": "POST"}
connection.request("OPTIONS", "/predictions/forecast", headers=asked)
print(json.dumps(connection.getresponse().getheader("access-control-allow-origin")))
"""
"""What a browser asks before it sends a request of a page of another origin."""
BUILT = 180.0
"""Seconds until a resource that is built is Ready; seen: 20 to 60."""


@dataclass(frozen=True)
class Site:
    """The namespace that builds happen in, and what lies around it."""

    namespace: Namespace
    ground: Ground

    def example(self, name: str, *, folder: str = "") -> Object:
        """An example's resource for this registry, this bucket and little memory; its files are in the bucket."""
        self.ground.upload(example_models.ensure(name), folder)
        resource = example_models.resource(name)
        resource["metadata"]["namespace"] = self.namespace.name
        build = resource["spec"]["build"]
        # a repository of its own: nothing is there from an earlier run
        build["repository"] = registry.reference(f"builds/{name}-{uuid.uuid4().hex[:8]}")
        del build["pushSecretName"]
        if "requirements" in build:
            build["indexSecretName"] = "package-index"
        resource["spec"]["resources"]["requests"] = {"cpu": "100m", "memory": "512Mi"}
        return resource

    def job(self, name: str) -> Object:
        """The resource's one Job."""
        path = f"/apis/batch/v1/namespaces/{self.namespace.name}/jobs"
        (found,) = self.namespace.api.get(path, labelSelector=f"torchserve-operator.dev/model={name}")["items"]
        return dict(found)

    def ask(self, name: str, script: str, scheme: str = "http", port: int = 80, **options: str) -> str:
        """What an example's own client prints; it asks the Service, and fails when an answer is wrong."""
        service = f"{self.namespace.core}/services/{scheme}:{name}:{port}/proxy"
        model = options.pop("model", name)
        words = [word for option, value in options.items() for word in (f"--{option}", value)]
        url = f"{self.namespace.api.url}{service}/predictions/{model}"
        command = [sys.executable, EXAMPLES / script, url, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def site(shared: Namespace, operator: Installed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    project_images.ensure(project_images.RUNTIME)
    with ground(tmp_path_factory.mktemp("ground"), example_models.wheels().glob("*.whl")) as found:
        operator.set_environment(
            TORCHSERVE_OPERATOR_BASE_IMAGE_CPU=registry.reference(project_images.RUNTIME),
            TORCHSERVE_OPERATOR_REGISTRY_MIRRORS=json.dumps({registry.host(): found.registry}),
            TORCHSERVE_OPERATOR_ALLOW_HTTP_SOURCES="true",
        )
        secret(shared, "models-bucket", found.credentials())
        secret(shared, "package-index", found.index_settings())
        yield Site(shared, found)
        operator.set_environment(
            TORCHSERVE_OPERATOR_BASE_IMAGE_CPU=None,
            TORCHSERVE_OPERATOR_REGISTRY_MIRRORS=None,
            TORCHSERVE_OPERATOR_ALLOW_HTTP_SOURCES=None,
        )


def secret(namespace: Namespace, name: str, content: dict[str, str], kind: str = "Opaque") -> None:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in content.items()}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": kind, "data": data}
    namespace.api.create(f"{namespace.core}/secrets", body)


def expected(name: str, file: str = "expected.json") -> Any:
    return json.loads((EXAMPLES / name / file).read_text(encoding="utf-8"))


def pod_uids(namespace: Namespace, name: str) -> set[str]:
    return {pod["metadata"]["uid"] for pod in namespace.pods(name)}


def test_functions_are_built_into_two_models_of_one_server_and_a_bad_request_fails_alone(site: Site) -> None:
    namespace = site.namespace
    resource = site.example("function-handler", folder="colours/")
    namespace.apply(resource)
    namespace.ready("colours", BUILT)
    request = expected("function-handler", "request.json")
    answer = namespace.predict("colours", request, "large")
    assert answer["name"] == expected("function-handler")["name"]
    assert namespace.predict("colours", request, "small")["name"] == answer["name"]
    with pytest.raises(ApiProxyError) as refused:
        namespace.predict("colours", {"colour": "#gggggg"}, "large")
    assert refused.value.status == 400

    status = namespace.tsm("colours")["status"]
    assert status["image"] == status["build"]["image"]
    assert status["image"].startswith(f"{resource['spec']['build']['repository']}@sha256:")
    assert namespace.condition("colours", "ImageReady")["status"] == "True"
    (container,) = namespace.pod("colours")["spec"]["containers"]
    assert container["image"] == status["image"]

    pods = pod_uids(namespace, "colours")
    resource["spec"]["build"]["revision"] = "resolved again, and all is as it was"
    namespace.apply(resource)
    namespace.ready("colours", BUILT)
    assert namespace.tsm("colours")["status"]["image"] == status["image"]
    assert pod_uids(namespace, "colours") == pods

    resource["spec"]["models"][0]["package"]["function"]["file"] = "colour.py"
    namespace.apply(resource)
    failed = namespace.wait_for("colours", "ImageReady", "False", "BuildFailed", says="colours.py", timeout=BUILT)
    assert failed["message"].startswith("spec.models[0].package.function.file: ")
    assert namespace.condition("colours", "Available")["status"] == "True"
    assert namespace.predict("colours", request, "large")["name"] == answer["name"]
    assert pod_uids(namespace, "colours") == pods
    namespace.delete("colours")


def test_an_archive_with_requirements_is_built_and_served_as_production_asks_for(site: Site) -> None:
    namespace = site.namespace
    resource = site.example("production")
    namespace.api.create(f"{namespace.core}/secrets", Authority().issue("forecast").secret("forecast-tls"))
    namespace.apply(resource)
    namespace.ready("forecast", BUILT)
    said = site.ask("forecast", "production/predict.py", "https", 443)
    assert "MW" in said
    job = site.job("forecast")
    pod = job["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert [container["name"] for container in pod["initContainers"]] == ["requirements"]
    server = namespace.pods("forecast")[0]
    assert python(namespace, server, PREFLIGHT) == "https://energy.example"
    logged = [line for _, line in namespace.log(server["metadata"]["name"]) if line.startswith("{")]
    assert {json.loads(line)["level"] for line in logged} <= {"WARN", "ERROR"}
    namespace.delete("forecast")


def test_a_broken_image_fails_alone_and_a_new_version_comes_while_all_are_answered(site: Site) -> None:
    namespace = site.namespace
    resource = site.example("efficientnet", folder="efficientnet/1.0/")
    namespace.apply(resource)
    namespace.ready("efficientnet", BUILT)
    assert "400" in site.ask("efficientnet", "efficientnet/client.py", images="400")

    site.ground.upload(example_models.ensure("efficientnet", "--seed", "2"), "efficientnet/1.1/")
    (model,) = resource["spec"]["models"]
    model["version"] = "1.1"
    model["package"]["source"]["url"] = "s3://models/efficientnet/1.1/"
    old = pod_uids(namespace, "efficientnet")
    namespace.apply(resource)
    asked, deadline = 0, time.monotonic() + BUILT
    while old & uids_to_the_end(namespace, "efficientnet"):
        assert time.monotonic() < deadline, namespace.condition("efficientnet")
        site.ask("efficientnet", "efficientnet/client.py", images="60")
        asked += 1
    namespace.ready("efficientnet")
    assert asked > 1
    assert [found["version"] for found in namespace.tsm("efficientnet")["status"]["models"]] == ["1.1"]
    namespace.delete("efficientnet")


def test_a_sentiment_is_told_by_transformers_that_the_base_image_lacks(site: Site) -> None:
    namespace = site.namespace
    namespace.apply(site.example("sentiment", folder="sentiment/"))
    namespace.ready("sentiment", BUILT)
    answer = namespace.predict("sentiment", expected("sentiment", "request.json"))
    assert answer["labels"] == expected("sentiment")["labels"]
    namespace.delete("sentiment")


def test_the_namespace_that_builds_happen_in_admits_no_privileged_pod(site: Site) -> None:
    override = {"spec": {"containers": [{"name": "x", "image": "x", "securityContext": {"privileged": True}}]}}
    with pytest.raises(TestbedError, match='violates PodSecurity "restricted'):
        site.namespace.kubectl("run", "x", "--image=x", "--overrides", json.dumps(override))
