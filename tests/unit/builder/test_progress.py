import json
import threading
import urllib.error
import urllib.request

import pytest

from torchserve_operator.builder.progress import Progress, served


class _Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_bytes_and_stages_are_counted() -> None:
    clock = _Clock()
    progress = Progress(clock)
    clock.now += 1
    progress.enter("layers", "digits")
    progress.expect(1000)
    progress.sent(300)
    progress.sent(-100)
    clock.now += 2.5
    assert progress.snapshot() == {
        "schema": 1,
        "stage": "layers",
        "model": "digits",
        "bytesDone": 200,
        "bytesTotal": 1000,
        "seconds": 3.5,
    }
    progress.enter("push")
    clock.now += 0.5
    progress.enter("layers")
    clock.now += 1
    progress.enter("done")
    clock.now += 50
    assert {**progress.seconds(), "total": 0} == {"resolve": 1.0, "layers": 3.5, "push": 0.5, "total": 0}


def test_no_byte_is_lost_between_threads() -> None:
    progress = Progress()
    threads = [threading.Thread(target=lambda: [progress.sent(1) for _ in range(5000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert progress.bytes_sent == 20000


def test_the_status_is_served_while_the_build_goes_on() -> None:
    progress = Progress()
    with served(progress, 0, "127.0.0.1") as port:
        url = f"http://127.0.0.1:{port}"
        progress.expect(10)
        with urllib.request.urlopen(f"{url}/status", timeout=10) as answer:
            assert json.load(answer)["bytesTotal"] == 10
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{url}/", timeout=10)
        with pytest.raises(urllib.error.HTTPError, match="501"):
            urllib.request.urlopen(urllib.request.Request(f"{url}/status", b"x"), timeout=10)
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{url}/status", timeout=10)
