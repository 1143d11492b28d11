"""Fixtures for whoever needs a real API server or a real cluster: started on first use, one a session."""

import os
from collections.abc import Iterator

import pytest

from testbed import cluster as clusters
from testbed.apiserver import ApiServer
from testbed.cluster import Cluster


@pytest.fixture(scope="session")
def apiserver() -> Iterator[ApiServer]:
    """A real kube-apiserver on a real etcd; nothing else acts on what is in it."""
    with ApiServer() as server:
        yield server


@pytest.fixture(scope="session")
def controlled_apiserver() -> Iterator[ApiServer]:
    """The same with kube-controller-manager: pods are made (not run), orphans collected, namespaces finished."""
    with ApiServer(controller_manager=True) as server:
        yield server


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The running cluster. In CI (``CI=true``) it is brought up, and failing at that fails the tests."""
    if os.environ.get("CI") == "true":
        return clusters.ensure()
    found = clusters.current()
    if found is None:
        pytest.skip("no cluster runs: `make cluster` brings it up")
    return found
