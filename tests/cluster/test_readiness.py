"""Ready means answers: nothing is sent to a pod before its model answers, and then at once."""

import time

import pytest
from apiproxy import ApiProxyError
from kube import Namespace, eventually


def test_a_slow_model_gets_no_request_before_it_answers_and_the_first_one_after_succeeds(namespace: Namespace) -> None:
    namespace.apply(namespace.cr("slow"))
    loading = namespace.wait_for("slow", "Ready", "False", "ModelsLoading", says="loading slow")
    assert loading["message"] == "loading slow"
    began = time.monotonic()
    before: list[str] = []

    def ready() -> bool:
        status = namespace.tsm("slow")["status"]
        if any(c["type"] == "Ready" and c["status"] == "True" for c in status["conditions"]):
            return True
        if namespace.pod("slow")["status"]["containerStatuses"][0]["ready"] is False:
            before.extend(namespace.endpoints("slow"))
        return False

    with pytest.raises(ApiProxyError, match="503"):
        namespace.predict("slow", {})
    eventually(ready, 60, "slow is Ready")
    assert namespace.predict("slow", {}) == {"loadSeconds": 20.0}
    assert before == []
    assert time.monotonic() - began > 10, "it was Ready before the model can have loaded"
    assert len(namespace.endpoints("slow")) == 1
    status = namespace.tsm("slow")["status"]
    assert (status["workers"], status["readyReplicas"], status["url"]) == (
        "1/1",
        1,
        f"http://slow.{namespace.name}.svc",
    )
