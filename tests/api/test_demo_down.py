"""`make clean-demo` in a cluster that was given: its own objects go, the cluster stays."""

import json
import os
import subprocess
import sys

from testbed import definition, demo_objects, operator
from testbed.apiserver import ApiServer
from testbed.project_images import REPOSITORY


def test_down_removes_the_demo_the_operator_and_its_crd_and_nothing_else() -> None:
    # no shared server: what other tests work with would go
    with ApiServer(controller_manager=True) as server:
        before = server.kubectl("get", "namespaces,clusterroles,crds", "-o", "name")
        server.kubectl("apply", "--server-side", "-k", str(operator.MANIFESTS))
        definition.wait_established(server)
        resource = demo_objects.resource("registry.example/digits@sha256:" + "0" * 64)
        for thing in (demo_objects.namespace(), resource):
            server.kubectl("apply", "-f", "-", stdin=json.dumps(thing))
        context = server.kubectl("config", "current-context").strip()
        kubeconfig = {"TESTBED_KUBECONFIG": str(server.kubeconfig), "TESTBED_CONTEXT": context}

        done = subprocess.run(
            [sys.executable, "-m", "testbed.demo", "down"],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": "tests", **kubeconfig},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

        assert done.returncode == 0, done.stderr
        assert server.kubectl("get", "namespaces,clusterroles,crds", "-o", "name") == before
