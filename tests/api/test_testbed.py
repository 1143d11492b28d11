"""The API tests' own ground: the server is real, and the proxy before it breaks exactly what it is told to."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed import gotools
from testbed.apiserver import ApiServer
from testbed.faultproxy import CutWatch, ExpireWatch, FaultProxy, Hang, LoseAnswer, Refuse

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
def proxy(apiserver: ApiServer) -> Iterator[FaultProxy]:
    with FaultProxy(apiserver) as running:
        yield running


def _call(proxy: FaultProxy, method: str, path: str, body: object = None) -> tuple[int, dict[str, str], bytes]:
    data = json.dumps(body).encode() if body is not None else None
    headers = {"Authorization": f"Bearer {ApiServer.token}", "Content-Type": "application/json"}
    request = urllib.request.Request(proxy.url + path, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def _configmap(name: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


def test_a_child_of_a_deleted_owner_is_collected(controlled_apiserver: ApiServer) -> None:
    api = controlled_apiserver
    api.kubectl("create", "configmap", "owner")
    uid = api.kubectl("get", "configmap", "owner", "-o", "jsonpath={.metadata.uid}")
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}
    child = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "child", "ownerReferences": [owner]}}
    api.kubectl("create", "-f", "-", stdin=json.dumps(child))
    api.kubectl("delete", "configmap", "owner")
    api.kubectl("wait", "--for=delete", "configmap/child", "--timeout=30s")


def test_the_server_keeps_what_it_has_over_an_outage() -> None:
    with ApiServer() as api:
        api.kubectl("create", "configmap", "kept")
        api.outage()
        api.recover()
        assert "kept" in api.kubectl("get", "configmaps", "-o", "name")


def test_servers_die_with_a_test_run_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time\nfrom testbed.apiserver import ApiServer\n"
        "with ApiServer() as api:\n    print(api.url, flush=True)\n    time.sleep(600)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "TMPDIR": str(tmp_path)}
    run = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment)
    assert run.stdout is not None
    url = run.stdout.readline().strip()
    port = int(url.rpartition(":")[2])
    assert _listens(port)
    run.kill()
    run.wait()
    deadline = time.monotonic() + 5
    while _listens(port):
        assert time.monotonic() < deadline, "the API server outlived the run that started it"


def test_what_no_fault_matches_goes_through(proxy: FaultProxy) -> None:
    with proxy.fault(Refuse(500), method="DELETE"):
        status, _, body = _call(proxy, "GET", "/api/v1/namespaces/default")
    assert (status, json.loads(body)["metadata"]["name"]) == (200, "default")


@pytest.mark.parametrize("refused", [409, 429, 500, 503])
def test_a_refusal_has_its_status_and_never_reaches_the_server(proxy: FaultProxy, refused: int) -> None:
    name = f"refused-{refused}"
    with proxy.fault(Refuse(refused, retry_after=7), method="POST", path="configmaps", times=1) as fault:
        status, headers, body = _call(proxy, "POST", CONFIGMAPS, _configmap(name))
    assert (status, headers["Retry-After"], json.loads(body)["kind"]) == (refused, "7", "Status")
    assert fault.hits == 1
    assert _call(proxy, "GET", f"{CONFIGMAPS}/{name}")[0] == 404


def test_a_lost_answer_is_of_something_that_happened(proxy: FaultProxy) -> None:
    with proxy.fault(LoseAnswer(), method="POST"), pytest.raises(OSError, match=r"closed|reset|Remote end"):
        _call(proxy, "POST", CONFIGMAPS, _configmap("lost-answer"))
    assert _call(proxy, "GET", f"{CONFIGMAPS}/lost-answer")[0] == 200


def test_a_hanging_request_goes_on_when_the_fault_is_lifted(proxy: FaultProxy) -> None:
    with proxy.fault(Hang(), path="/version"), pytest.raises(TimeoutError):
        urllib.request.urlopen(f"{proxy.url}/version", timeout=0.5)
    assert _call(proxy, "GET", "/version")[0] == 200


def test_an_expired_watch_says_410_and_ends(proxy: FaultProxy) -> None:
    with proxy.fault(ExpireWatch()):
        _, _, body = _call(proxy, "GET", f"{CONFIGMAPS}?watch=true&resourceVersion=1")
    event = json.loads(body)
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)


def test_a_watch_can_be_cut_after_some_events_or_at_any_time(proxy: FaultProxy) -> None:
    for name in ("cut-1", "cut-2"):
        _call(proxy, "POST", CONFIGMAPS, _configmap(name))
    with proxy.fault(CutWatch(after_events=1)):
        _, _, body = _call(proxy, "GET", f"{CONFIGMAPS}?watch=true")
    assert len(body.splitlines()) == 1
    headers = {"Authorization": f"Bearer {ApiServer.token}"}
    request = urllib.request.Request(f"{proxy.url}{CONFIGMAPS}?watch=true", headers=headers)
    with urllib.request.urlopen(request, timeout=10) as stream:
        stream.readline()
        assert proxy.cut_watches() == 1
        stream.read()  # ends, and does not time out


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_program_that_is_asked_for_twice_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHSERVE_OPERATOR_CACHE", str(tmp_path))
    found = gotools.tools(["pause", "pause"])
    assert list(found) == ["pause"]
    assert os.access(found["pause"], os.X_OK)
