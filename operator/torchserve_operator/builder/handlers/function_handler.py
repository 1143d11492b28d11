"""TorchServe handler for models that are functions.

The builder puts this file into a model's folder with a `function.json` beside it:

    {"file": "net.py", "init": "make", "kwargs": {"size": "small"}, "checkpoint": "net.pt",
     "preprocess": "decode", "predict": null, "postprocess": "label", "maxGPUMemory": "4Gi"}

- `init(**kwargs)` returns the model, called once a worker: a `torch.nn.Module` or anything that can be called.
  Keywords of `function.kwargs` in model-config.yaml (in the resource: the model's `parameters`) replace those of
  function.json one by one, and its `function.maxGPUMemory` that one: no build is needed for them.
- `preprocess(data)` makes a sample of one request: `data` is its body, parsed if it is JSON, text if it is text, else
  bytes; the parts of a form are a dictionary.
- The model is called once for a batch where samples can be stacked: tensors (or NumPy arrays) of one shape,
  or dictionaries (`model(**batch)`) or tuples (`model(*batch)`) of such. Others are called one by one.
- `predict(model, samples)` instead gets a list of samples and returns a list of as many outputs.
- `postprocess(output)` makes the answer of one output: text, bytes, or what becomes JSON (tensors and arrays too).

Each of them gets, when it has a parameter of that name: `context` (TorchServe's), `device` (torch.device),
`model_dir`, and all but `init` the `model`; `init` may take `checkpoint` (a path) and then loads it itself.

A request that is wrong fails alone: a ValueError, TypeError, LookupError (KeyError...) or EOFError in `preprocess` is
answered 400 with its message, an exception with an int attribute `status` by that anywhere; else it is 500. Its
neighbours in the batch get their answers: a batch that fails in the model is called again one by one.

Standard library and torch only, Python 3.8 and later.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import http
import importlib
import importlib.util
import inspect
import json
import logging
import math
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

logger = logging.getLogger(__name__)

KEYS = ("file", "init", "kwargs", "preprocess", "predict", "postprocess", "checkpoint", "maxGPUMemory")
OVERRIDES = ("kwargs", "maxGPUMemory")
UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}

BAD_INPUT = (ValueError, TypeError, LookupError, EOFError, zipfile.BadZipFile)
BAD_INPUT_NAMES = ("UnidentifiedImageError", "UnpicklingError")
"""Of libraries that are not imported here: what PIL and NumPy say to bytes that are none of theirs."""


class LoadError(Exception):
    """The model cannot be loaded as function.json says."""


class Row(NamedTuple):
    """One good sample and the place of its request in the batch."""

    place: int
    sample: Any


# ---- loading


def load_settings(folder: Path, model_config: Any) -> dict[str, Any]:
    """Read function.json with the overrides of model-config.yaml."""
    path = folder / "function.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LoadError(f"{path}: {error}") from None
    _check_keys("function.json", settings, KEYS)
    overrides = (model_config or {}).get("function") or {}
    _check_keys("function in model-config.yaml", overrides, OVERRIDES)
    kwargs = {**(settings.get("kwargs") or {}), **(overrides.get("kwargs") or {})}
    return {**settings, **overrides, "kwargs": kwargs}


def _check_keys(where: str, given: Any, known: tuple[str, ...]) -> None:
    if not isinstance(given, dict):
        raise LoadError(f"{where}: expected an object")
    for key in given:
        if key not in known:
            raise LoadError(f"{where}: there is no key {key}{_nearest(key, known)}; expected {', '.join(known)}")


def _nearest(name: str, known: Any) -> str:
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def load_module(model_dir: Path, file: str) -> Any:
    """Import the user's file; what lies beside it and in the model's folder can be imported by it."""
    path = model_dir / file
    if not path.is_file():
        raise LoadError(f"file: there is no {file} in the model's folder")
    for folder in (str(model_dir), str(path.parent)):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(path.stem, str(path))
    if spec is None or spec.loader is None:
        raise LoadError(f"file: {file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    # Others may import it too, and get the same one; but a model's json.py must not hide the library's.
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)
    return module


def find_function(module: Any, key: str, name: str) -> Callable[..., Any]:
    """Find a function, a class or `Class.method` of the user's file."""
    found = module
    for part in name.split("."):
        if not hasattr(found, part):
            known = [each for each, value in vars(found).items() if callable(value) and not each.startswith("_")]
            where = Path(getattr(module, "__file__", None) or "the file").name
            raise LoadError(
                f"{key}: {where} has no {name}{_nearest(part, known)}; it has {', '.join(known) or 'nothing'}"
            )
        found = getattr(found, part)
    if not callable(found):
        raise LoadError(f"{key}: {name} is no function")
    return found  # type: ignore[no-any-return]


def parameters_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Name the parameters that can be given by name; none for what does not tell."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {each.name: each for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)}


def call_init(init: Callable[..., Any], name: str, kwargs: dict[str, Any], given: dict[str, Any]) -> Any:
    """Call init with the user's keywords and what it asks for of `given`; a wrong keyword is told with the nearest."""
    own = parameters_of(init)
    try:
        kinds = [each.kind for each in inspect.signature(init).parameters.values()]
    except (TypeError, ValueError):
        kinds = [inspect.Parameter.VAR_KEYWORD]
    takes_all = inspect.Parameter.VAR_KEYWORD in kinds
    for key in kwargs:
        if key not in own and not takes_all:
            expected = ", ".join(each for each in own if each not in given) or "none"
            raise LoadError(f"kwargs: {name} has no keyword {key}{_nearest(key, own)}; expected {expected}")
    arguments = {**{key: value for key, value in given.items() if key in own}, **kwargs}
    for key, parameter in own.items():
        if key not in arguments and parameter.default is parameter.empty:
            raise LoadError(f"kwargs: {name} needs the keyword {key}")
    return init(**arguments)


def with_asked(function: Callable[..., Any] | None, skip: int, given: dict[str, Any]) -> Callable[..., Any] | None:
    """Bind what a function asks for by name; its first `skip` parameters are never bound."""
    if function is None:
        return None
    asked = {key: given[key] for key in list(parameters_of(function))[skip:] if key in given}
    return (lambda *arguments: function(*arguments, **asked)) if asked else function


def pick_device(properties: dict[str, Any]) -> Any:
    """The GPU that TorchServe gave this worker, where there is one; else the CPU."""
    torch = _torch()
    if torch is None:
        return None
    gpu = properties.get("gpu_id")
    if gpu is not None and torch.cuda.is_available():
        torch.cuda.set_device(int(gpu))
        return torch.device("cuda", int(gpu))
    return torch.device("cpu")


def memory_fraction(wanted: Any, total: int) -> float:
    """The part of a GPU's memory that maxGPUMemory is: a part itself (0.5, "50%"), or bytes ("4Gi")."""
    found = re.match(r"^(\d+(?:\.\d+)?)(%|[kMGT]i?|Ki)?$", str(wanted).strip())
    if isinstance(wanted, bool) or not found or float(found.group(1)) <= 0:
        raise LoadError(f'maxGPUMemory: expected a quantity such as 4Gi or a part such as 0.5, got "{wanted}"')
    number, unit = float(found.group(1)), found.group(2) or ""
    if unit == "%":
        part = number / 100
    elif not unit and number <= 1:
        part = number
    else:
        part = number * UNITS[unit] / total
    if part > 1:
        raise LoadError(f"maxGPUMemory: {wanted} is more than the GPU has: {total / 2**30:.1f}Gi")
    return part


def cap_memory(wanted: Any, device: Any) -> None:
    """Cap what torch may take of the GPU; without a GPU the value is still checked for its shape."""
    if wanted is None:
        return
    if device is None or device.type != "cuda":
        memory_fraction(wanted, sys.maxsize)
        return
    torch = _torch()
    torch.cuda.set_per_process_memory_fraction(
        memory_fraction(wanted, torch.cuda.get_device_properties(device).total_memory), device
    )


def is_torchscript(path: Path) -> bool:
    """Whether a file is TorchScript; a saved state_dict is a zip too, without code."""
    if not zipfile.is_zipfile(str(path)):
        return False
    with zipfile.ZipFile(str(path)) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def load_checkpoint(model: Any, path: Path, device: Any) -> Any:
    """Return the model with the weights of a file: TorchScript, safetensors or a saved state_dict."""
    if is_torchscript(path):
        if model is not None:
            hint = "leave init out, or let it return None"
            raise LoadError(f"checkpoint: {path.name} is TorchScript, the model itself: {hint}")
        return importlib.import_module("torch").jit.load(str(path), map_location=device)
    if not hasattr(model, "load_state_dict"):
        raise LoadError(
            f"checkpoint: {path.name} has weights, and init returned {type(model).__name__}: "
            "expected a torch.nn.Module, or an init with a parameter `checkpoint` that loads it"
        )
    try:
        model.load_state_dict(load_weights(path, device))
    except (RuntimeError, TypeError) as error:
        text = " ".join(str(error).split())[:500]
        raise LoadError(f"checkpoint: {path.name} does not fit the model that init returned: {text}") from None
    return model


def load_weights(path: Path, device: Any) -> Any:
    """The state_dict of a file, as it is or as training loops wrap it."""
    if path.suffix == ".safetensors":
        if importlib.util.find_spec("safetensors") is None:
            raise LoadError(f"checkpoint: {path.name} needs the package safetensors: add it to the requirements")
        return importlib.import_module("safetensors.torch").load_file(str(path))
    try:
        # Only weights: a pickle could run anything.
        weights = importlib.import_module("torch").load(str(path), map_location=device, weights_only=True)
    except Exception as error:
        hint = "expected a saved state_dict (torch.save(model.state_dict(), ...)), TorchScript or safetensors"
        raise LoadError(f"checkpoint: {path.name} cannot be read: {_first_line(error)}; {hint}") from error
    for key in ("state_dict", "model_state_dict"):
        if isinstance(weights, dict) and isinstance(weights.get(key), dict):
            weights = weights[key]
    prefix = "module."  # torch.nn.DataParallel's
    if weights and all(str(key).startswith(prefix) for key in weights):
        weights = {key[len(prefix) :]: value for key, value in weights.items()}
    return weights


class Loaded:
    """A model that is ready to be called, and the functions around it."""

    def __init__(self, context: Any) -> None:
        properties = context.system_properties
        folder = Path(properties["model_dir"])
        settings = load_settings(folder, getattr(context, "model_yaml_config", None))
        self.device = pick_device(properties)
        cap_memory(settings.get("maxGPUMemory"), self.device)
        module = load_module(folder, settings["file"]) if settings.get("file") else None
        given = {"context": context, "device": self.device, "model_dir": str(folder)}
        functions = {
            key: find_function(module, key, settings[key])
            for key in ("init", "preprocess", "predict", "postprocess")
            if settings.get(key)
        }
        self.model = self._make(settings, functions.get("init"), folder, given)
        given["model"] = self.model
        self.preprocess = with_asked(functions.get("preprocess"), 1, given)
        self.predict = with_asked(functions.get("predict"), 2, given)
        self.postprocess = with_asked(functions.get("postprocess"), 1, given)
        if self.predict is None and not callable(self.model):
            raise LoadError(
                f"init returned {type(self.model).__name__}: expected what can be called, or name `predict`"
            )
        logger.info("function model is loaded on %s", self.device)

    def _make(self, settings: dict[str, Any], init: Any, folder: Path, given: dict[str, Any]) -> Any:
        checkpoint = settings.get("checkpoint")
        path = folder / checkpoint if checkpoint else None
        if path and not path.exists():
            raise LoadError(f"checkpoint: there is no {checkpoint} in the model's folder")
        model = None
        if init is not None:
            model = call_init(init, settings["init"], settings["kwargs"], {**given, "checkpoint": path and str(path)})
        elif not path:
            raise LoadError("init: expected a function that returns the model, or a checkpoint in TorchScript")
        if path and not (init is not None and "checkpoint" in parameters_of(init)):
            model = load_checkpoint(model, path, self.device)
        torch = _torch()
        if torch is not None and isinstance(model, torch.nn.Module):
            model = model.to(self.device).eval()
        return model


# ---- requests


def decode(value: Any, content_type: str) -> Any:
    """Make of a body what its content type says; TorchServe itself did so for plain application/json and text."""
    if not isinstance(value, (bytes, bytearray)):
        return value
    kind, _, rest = content_type.partition(";")
    kind = kind.strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        try:
            return json.loads(bytes(value))
        except ValueError as error:
            raise ValueError(f"the body is not JSON: {error}") from None
    if kind.startswith("text/"):
        found = re.search(r"charset=\"?([\w-]+)", rest)
        try:
            return bytes(value).decode(found.group(1) if found else "utf-8")
        except (LookupError, ValueError) as error:
            raise ValueError(f"the body is not text: {error}") from None
    return bytes(value)


def body_of(row: dict[str, Any], context: Any, place: int) -> Any:
    """One request's data: its body, or the parts of its form by name; None where it has neither."""
    headers = context.get_all_request_header(place) or {}

    def part(name: str) -> Any:
        header = headers.get(name)
        kind = header.get("content-type") if isinstance(header, dict) else None
        return decode(row[name], str(kind or ""))

    for name in ("body", "data"):
        if name in row:
            return part(name)
    return {name: part(name) for name in row} or None


def status_of(error: BaseException, *, of_input: bool) -> int:
    """The HTTP status for an exception: its own, 400 for what is wrong with an input, else 500."""
    own = getattr(error, "status", None)
    if isinstance(own, int) and 400 <= own <= 599:
        return int(own)
    if of_input and (isinstance(error, BAD_INPUT) or type(error).__name__ in BAD_INPUT_NAMES):
        return 400
    return 507 if isinstance(error, MemoryError) or "out of memory" in str(error) else 500


def error_answer(error: BaseException, status: int) -> dict[str, Any]:
    """The answer for a failed request, in the shape of TorchServe's own errors; the words of a 500 stay in the log."""
    message = _first_line(error) if status < 500 else "the model failed; its log says why"
    if status < 500 and isinstance(error, KeyError):
        message = f"there is no {message}"
    return {"code": status, "type": type(error).__name__, "message": message or type(error).__name__}


def _first_line(error: BaseException) -> str:
    return next((line.strip()[:500] for line in str(error).splitlines() if line.strip()), type(error).__name__)


# ---- batches


def _torch() -> Any:
    """The module torch, where it is loaded; TorchServe's workers load it before any handler."""
    return sys.modules.get("torch")


def stack(samples: list[Any], device: Any) -> Any:
    """Samples as one batch on the device: a tensor, or a dictionary or tuple of such; None where they do not stack."""
    torch = _torch()
    first = samples[0]
    if torch is None or any(type(each) is not type(first) for each in samples):
        return None
    if isinstance(first, torch.Tensor) or type(first).__module__ == "numpy":
        try:
            tensors = [torch.as_tensor(each) for each in samples]
        except (TypeError, ValueError):  # an array of objects or of text
            return None
        same = all(each.shape == tensors[0].shape and each.dtype == tensors[0].dtype for each in tensors)
        return torch.stack([each.to(device) for each in tensors]) if same else None
    if isinstance(first, dict) and first and all(each.keys() == first.keys() for each in samples):
        columns = {key: stack([each[key] for each in samples], device) for key in first}
        return None if any(column is None for column in columns.values()) else columns
    if isinstance(first, tuple) and first and all(len(each) == len(first) for each in samples):
        parts = [stack([each[index] for each in samples], device) for index in range(len(first))]
        return None if any(part is None for part in parts) else tuple(parts)
    return None


def split(output: Any, count: int) -> list[Any] | None:
    """A batch's output as one output a sample; None where it is not made of tensors with a first dimension of that."""
    torch = _torch()
    if torch is not None and isinstance(output, torch.Tensor):
        return list(output) if output.dim() and output.shape[0] == count else None
    if isinstance(output, dict):
        columns = {key: split(value, count) for key, value in output.items()}
        if any(column is None for column in columns.values()):
            return None
        return [{key: column[index] for key, column in columns.items() if column} for index in range(count)]
    if isinstance(output, tuple):
        parts = [split(value, count) for value in output]
        return (
            None
            if any(part is None for part in parts)
            else [tuple(p[index] for p in parts if p) for index in range(count)]
        )
    if isinstance(output, list) and len(output) == count:
        return output
    return None


def call_batch(model: Any, batch: Any) -> Any:
    """Call a model as the batch's shape asks for."""
    if isinstance(batch, dict):
        return model(**batch)
    return model(*batch) if isinstance(batch, tuple) else model(batch)


def infer(loaded: Loaded, samples: list[Any]) -> list[Any]:
    """Outputs of samples, in their order."""
    if loaded.predict is not None:
        outputs = loaded.predict(loaded.model, samples)
        count = len(outputs) if hasattr(outputs, "__len__") else None
        if count != len(samples):
            got = type(outputs).__name__ if count is None else count
            raise RuntimeError(f"predict: expected {len(samples)} outputs, one a sample, got {got}")
        return list(outputs)
    batch = stack(samples, loaded.device)
    if batch is not None:
        outputs = split(call_batch(loaded.model, batch), len(samples))
        if outputs is not None:
            return outputs
        if len(samples) == 1:
            return [call_batch(loaded.model, batch)]
    if len(samples) == 1:
        return [loaded.model(samples[0])]
    return [infer(loaded, [sample])[0] for sample in samples]


def leave_if_broken(loaded: Loaded) -> None:
    """End the worker when its GPU context is gone for good (a device-side assert): TorchServe starts a new one."""
    torch = _torch()
    if torch is None or loaded.device is None or loaded.device.type != "cuda":
        return
    try:
        torch.cuda.synchronize(loaded.device)
    except RuntimeError:
        logger.critical("the GPU context is broken; this worker ends", exc_info=True)
        sys.exit(1)
    torch.cuda.empty_cache()


def outputs_of(loaded: Loaded, samples: list[Any]) -> list[Any]:
    """One output or one exception for each sample: a batch that fails is tried again one by one."""
    try:
        return infer(loaded, samples)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is that sample's
        leave_if_broken(loaded)
        if len(samples) == 1:
            return [error]
        logger.warning("a batch of %d failed, trying one by one: %s", len(samples), type(error).__name__)
    return [outputs_of(loaded, [sample])[0] for sample in samples]


# ---- answers


def jsonable(value: Any) -> Any:
    """What JSON can hold of an answer: tensors and arrays become lists, numbers that JSON lacks become null."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(key): jsonable(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(each) for each in value]
    if isinstance(value, (bytes, bytearray)):
        raise TypeError("bytes cannot be part of a JSON answer: return them alone, or as base64 text")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return jsonable(dataclasses.asdict(value))
    if hasattr(value, "tolist"):  # tensors, NumPy's arrays and scalars
        return jsonable((value.detach() if hasattr(value, "detach") else value).tolist())
    raise TypeError(f"an answer cannot have a {type(value).__name__}")


def write_answer(value: Any, context: Any, place: int) -> Any:
    """What TorchServe sends for an answer, with its content type."""
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if isinstance(value, str):
        context.set_response_content_type(place, "text/plain; charset=utf-8")
        return value
    text = json.dumps(jsonable(value), ensure_ascii=False)
    context.set_response_content_type(place, "application/json")
    return text


def answer_all(loaded: Loaded, data: list[dict[str, Any]], context: Any) -> list[Any]:
    """Answers of a batch, one a request and in its order."""
    answers: list[Any] = [None] * len(data)

    def fail(place: int, error: BaseException, *, of_input: bool) -> None:
        status = status_of(error, of_input=of_input)
        if status >= 500:
            logger.error("request %s failed", context.get_request_id(place), exc_info=error)
        # TorchServe counts a phrase's characters and sends its bytes: only ASCII is safe.
        phrase = http.HTTPStatus(status).phrase if status in {each.value for each in http.HTTPStatus} else "Error"
        context.set_response_status(status, phrase, place)
        answers[place] = write_answer(error_answer(error, status), context, place)

    rows = []
    for place, request in enumerate(data):
        try:
            body = body_of(request, context, place)
            rows.append(Row(place, body if loaded.preprocess is None else loaded.preprocess(body)))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is that request's
            fail(place, error, of_input=True)
    outputs = outputs_of(loaded, [row.sample for row in rows]) if rows else []
    for index, row in enumerate(rows):
        output = outputs[index]
        if isinstance(output, Exception):
            fail(row.place, output, of_input=False)
            continue
        try:
            answer = output if loaded.postprocess is None else loaded.postprocess(output)
            answers[row.place] = write_answer(answer, context, row.place)
        except Exception as error:  # noqa: BLE001 - the same
            fail(row.place, error, of_input=False)
    return answers


_loaded: Loaded | None = None


def handle(data: list[dict[str, Any]] | None, context: Any) -> list[Any] | None:
    """TorchServe's entry: without data once when the worker starts, then once a batch."""
    global _loaded  # noqa: PLW0603 - a worker has one model, and TorchServe calls a function
    if _loaded is None:
        _loaded = Loaded(context)
    if data is None:
        return None
    torch = _torch()
    with torch.inference_mode() if torch is not None else contextlib.nullcontext():
        return answer_all(_loaded, data, context)
