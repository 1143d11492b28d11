"""The handler for models that are functions, in the workers of a real TorchServe with a real torch."""

from __future__ import annotations

import contextlib
import io
import json
import struct
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest
from serving import Served, Setup, Start, docker, model, write_model

from torchserve_operator.builder.handlers import FUNCTION_HANDLER, FUNCTION_SETTINGS, function_handler

NET = """
import io
import torch

class Net(torch.nn.Module):
    def __init__(self, size, bias=0.0):
        super().__init__()
        self.line = torch.nn.Linear(size, 1, bias=False)
        self.bias = bias
    def forward(self, x):
        if (x == 666).any():
            raise RuntimeError("a sample that breaks the whole batch")
        assert not self.training and torch.is_inference_mode_enabled()
        batch = torch.full((x.shape[0], 1), float(x.shape[0]))
        return {"value": self.line(x) + self.bias, "batch": batch}

def make(size, bias=0.0, *, device):
    assert device.type == "cpu"
    net = Net(size, bias)
    torch.nn.init.ones_(net.line.weight)
    return net

def numbers(data):
    return torch.tensor(data["numbers"], dtype=torch.float32)

def array(data):
    import numpy
    return numpy.load(io.BytesIO(data))

def answer(output):
    return {"value": output["value"][0], "batch": int(output["batch"][0])}
"""

MAKE_CHECKPOINTS = """
import sys
import torch
sys.path.insert(0, "/store/net")
from net import Net
net = Net(2)
torch.nn.init.constant_(net.line.weight, 10.0)
torch.save({"state_dict": {"module." + key: value for key, value in net.state_dict().items()}}, "/store/net/net.pth")
class Scripted(torch.nn.Module):
    def forward(self, x):
        return x.sum(dim=1)
torch.jit.trace(Scripted(), torch.ones(1, 2)).save("/store/net/scripted.pt")
"""

BATCHES = {"batchSize": 4, "maxBatchDelay": 3000}
"""A batch of four goes as soon as it is full; the delay is for machines that are slow to send four."""

Store = Callable[..., Path]


@pytest.fixture
def store() -> Iterator[Store]:
    """Makes a model store with the model `net`, as a build lays it out."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)

        def make(**settings: Any) -> Path:
            write_model(folder / "net", handler=function_handler().decode())
            (folder / "net" / "handler.py").rename(folder / "net" / FUNCTION_HANDLER)
            manifest = folder / "net" / "MAR-INF" / "MANIFEST.json"
            manifest.write_text(manifest.read_text().replace("handler.py", FUNCTION_HANDLER))
            (folder / "net" / "net.py").write_text(NET)
            defaults = {"file": "net.py", "init": "make", "kwargs": {"size": 2}}
            defaults |= {"preprocess": "numbers", "postprocess": "answer"}
            (folder / "net" / FUNCTION_SETTINGS).write_text(json.dumps({**defaults, **settings}))
            return folder

        yield make


def add_checkpoints(store: Path, image: str) -> None:
    """Write the checkpoints with the torch of the image."""
    line = ("--rm", "--user", "0", "--network", "none", "--volume", f"{store}:/store", "--entrypoint", "python")
    docker("run", *line, image, "-B", "-c", MAKE_CHECKPOINTS)


def serve(start: Start, image: str, store: Path, **parameters: Any) -> Served:
    server = start(Setup(image, store=store, models=[model("net", **parameters)]))
    server.wait_ready()
    return server


def post_together(server: Served, bodies: list[Any]) -> list[tuple[int, Any]]:
    """Status and answer of requests that are sent at once."""
    with ThreadPoolExecutor(len(bodies)) as pool:
        answers = list(pool.map(server.predict, bodies))
    return [(answer.status, answer.json()) for answer in answers]


def test_samples_of_one_shape_go_through_the_model_together(runtime: str, start: Start, store: Store) -> None:
    server = serve(start, runtime, store(), settings=BATCHES)
    answers = post_together(server, [{"numbers": [n, 1]} for n in range(4)])
    assert answers == [(200, {"value": n + 1.0, "batch": 4}) for n in range(4)]


def test_a_bad_sample_in_a_batch_fails_alone(image: str, start: Start, store: Store) -> None:
    server = serve(start, image, store(), settings=BATCHES)
    answers = post_together(server, [{"numbers": [1, 2]}, {"numbers": "?"}, {"nothing": 0}, {"numbers": [3, 4]}])
    assert answers[0] == (200, {"value": 3.0, "batch": 2})
    assert answers[3] == (200, {"value": 7.0, "batch": 2})
    assert answers[1][0] == 400
    assert answers[2] == (400, {"code": 400, "type": "KeyError", "message": "there is no 'numbers'"})


def test_a_sample_that_breaks_the_model_fails_alone(runtime: str, start: Start, store: Store) -> None:
    server = serve(start, runtime, store(), settings=BATCHES)
    answers = post_together(server, [{"numbers": [n, 0]} for n in (1, 2, 666, 3)])
    assert [status for status, _ in answers] == [200, 200, 500, 200]
    assert answers[2][1] == {"code": 500, "type": "RuntimeError", "message": "the model failed; its log says why"}


def test_samples_that_do_not_stack_are_answered_one_by_one(runtime: str, start: Start, store: Store) -> None:
    net = NET.replace("self.line(x) + self.bias", "x.sum(dim=1, keepdim=True)")
    folder = store()
    (folder / "net" / "net.py").write_text(net)
    server = serve(start, runtime, folder, settings=BATCHES)
    answers = post_together(server, [{"numbers": [1.0] * n} for n in (1, 2, 3, 4)])
    assert answers == [(200, {"value": float(n), "batch": 1}) for n in (1, 2, 3, 4)]


def test_parameters_change_keywords_without_a_build(runtime: str, start: Start, store: Store) -> None:
    server = serve(start, runtime, store(), function={"kwargs": {"bias": 100}})
    assert server.predict({"numbers": [1, 2]}).json() == {"value": 103.0, "batch": 1}


def test_a_state_dict_is_loaded_into_the_model(image: str, start: Start, store: Store) -> None:
    folder = store(checkpoint="net.pth")
    add_checkpoints(folder, image)
    assert serve(start, image, folder).predict({"numbers": [1, 2]}).json() == {"value": 30.0, "batch": 1}


def test_torchscript_is_the_model_itself(image: str, start: Start, store: Store) -> None:
    folder = store(init=None, postprocess=None, checkpoint="scripted.pt")
    add_checkpoints(folder, image)
    server = serve(start, image, folder, settings=BATCHES)
    answers = post_together(server, [{"numbers": [n, 1]} for n in range(4)])
    assert answers == [(200, n + 1.0) for n in range(4)]


def test_arrays_in_the_body_are_stacked(runtime: str, start: Start, store: Store) -> None:
    server = serve(start, runtime, store(preprocess="array"))
    response, body = post_bytes(server, npy([1.5, 2.5]))
    assert (response.status, json.loads(body)) == (200, {"value": 4.0, "batch": 1})
    assert response.getheader("Content-Type") == "application/json"

    response, body = post_bytes(server, b"no array")
    assert response.status == 400


def test_a_keyword_that_init_does_not_have_is_told_with_the_nearest(runtime: str, start: Start, store: Store) -> None:
    server = start(Setup(runtime, store=store(kwargs={"size": 2, "bais": 1}), models=[model("net")]))
    error = server.wait(lambda status: status["models"][0]["error"])["models"][0]["error"]
    assert error["reason"] == "LoadFailed"
    assert error["message"].endswith("kwargs: make has no keyword bais (did you mean bias?); expected size, bias")


def test_a_checkpoint_of_another_model_is_told(runtime: str, start: Start, store: Store) -> None:
    folder = store(kwargs={"size": 3}, checkpoint="net.pth")
    add_checkpoints(folder, runtime)
    server = start(Setup(runtime, store=folder, models=[model("net")]))
    error = server.wait(lambda status: status["models"][0]["error"])["models"][0]["error"]
    assert "checkpoint: net.pth does not fit the model that init returned: " in error["message"]
    assert "size mismatch for line.weight" in error["message"]


def npy(values: list[float]) -> bytes:
    """A float32 array as numpy.save writes it (the format's version 1.0)."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({len(values)},), }}".ljust(117) + "\n"
    out = io.BytesIO()
    out.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
    out.write(struct.pack(f"<{len(values)}f", *values))
    return out.getvalue()


def post_bytes(server: Served, body: bytes) -> tuple[HTTPResponse, bytes]:
    """One prediction of bytes; the response and its body."""
    with contextlib.closing(server.connection()) as connection:
        connection.request("POST", "/predictions/net", body, {"Content-Type": "application/octet-stream"})
        response = connection.getresponse()
        return response, response.read()
