"""The process as people run it: its settings, its log, its endpoints, its end, and the rights that it needs."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from world import World, container_of

from process import Process
from testbed.apiserver import ApiServer
from testbed.audit import Mark
from testbed.faultproxy import FaultProxy, Hang
from torchserve_operator.api.names import LABEL_MODEL
from torchserve_operator.app.process_reference import families
from torchserve_operator.kube.kinds import CONFIG_MAP, DEPLOYMENT, JOB, POD_DISRUPTION_BUDGET, SERVICE
from torchserve_operator.reconcile.projections import RESOURCE

OPERATORS_OWN = "torchserve-operator"
"""The namespace, ServiceAccount, ClusterRole and binding of the manifests."""


async def test_it_starts_serves_and_stops(world: World, tmp_path: Path) -> None:
    async with Process(tmp_path, world.api.kubeconfig, namespaces=world.namespace) as process:
        await process.logged("in step with the cluster")
        assert await process.get("/healthz") == (200, "ok\n")
        assert await process.get("/readyz") == (200, "ok\n")
        assert (await process.get("/nothing"))[0] == 404
        await world.create()
        await world.condition("Ready", "False", reason="Progressing")
        code, seconds = await process.stop()
        assert code == 0
        assert seconds < 5
        assert [line["message"] for line in process.lines()][-1] == "stopped"


async def test_every_metric_that_it_shows_is_documented(world: World, tmp_path: Path) -> None:
    async with Process(tmp_path, world.api.kubeconfig, namespaces=world.namespace) as process:
        await process.logged("in step with the cluster")
        await world.create()
        await world.condition("Ready", "False", reason="Progressing")
        _, text = await process.get("/metrics")
        shown = {line.split()[2].removesuffix("_created") for line in text.splitlines() if line.startswith("# TYPE")}
        counters = {family.name for family in families() if family.type == "counter"}
        documented = {f"{f.name}_total" if f.name in counters else f.name for f in families()}
        assert {f"{name}_total" if name in counters else name for name in shown} == documented
        assert "torchserve_operator_resources 1.0" in text
        assert 'torchserve_operator_writes_total{kind="Deployment",verb="apply"} 1.0' in text


async def test_it_is_not_ready_before_it_is_in_step(world: World, tmp_path: Path) -> None:
    await world.create()
    with FaultProxy(world.api) as proxy:
        with proxy.fault(Hang(), path="/torchservemodels$"):
            async with Process(tmp_path, proxy.kubeconfig, namespaces=world.namespace) as process:
                await process.logged("started")
                assert await process.get("/readyz") == (503, "the cluster is not being watched\n")
                assert await process.get("/healthz") == (200, "ok\n")
                code, seconds = await process.stop()
        assert (code, seconds < 5) == (0, True)


async def test_each_line_of_the_log_is_json_with_the_same_keys(world: World, tmp_path: Path) -> None:
    async with Process(tmp_path, world.api.kubeconfig, namespaces=world.namespace) as process:
        await process.logged("in step with the cluster")
        await world.create()
        written = await process.logged("status written")
        assert written["resource"] == f"{world.namespace}/digits"
        await process.stop()
        for line in process.lines():
            assert list(line)[:4] == ["time", "level", "logger", "message"]
            assert datetime.fromisoformat(line["time"]).tzinfo is not None
            assert line["level"] in {"DEBUG", "INFO", "WARNING", "ERROR"}


async def test_text_is_for_people(world: World, tmp_path: Path) -> None:
    async with Process(tmp_path, world.api.kubeconfig, namespaces=world.namespace, log_format="text") as process:
        await world.eventually(lambda: _has(process, "in step with the cluster resources=0 agent="))
        code, _ = await process.stop()
        assert code == 0
        assert " INFO    torchserve_operator.app.main: stopped\n" in process.text()


async def test_a_wrong_setting_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    async with Process(tmp_path, None, log_level="LOUD") as process:
        assert await process.ended() == 2
        expected = "is 'LOUD'; expected one of DEBUG, INFO, WARNING, ERROR"
        assert process.text() == f"Error: TORCHSERVE_OPERATOR_LOG_LEVEL {expected}\n"


@pytest.mark.parametrize("kubeconfig", [None, "missing", "broken"])
async def test_without_a_cluster_it_says_so_and_ends(tmp_path: Path, kubeconfig: str | None) -> None:
    (tmp_path / "broken").write_text("{")
    path = tmp_path / kubeconfig if kubeconfig else None
    async with Process(tmp_path, path) as process:
        assert await process.ended() == 1
        last = process.lines()[-1]
        assert last["message"].startswith("no cluster to work in")
        assert last["kubeconfig"] == (str(path) if path else "~/.kube/config")
        assert "Traceback" not in process.text()


async def test_a_port_that_is_taken_is_named(world: World, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with Process(tmp_path, world.api.kubeconfig, http_port=port) as process:
            assert await process.ended() == 1
            last = process.lines()[-1]
            assert last["message"].startswith("cannot listen for /healthz")
            assert last["port"] == port
            assert "Traceback" not in process.text()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
async def test_it_stops_within_seconds_in_the_midst_of_work(
    world: World, tmp_path: Path, signum: signal.Signals
) -> None:
    async with Process(tmp_path, world.api.kubeconfig, namespaces=world.namespace) as process:
        await process.logged("in step with the cluster")
        await asyncio.gather(*(world.create(f"m{number}") for number in range(30)))
        await process.logged("status written")
        code, seconds = await process.stop(signum)
        assert (code, seconds < 5) == (0, True)
        assert "Traceback" not in process.text()


async def test_it_stops_within_seconds_while_the_api_server_hangs(world: World, tmp_path: Path) -> None:
    with FaultProxy(world.api) as proxy:
        async with Process(tmp_path, proxy.kubeconfig, namespaces=world.namespace) as process:
            await process.logged("in step with the cluster")
            with proxy.fault(Hang()) as fault:
                await world.create()
                await asyncio.to_thread(fault.wait)
                proxy.cut_watches()
                code, seconds = await process.stop()
            assert (code, seconds < 5) == (0, True)
            assert "Traceback" not in process.text()


@pytest.fixture
async def allowed(api: ApiServer) -> AsyncIterator[None]:
    """Apply the manifests' own namespace, ServiceAccount, role and binding."""
    objects = [each for each in yaml.safe_load_all(api.kubectl("kustomize", "manifests")) if _is_right(each)]
    text = yaml.safe_dump_all(objects)
    await asyncio.to_thread(api.kubectl, "apply", "--server-side", "-f", "-", stdin=text)
    yield
    await asyncio.to_thread(api.kubectl, "delete", "clusterrolebinding", OPERATORS_OWN)


def _is_right(each: dict[str, Any]) -> bool:
    return each["kind"] in {"Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding"}


def _as_service_account(api: ApiServer, namespace: str, name: str, folder: Path) -> Path:
    """Return a kubeconfig with a ServiceAccount's token and nothing else."""
    config = yaml.safe_load(api.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": api.kubectl("create", "token", name, "-n", namespace).strip()}
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


def _requests(world: World, mark: Mark, user: str) -> list[tuple[int, str, str]]:
    """Return status, verb and URI of what a user asked for."""
    return [
        (event.get("responseStatus", {}).get("code", 0), event["verb"], event["requestURI"])
        for event in world.api.audit.events(mark)
        if event["user"]["username"] == user
    ]


async def _a_life(world: World) -> None:
    """Let an image be built and cancelled; let a resource be made, served, changed, damaged and paused."""
    source = {"configMapName": "requirements"}
    metadata = {"namespace": world.namespace, "name": "requirements"}
    await world.client.create(CONFIG_MAP, {"metadata": metadata, "data": {"requirements.txt": "pillow"}})
    await world.create("built", build={"repository": "registry.example/built", "requirementsFrom": source})
    (first,) = await world.eventually(lambda: world.all_of(JOB))
    await world.patch(RESOURCE, "built", {"spec": {"build": {"revision": "2"}}})

    async def another() -> bool:
        return [job["metadata"]["uid"] for job in await world.all_of(JOB)] not in ([], [first["metadata"]["uid"]])

    await world.eventually(another)
    await world.client.request("DELETE", RESOURCE.path(world.namespace, "built"))
    await world.create(replicas=2)
    await world.condition("Ready", "False", reason="Progressing")
    await world.eventually(lambda: world.get(POD_DISRUPTION_BUDGET))
    await world.patch(RESOURCE, "digits", {"spec": {"replicas": 1, "logging": {"level": "WARN"}}})

    async def of_digits() -> list[Any]:
        maps = await world.all_of(CONFIG_MAP)
        return [each for each in maps if (each["metadata"].get("labels") or {}).get(LABEL_MODEL) == "digits"]

    async def slimmed() -> bool:
        return await world.get(POD_DISRUPTION_BUDGET) is None and len(await of_digits()) == 3

    await world.eventually(slimmed)
    await world.client.request("DELETE", SERVICE.path(world.namespace, "digits"))
    await world.eventually(lambda: world.get(SERVICE))
    foreign = {"spec": {"template": {"spec": {"containers": [{"name": "evil", "image": "x"}]}}}}
    await world.client.request(
        "PATCH",
        DEPLOYMENT.path(world.namespace, "digits"),
        body=foreign,
        content_type="application/strategic-merge-patch+json",
    )

    async def clean() -> bool:
        deployment = await world.get(DEPLOYMENT)
        assert deployment is not None
        return bool(container_of(deployment)["name"] == "torchserve")

    await world.eventually(clean)
    await world.patch(RESOURCE, "digits", {"spec": {"paused": True}})
    await world.condition("Ready", "False", reason="Paused")


@pytest.mark.usefixtures("allowed")
async def test_the_manifests_role_is_enough_for_all_that_it_does(world: World, tmp_path: Path) -> None:
    kubeconfig = _as_service_account(world.api, OPERATORS_OWN, OPERATORS_OWN, tmp_path)
    user = f"system:serviceaccount:{OPERATORS_OWN}:{OPERATORS_OWN}"
    mark = world.api.audit.mark()
    async with Process(tmp_path, kubeconfig, builder_image="operator") as process:
        await process.logged("in step with the cluster")
        await _a_life(world)
        await process.stop()
    requests = _requests(world, mark, user)
    assert {verb for _, verb, _ in requests} >= {"list", "watch", "get", "create", "patch", "delete"}
    assert [request for request in requests if request[0] in {401, 403}] == []


async def test_in_some_namespaces_only_a_role_in_each_is_enough(world: World, tmp_path: Path) -> None:
    everything = list(yaml.safe_load_all(world.api.kubectl("kustomize", "manifests")))
    role = next(each for each in everything if each["kind"] == "ClusterRole")
    other = f"{world.namespace}-other"
    named = {"metadata": {"name": "operator", "namespace": world.namespace}}
    subject = {"kind": "ServiceAccount", "name": "operator", "namespace": world.namespace}
    objects = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other}},
        {"apiVersion": "v1", "kind": "ServiceAccount", **named},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", **named, "rules": role["rules"]},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            **named,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "operator"},
            "subjects": [subject],
        },
    ]
    await asyncio.to_thread(world.api.kubectl, "apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(objects))
    kubeconfig = _as_service_account(world.api, world.namespace, "operator", tmp_path)
    await World(world.api, world.configuration, world.client, other).create("elsewhere")
    mark = world.api.audit.mark()
    async with Process(tmp_path, kubeconfig, namespaces=world.namespace, builder_image="operator") as process:
        await process.logged("in step with the cluster")
        await _a_life(world)
        await process.stop()
    requests = _requests(world, mark, f"system:serviceaccount:{world.namespace}:operator")
    assert [request for request in requests if request[0] in {401, 403}] == []
    discovery = {"/api", "/apis", "/version"}
    outside = [
        uri
        for _, _, uri in requests
        if f"/namespaces/{world.namespace}/" not in uri and uri.count("/") > 3 and uri not in discovery
    ]
    assert outside == []


async def _has(process: Process, words: str) -> bool:
    return words in process.text()
