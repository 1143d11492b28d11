"""The handler for models that are functions, with plain Python models: settings, batches, errors, answers.

What needs torch is tested in a worker of a real TorchServe: tests/server/test_function_handler.py.
"""

import ast
import dataclasses
import importlib.util
import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from torchserve_operator.builder import handlers

FILE = """
class Rejected(Exception):
    status = 422

def make(factor=2, *, context=None, model_dir=None, name="net"):
    return Net(factor, context, model_dir, name)

class Net:
    def __init__(self, factor, context, model_dir, name):
        self.factor, self.context, self.model_dir, self.name = factor, context, model_dir, name
        self.calls = []
    def __call__(self, sample):
        self.calls.append(sample)
        if sample == 13:
            raise ValueError("an unlucky number that stays in the log")
        if sample == 14:
            raise Rejected("fourteen is not for this model")
        return sample * self.factor

def number(data):
    if data["n"] < 0:
        raise ValueError("n: expected 0 or more, got %s" % data["n"])
    return data["n"]

def with_model(data, model, model_dir):
    return model.factor + data

def many(model, samples):
    model.calls.append(list(samples))
    if 13 in samples:
        raise RuntimeError("unlucky")
    return [sample * model.factor for sample in samples]

def too_few(model, samples):
    return samples[1:]

def answer(output):
    if output == 8:
        raise RuntimeError("eight")
    return {"answer": output}

no_function = 1
"""


class Context:
    """As much of TorchServe's context as its documentation gives to handlers."""

    def __init__(self, folder: Path, config: dict[str, Any] | None = None) -> None:
        self.system_properties = {"model_dir": str(folder), "gpu_id": None}
        self.model_yaml_config = config or {}
        self.headers: dict[int, dict[str, Any]] = {}
        self.statuses: dict[int, tuple[int, str]] = {}
        self.types: dict[int, str] = {}

    def get_all_request_header(self, idx: int) -> dict[str, Any]:
        return self.headers.get(idx, {})

    def get_request_id(self, idx: int = 0) -> str:
        return f"request-{idx}"

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        self.statuses[idx] = (code, phrase)

    def set_response_content_type(self, idx: int, value: str) -> None:
        self.types[idx] = value


class Served:
    """A handler as a worker has it, after its start."""

    def __init__(self, handler: ModuleType, context: Context) -> None:
        self.handler = handler
        self.context = context
        assert handler.handle(None, context) is None

    @property
    def net(self) -> Any:
        return self.handler._loaded.model  # noqa: SLF001 - the worker's one model

    def answers(self, *bodies: Any, content_type: str = "") -> list[Any]:
        """Answers of one batch, parsed where they are JSON."""
        self.context.headers = {index: {"body": {"content-type": content_type}} for index in range(len(bodies))}
        self.context.statuses, self.context.types = {}, {}
        found = self.handler.handle([{"body": body} for body in bodies], self.context)
        parsed = self.context.types
        return [json.loads(each) if parsed.get(i) == "application/json" else each for i, each in enumerate(found)]


Serve = Callable[..., Served]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    path = list(sys.path)

    def start(config: dict[str, Any] | None = None, **settings: Any) -> Served:
        (tmp_path / "net_of_test.py").write_text(FILE)
        settings = {"file": "net_of_test.py", "init": "make", **settings}
        (tmp_path / "function.json").write_text(json.dumps(settings))
        return Served(fresh_handler(tmp_path), Context(tmp_path, config))

    yield start
    sys.path[:] = path
    sys.modules.pop("net_of_test", None)


def fresh_handler(folder: Path) -> ModuleType:
    """The handler's module as a worker imports it: of its own."""
    file = folder / handlers.FUNCTION_HANDLER
    file.write_bytes(handlers.function_handler())
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_needs_python_3_8_its_standard_library_and_torch_only() -> None:
    tree = ast.parse(handlers.function_handler(), feature_version=(3, 8))
    modules = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    modules += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert {name.split(".")[0] for name in modules} <= set(sys.stdlib_module_names)


# ---- loading


def test_init_gets_its_keywords_and_what_it_asks_for(serve: Serve, tmp_path: Path) -> None:
    served = serve(kwargs={"factor": 5})
    assert served.net.factor == 5
    assert served.net.context is served.context
    assert served.net.model_dir == str(tmp_path)


def test_parameters_of_the_resource_replace_keywords_one_by_one(serve: Serve) -> None:
    served = serve({"function": {"kwargs": {"factor": 7}}, "minWorkers": 1}, kwargs={"factor": 5, "name": "a"})
    assert (served.net.factor, served.net.name) == (7, "a")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"kwargs": {"facter": 1}},
            r"^kwargs: make has no keyword facter \(did you mean factor\?\); expected factor, name$",
        ),
        ({"init": "mak"}, r"^init: net_of_test\.py has no mak \(did you mean make\?\); it has .*make"),
        ({"init": "no_function"}, r"^init: no_function is no function$"),
        ({"preprocess": "Net.decode"}, r"^preprocess: net_of_test\.py has no Net\.decode"),
        ({"init": "Net", "kwargs": {"factor": 1}}, r"^kwargs: Net needs the keyword name$"),
        ({"file": "nets.py"}, r"^file: there is no nets\.py in the model's folder$"),
        ({"init": None, "file": None}, r"^init: expected a function that returns the model"),
        ({"init": "number", "kwargs": {"data": {"n": 1}}}, r"^init returned int: expected what can be called"),
        ({"checkpoint": "gone.pt"}, r"^checkpoint: there is no gone\.pt in the model's folder$"),
        ({"preproces": "number"}, r"^function\.json: there is no key preproces \(did you mean preprocess\?\)"),
        (
            {"maxGPUMemory": "a lot"},
            r'^maxGPUMemory: expected a quantity such as 4Gi or a part such as 0\.5, got "a lot"$',
        ),
    ],
)
def test_what_cannot_be_loaded_is_told_with_what_was_expected(
    serve: Serve, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(Exception, match=message):
        serve(**settings)


def test_an_override_that_needs_a_build_is_refused(serve: Serve) -> None:
    with pytest.raises(Exception, match=r"there is no key init; expected kwargs, maxGPUMemory$"):
        serve({"function": {"init": "other"}})


def test_weights_for_what_is_no_module_are_refused_with_what_to_do(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "net.pt").write_bytes(b"")
    with pytest.raises(Exception, match=r"net\.pt has weights, and init returned Net: .*parameter `checkpoint`"):
        serve(checkpoint="net.pt")


def test_files_beside_the_users_can_be_imported(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "helper_of_test.py").write_text("FACTOR = 3")
    (tmp_path / "src" / "entry_of_test.py").write_text(
        "from helper_of_test import FACTOR\ndef make(): return lambda n: n * FACTOR"
    )
    assert serve(file="src/entry_of_test.py").answers(2) == [6]


@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        ("4Gi", 0.25),
        ("8589934592", 0.5),
        (4 << 30, 0.25),
        ("0.5", 0.5),
        (0.5, 0.5),
        ("25%", 0.25),
        (1, 1.0),
        ("16Gi", 1),
    ],
)
def test_gpu_memory_is_a_quantity_or_a_part(tmp_path: Path, wanted: Any, part: float) -> None:
    assert fresh_handler(tmp_path).memory_fraction(wanted, 16 << 30) == part


@pytest.mark.parametrize("wanted", ["17Gi", "120%", "-1", "0", "", True, "4GB"])
def test_gpu_memory_that_is_none_or_too_much_is_refused(tmp_path: Path, wanted: Any) -> None:
    with pytest.raises(Exception, match=r"^maxGPUMemory: "):
        fresh_handler(tmp_path).memory_fraction(wanted, 16 << 30)


# ---- batches


def test_each_request_of_a_batch_gets_its_answer(serve: Serve) -> None:
    served = serve(preprocess="number", postprocess="answer")
    assert served.answers({"n": 1}, {"n": 2}, {"n": 3}) == [{"answer": 2}, {"answer": 4}, {"answer": 6}]
    assert served.context.statuses == {}


def test_a_bad_request_fails_alone_with_its_reason(serve: Serve) -> None:
    served = serve(preprocess="number")
    assert served.answers({"n": 1}, {"n": -1}, {"m": 1}, 5, {"n": 2}) == [
        2,
        {"code": 400, "type": "ValueError", "message": "n: expected 0 or more, got -1"},
        {"code": 400, "type": "KeyError", "message": "there is no 'n'"},
        {"code": 400, "type": "TypeError", "message": "'int' object is not subscriptable"},
        4,
    ]
    assert served.context.statuses == {1: (400, "Bad Request"), 2: (400, "Bad Request"), 3: (400, "Bad Request")}


def test_a_failure_of_the_model_fails_alone_and_keeps_its_words_in_the_log(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    served = serve()
    failed = {"code": 500, "type": "ValueError", "message": "the model failed; its log says why"}
    assert served.answers(1, 13, 2) == [2, failed, 4]
    assert served.context.statuses == {1: (500, "Internal Server Error")}
    assert "an unlucky number that stays in the log" in caplog.text


def test_an_exception_with_a_status_is_answered_by_it(serve: Serve) -> None:
    served = serve()
    message = "fourteen is not for this model"
    assert served.answers(14, 1) == [{"code": 422, "type": "Rejected", "message": message}, 2]
    assert served.context.statuses == {0: (422, "Unprocessable Entity")}


def test_a_failure_after_the_model_fails_alone(serve: Serve) -> None:
    served = serve(postprocess="answer")
    assert served.answers(1, 4) == [
        {"answer": 2},
        {"code": 500, "type": "RuntimeError", "message": "the model failed; its log says why"},
    ]


def test_predict_gets_the_whole_batch_and_only_what_is_good(serve: Serve) -> None:
    served = serve(preprocess="number", predict="many")
    assert served.answers({"n": 1}, {"n": -1}, {"n": 2})[::2] == [2, 4]
    assert served.net.calls == [[1, 2]]


def test_a_batch_that_fails_in_predict_is_tried_one_by_one(serve: Serve) -> None:
    served = serve(predict="many")
    answers = served.answers(1, 13, 2)
    assert (answers[0], answers[1]["code"], answers[2]) == (2, 500, 4)
    assert served.net.calls == [[1, 13, 2], [1], [13], [2]]


def test_a_predict_that_answers_too_few_fails_with_the_reason_in_the_log(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    served = serve(predict="too_few")
    assert [each["code"] for each in served.answers(1, 2)] == [500, 500]
    assert "predict: expected 1 outputs, one a sample, got 0" in caplog.text


def test_functions_get_the_model_and_the_folder_when_they_ask(serve: Serve) -> None:
    assert serve(preprocess="with_model").answers(1) == [6]


# ---- bodies and answers


@pytest.mark.parametrize(
    ("body", "content_type", "data"),
    [
        (bytearray(b'{"a": 1}'), "application/json; charset=utf-8", {"a": 1}),
        (b"[1]", "application/vnd.team+json", [1]),
        ({"a": 1}, "application/json", {"a": 1}),
        ("é".encode(), "text/plain", "é"),
        ("é".encode("latin-1"), 'text/plain; charset="latin-1"', "é"),
        (bytearray(b"\0\1"), "image/png", b"\0\1"),
        (bytearray(b"{}"), "", b"{}"),
    ],
)
def test_a_body_is_what_its_content_type_says(tmp_path: Path, body: Any, content_type: str, data: Any) -> None:
    found = fresh_handler(tmp_path).decode(body, content_type)
    assert found == data
    assert type(found) is type(data)


@pytest.mark.parametrize(
    ("body", "content_type", "message"),
    [
        (b"{", "application/json", "the body is not JSON: "),
        (b"\xff", "text/plain", "the body is not text: "),
        (b"a", "text/plain; charset=klingon", "the body is not text: unknown encoding: klingon"),
    ],
)
def test_a_body_that_is_not_what_it_says_fails_alone(
    serve: Serve, body: bytes, content_type: str, message: str
) -> None:
    served = serve()
    [answer] = served.answers(body, content_type=content_type)
    assert served.context.statuses == {0: (400, "Bad Request")}
    assert answer["message"].startswith(message)


def test_the_parts_of_a_form_are_a_dictionary_and_no_body_is_none(tmp_path: Path) -> None:
    handler = fresh_handler(tmp_path)
    context = Context(tmp_path)
    context.headers = {0: {"image": {"content-type": "image/png"}, "options": {"content-type": "application/json"}}}
    form = {"image": bytearray(b"\0"), "options": b'{"top": 3}'}
    assert handler.body_of(form, context, 0) == {"image": b"\0", "options": {"top": 3}}
    assert handler.body_of({"data": b"x"}, context, 0) == b"x"
    assert handler.body_of({}, context, 0) is None


class Array:
    """What tensors and arrays have in common."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def tolist(self) -> Any:
        return self.values


@dataclasses.dataclass
class Box:
    corner: tuple[int, int]
    score: Any


@pytest.mark.parametrize(
    ("answer", "sent"),
    [
        ({"a": Array([1.5, 2.5]), 3: {"b"}}, '{"a": [1.5, 2.5], "3": ["b"]}'),
        ([(1, None), True], "[[1, null], true]"),
        ({"score": math.nan, "other": Array([math.inf])}, '{"score": null, "other": [null]}'),
        (Box((1, 2), Array(0.5)), '{"corner": [1, 2], "score": 0.5}'),
        (Array(7), "7"),
        (None, "null"),
        ("ünder", "ünder"),
        (b"\x89PNG", b"\x89PNG"),
    ],
)
def test_an_answer_is_text_or_bytes_or_what_json_can_hold(tmp_path: Path, answer: Any, sent: Any) -> None:
    assert fresh_handler(tmp_path).write_answer(answer, Context(tmp_path), 0) == sent


@pytest.mark.parametrize("answer", [{"image": b"\0"}, object(), [object()]])
def test_an_answer_that_json_cannot_hold_is_that_requests_failure(tmp_path: Path, answer: Any) -> None:
    with pytest.raises(TypeError):
        fresh_handler(tmp_path).write_answer(answer, Context(tmp_path), 0)


def test_an_empty_batch_has_no_answers(serve: Serve) -> None:
    assert serve().answers() == []
