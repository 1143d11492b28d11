"""The operator in the cluster, namespaces to act in, and a look at its log after every test."""

import time
from collections.abc import Iterator

import pytest
from apiproxy import ApiProxy
from installed import Installed
from kube import Namespace

from testbed import operator as operators
from testbed import project_images
from testbed.cluster import Cluster


@pytest.fixture(scope="session")
def api(cluster: Cluster) -> Iterator[ApiProxy]:
    """The cluster's API."""
    with ApiProxy(cluster) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def operator(cluster: Cluster, api: ApiProxy) -> Installed:
    """The operator of this tree, installed as a person would."""
    return Installed(cluster, api, operators.install(cluster))


@pytest.fixture(scope="session")
def scenarios(cluster: Cluster) -> str:  # noqa: ARG001  # the registry is the cluster's
    """The reference of the image with the tests' models."""
    return project_images.ensure(project_images.SCENARIOS)[project_images.SCENARIOS]


@pytest.fixture
def attentive(operator: Installed) -> Iterator[None]:
    """The operator reads the agents of resources at rest every second, instead of every minute."""
    operator.set_environment(TORCHSERVE_OPERATOR_AGENT_SETTLED_SECONDS="1")
    yield
    operator.set_environment(TORCHSERVE_OPERATOR_AGENT_SETTLED_SECONDS=None)


@pytest.fixture
def namespace(cluster: Cluster, api: ApiProxy, operator: Installed, scenarios: str) -> Iterator[Namespace]:  # noqa: ARG001  # what acts in it
    """A namespace of the test's own."""
    made = Namespace(cluster, api, scenarios)
    yield made
    made.remove()


@pytest.fixture(scope="module")
def shared(cluster: Cluster, api: ApiProxy, operator: Installed, scenarios: str) -> Iterator[Namespace]:  # noqa: ARG001  # what acts in it
    """A namespace for all tests of a file."""
    made = Namespace(cluster, api, scenarios)
    yield made
    made.remove()


@pytest.fixture(autouse=True)
def clean_log(request: pytest.FixtureRequest) -> Iterator[None]:
    """Nothing that the operator logs during a test is an error, a traceback or a failure, and it does not restart."""
    if not {"operator", "namespace", "shared"} & set(request.fixturenames):
        yield
        return
    operator: Installed = request.getfixturevalue("operator")
    began, before = time.time(), operator.restarts()
    yield
    assert operator.complaints(began) == []
    assert {name: count for name, count in operator.restarts().items() if count > before.get(name, 0)} == {}
