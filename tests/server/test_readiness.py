"""Startup, readiness and bounds, as the kubelet and the operator see them."""

import threading
import time

from serving import Setup, Start, model


def test_a_slow_model_is_unready_until_it_answers_and_then_answers_at_once(image: str, start: Start) -> None:
    server = start(Setup(image, models=[model(loadSeconds=5)]))
    loading = server.wait(lambda status: status["models"][0]["workers"] and status["server"]["pid"])
    assert not loading["ready"]
    assert not loading["started"]
    assert server.agent("/livez").status == 200
    refused = server.agent("/readyz")
    assert (refused.status, refused.body) == (503, b"ready workers: net 0 of 1\n")
    assert server.agent("/startupz").status == 503

    status = server.wait_ready()

    asked = time.monotonic()
    assert server.predict({"echo": 1}).json()["echo"] == 1
    assert time.monotonic() - asked < 2
    assert server.agent("/startupz").status == server.agent("/readyz").status == 200
    assert status["state"] == "Running"
    assert status["server"]["graceful"] is True
    assert status["models"][0]["error"] is None
    assert status["warnings"] == []


def test_bounds_edited_and_a_worker_killed_never_make_the_pod_unready(runtime: str, start: Start) -> None:
    server = start(Setup(runtime, bounds={"net": (1, 1)}))
    first = server.wait_ready()
    unready: list[bytes] = []
    failed: list[object] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            answer = server.agent("/readyz")
            if answer.status != 200:
                unready.append(answer.body)

    def ask() -> None:
        while not done.is_set():
            answer = server.predict({"seconds": 0.05})
            if answer.status != 200:
                failed.append(answer)

    threads = [threading.Thread(target=target) for target in (watch, ask)]
    for thread in threads:
        thread.start()
    try:
        server.set_policy({"net": (3, 4)})
        grown = server.wait(lambda status: status["models"][0]["readyWorkers"] == 3, 60)
        assert grown["models"][0]["minWorkers"] == 3
        assert grown["policyHash"] != first["policyHash"]
        assert server.agent("/startupz").status == 200

        server.execute("python", "-c", f"import os; os.kill({grown['models'][0]['workers'][0]['pid']}, 9)")
        hurt = server.wait(lambda status: status["models"][0]["error"], 20)
        assert hurt["models"][0]["error"]["reason"] == "WorkerDied"
        server.wait(lambda status: status["models"][0]["readyWorkers"] == 3, 60)
        server.wait(lambda status: status["models"][0]["error"] is None, 60)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert unready == []
    assert len(failed) <= 1, failed  # the one that the killed worker had in work

    # Without load: TorchServe answers 500 to what a worker has in work when it is scaled away.
    server.set_policy({"net": (1, 2)})
    assert server.wait(lambda status: len(status["models"][0]["workers"]) == 2, 60)["ready"]


def test_a_broken_policy_changes_nothing_and_is_told(runtime: str, start: Start) -> None:
    server = start(Setup(runtime))
    server.wait_ready()
    (server.folder / "policy" / "policy.json").write_text(
        '{"schema": 1, "models": {"net": {"minWorkers": 3, "maxWorkers": 2}}}'
    )
    status = server.wait(lambda status: status["warnings"])
    assert status["warnings"] == [
        {
            "reason": "PolicyInvalid",
            "message": "policy.json is kept as it was: net: minWorkers 3 and maxWorkers 2 are no bounds",
        }
    ]
    assert status["ready"]
