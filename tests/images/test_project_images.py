"""The images as they are, run by Docker under the limits of a pod: read-only, without capabilities, on one CPU."""

import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from testbed import engine, images, project_images
from testbed.errors import TestbedError

STARTS_WITHIN = 60.0
"""Seconds; 3 are usual on an idle machine."""

RESTRICTED = (
    *("--cpus", "1", "--memory", "2g", "--read-only", "--tmpfs", "/tmp:exec"),
    *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "-e", "OMP_NUM_THREADS=1"),
)


@contextmanager
def running(tag: str, *options: str) -> Iterator[tuple[str, str]]:
    """The container's name and the URL of its inference API, once that answers."""
    project_images.named(tag).build()
    container = engine.docker("run", "-d", "-p", "127.0.0.1::8080", *options, tag)
    try:
        url = f"http://{engine.docker('port', container, '8080/tcp').splitlines()[0]}"
        _until_answered(f"{url}/ping", container)
        yield container, url
    finally:
        engine.docker("rm", "-f", container)


def _until_answered(url: str, container: str) -> None:
    deadline = time.monotonic() + STARTS_WITHIN
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except OSError:
            assert time.monotonic() < deadline, engine.docker("logs", container)[-3000:]
            time.sleep(0.1)
        else:
            return


def post(url: str, body: object) -> tuple[int, Any]:
    """Status and JSON of the answer."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data=json.dumps(body).encode(), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=STARTS_WITHIN) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.fixture(scope="module")
def digits() -> Iterator[str]:
    with running(project_images.DIGITS, *RESTRICTED) as (_, url):
        yield f"{url}/predictions/digits"


def test_the_digits_image_gets_the_held_out_digits_right(digits: str) -> None:
    client = project_images.REPOSITORY / "examples/digits/predict.py"

    done = subprocess.run([sys.executable, client, digits], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"^predicted \d  expected \d", done.stdout, re.MULTILINE)) == 10
    last = re.fullmatch(r"accuracy (\d+\.\d) % on 360 digits", done.stdout.splitlines()[-1])
    assert last, done.stdout
    assert float(last[1]) >= 95


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"pixels": [1, 2]}, "pixels: expected 64 numbers, got 2"),
        ({"pixels": [0] * 63 + [17]}, "pixels[63]: expected a number of 0..16, got 17"),
        ({"pixels": [0] * 63 + ["x"]}, 'pixels[63]: expected a number of 0..16, got "x"'),
        ({"image": []}, 'body: expected {"pixels": [64 numbers of 0..16]}'),
        ([1], 'body: expected {"pixels": [64 numbers of 0..16]}'),
    ],
)
def test_a_wrong_request_to_digits_gets_a_400_that_says_what_is_wrong(digits: str, body: object, error: str) -> None:
    assert post(digits, body) == (400, {"error": error})


def test_the_runtime_ends_on_sigterm_with_javas_exit_code() -> None:
    with running(project_images.DIGITS, *RESTRICTED) as (container, _):
        engine.docker("stop", "--time", "30", container)

        state = (engine.inspect("container", container) or {})["State"]

    assert state["ExitCode"] == 128 + 15


def test_the_runtime_serves_as_any_user_of_group_0() -> None:
    with running(project_images.SCENARIOS, *RESTRICTED, "--user", "12345:0") as (_, url):
        assert post(f"{url}/predictions/echo", {"hello": 1}) == (200, {"hello": 1})


def test_an_unknown_variant_of_the_runtime_is_refused_with_the_known_ones() -> None:
    arguments = {"BASE_IMAGE": images.debian_base("trixie"), "VARIANT": "tpu"}

    with pytest.raises(TestbedError, match="VARIANT=tpu: expected cpu or gpu"):
        images.build(project_images.REPOSITORY / "images/torchserve", "torchserve-operator/refused:test", arguments)


def test_the_legacy_image_serves_with_its_baked_settings_under_its_own_entry_point() -> None:
    with running(project_images.LEGACY) as (container, url):
        status, answer = post(f"{url}/predictions/digits", {"pixels": [0] * 64})
        code = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8081/models/digits').read().decode())"
        model = json.loads(engine.docker("exec", container, "python", "-c", code))[0]
        version = engine.docker("exec", container, "torchserve", "--version")

    assert (status, set(answer)) == (200, {"label", "probability"})
    assert (model["minWorkers"], model["batchSize"], model["maxBatchDelay"]) == (3, 7, 5000)
    assert "0.11.1" in version


def test_the_legacy_image_has_a_user_by_name_and_a_home_closed_to_others() -> None:
    project_images.named(project_images.LEGACY).build()
    found = engine.inspect("image", project_images.LEGACY) or {}

    mode = engine.docker(
        "run", "--rm", "--entrypoint", "stat", project_images.LEGACY, "-c", "%a %U", "/home/model-server"
    )

    assert found["Config"]["User"] == "model-server"
    assert mode == "750 model-server"
