"""Which lines of models.log become a model's error."""

import pytest

from torchserve_operator.agent.runtime.loaderrors import LoadError, LoadErrors, tidy
from torchserve_operator.agent.runtime.problem import Problem

STDOUT = "1795253632204 INFO W-9000-net_1.0-stdout MODEL_LOG "
STDERR = "1795253632204 WARN W-9000-net_1.0-stderr MODEL_LOG "
THREAD = "1795253632204 ERROR W-9000-net_1.0 WorkerThread "

TRACEBACK = """Traceback (most recent call last):
  File "/opt/venv/ts/model_service_worker.py", line 301, in <module>
    worker.run_server()
    ~~~~~~~~~~~~~~~~~^^"""
MISSING = "ModuleNotFoundError: No module named 'foo'"
FALLBACK = "ModuleNotFoundError: No module named 'ts.torch_handler.handler'"
ECHO = f"Backend worker process died.\n{TRACEBACK}\nRuntimeError: %d - as logged before"
CHAINED = "\n\nDuring handling of the above exception, another exception occurred:\n\n"

CASES = {
    "the exception's line, and not the code above it": (
        f"Backend worker process died.\n{TRACEBACK}\n{MISSING}",
        ("LoadFailed", MISSING),
    ),
    "the handler's own missing package, not TorchServe's second try": (
        f"Backend worker process died.\n{TRACEBACK}\n{MISSING}{CHAINED}{TRACEBACK}\n{FALLBACK}",
        ("LoadFailed", MISSING),
    ),
    "the last of any other chain": (
        f"Backend worker process died.\n{TRACEBACK}\nKeyError: 'a'{CHAINED}{TRACEBACK}\nValueError: no label file",
        ("LoadFailed", "ValueError: no label file"),
    ),
    "an exception without words": (
        f"Backend worker process died.\n{TRACEBACK}\nAssertionError",
        ("LoadFailed", "AssertionError"),
    ),
    "an exception with a module and several lines": (
        f"Backend worker process died.\n{TRACEBACK}\nmy.errors.LoadError: cannot load:\n\tMissing key: fc\n\tsize",
        ("LoadFailed", "my.errors.LoadError: cannot load: Missing key: fc size"),
    ),
    "what was logged before the worker's own echo of it": (
        f"Failed to load model net, exception bad weights\n{TRACEBACK}\nRuntimeError: bad weights\n{ECHO % 500}",
        ("LoadFailed", "RuntimeError: bad weights"),
    ),
    "the GPU's memory": (
        f"Load model net cuda OOM, exception CUDA\n{TRACEBACK}\nRuntimeError: CUDA out of memory.\n{ECHO % 507}",
        ("OutOfMemory", "RuntimeError: CUDA out of memory."),
    ),
    "Python's own lack of memory": (
        f"Backend worker process died.\n{TRACEBACK}\nMemoryError",
        ("OutOfMemory", "MemoryError"),
    ),
    "a request's exception is not one of loading": (
        f"Torch worker started.\nInvoking custom service failed.\n{TRACEBACK}\nValueError: Mrs Smith's address",
        None,
    ),
    "what a handler prints is none": ("Error: something\nTraceback of my own", None),
}


def last_error(lines: list[str]) -> LoadError | None:
    errors = LoadErrors()
    found = [error for error in map(errors.feed, lines) if error is not None]
    return found[-1] if found else None


@pytest.mark.parametrize("name", CASES)
def test_the_worker_output_gives(name: str) -> None:
    text, expected = CASES[name]
    error = last_error([STDOUT + line for line in text.split("\n")])
    assert (error and tuple(error.problem)) == expected
    assert error is None or (error.model, error.worker, error.generic) == ("net_1.0", "9000", False)


@pytest.mark.parametrize(("before", "expected"), [([], ("LoadFailed", MISSING)), (["Torch worker started."], None)])
def test_standard_error_counts_until_the_worker_has_started(
    before: list[str], expected: tuple[str, str] | None
) -> None:
    lines = [STDOUT + line for line in before] + [STDERR + line for line in f"{TRACEBACK}\n{MISSING}".split("\n")]
    error = last_error(lines)
    assert (error and tuple(error.problem)) == expected


def test_two_workers_tracebacks_may_be_interleaved() -> None:
    other = STDOUT.replace("9000", "9001")
    first = [STDOUT + line for line in f"Backend worker process died.\n{TRACEBACK}\nKeyError: 'first'".split("\n")]
    second = [other + line for line in f"Backend worker process died.\n{TRACEBACK}\nKeyError: 'second'".split("\n")]
    errors = LoadErrors()
    lines = [line for pair in zip(first, second, strict=True) for line in pair]
    found = [error for error in map(errors.feed, lines) if error is not None]
    assert [(error.worker, error.problem.message) for error in found] == [
        ("9000", "KeyError: 'first'"),
        ("9001", "KeyError: 'second'"),
    ]


def test_a_worker_that_ends_in_silence_is_the_servers_word_and_gives_way_to_any_other() -> None:
    line = "1795253632204 WARN W-9000-net_1.0 BatchAggregator Load model failed: net, error: Worker died."
    error = LoadErrors().feed(line)
    assert error is not None
    assert (error.model, error.worker, error.problem.reason, error.generic) == ("net_1.0", "9000", "WorkerDied", True)
    assert "ended while it loaded the model" in error.problem.message


def test_the_servers_word_on_a_worker_is_the_java_exceptions_message_and_generic() -> None:
    error = last_error(
        [
            THREAD + "Backend worker error",
            "org.pytorch.serve.wlm.WorkerInitializationException: Backend worker did not respond in given time",
            "\tat org.pytorch.serve.wlm.WorkerThread.run(WorkerThread.java:259) [model-server.jar:?]",
        ]
    )
    assert error == LoadError(
        "net_1.0", "9000", Problem("WorkerDied", "Backend worker did not respond in given time"), generic=True
    )


def test_a_refused_model_is_told_by_the_java_exceptions_message() -> None:
    error = last_error(
        [
            "1795253632204 WARN main ModelServer Failed to load model: net",
            "org.pytorch.serve.archive.model.InvalidModelException: Model name is not defined.",
        ]
    )
    assert error == LoadError("net", None, Problem("LoadFailed", "Model name is not defined."), generic=False)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("OSError: /tmp/models/0123456789abcdef0123456789abcdef/model.pt is missing", "OSError: model.pt is missing"),
        ("<Net object at 0x7f70fcfac310>  is\tbad", "<Net object at 0x…> is bad"),
        ("x" * 400, "x" * 299 + "…"),
    ],
)
def test_messages_are_the_same_in_every_pod_and_short(message: str, expected: str) -> None:
    assert tidy(message) == expected
