"""What TorchServe would say of a model's Python files when it loads them, said when they are packed."""

import ast
from collections.abc import Iterable

from torchserve_operator.api.build import FunctionSpec
from torchserve_operator.api.errors import nearest
from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.python_module import Module, bound_names

_LOADABLE = (".pt", ".onnx", ".so")
"""What TorchServe's own handlers load without a model's class: TorchScript, ONNX, and what AOTInductor compiled."""
_ELSEWHERE = "put the others into a file of extraFiles and import them"


def check_module_name(path: str, field: str) -> None:
    """Refuse a name that TorchServe cannot import: it takes what is before `.py` for a module.

    Raises:
        BuildError: It has a dot too many.
    """
    name = path.rpartition("/")[2].removesuffix(".py")
    if "." in name:
        raise BuildError(field, f'{path} cannot be imported as a module called "{name}"', "rename it without the dot")


def handler_entry(module: Module, entry: str | None, field: str) -> str | None:
    """Return the name that the manifest's handler gets behind its file, as in `handler.py:serve`; None: none.

    TorchServe calls the named function, or `handle`; without either it makes an object of the file's one class. It
    cannot be told a class: with `handler.py:Class` it would call Class(None, context). So that is checked here and
    left out.

    Raises:
        BuildError: It would find nothing to call, or more than one.
    """
    if entry is None:
        if not ("handle" in module.names or module.open):
            _check_handler_class(_only_class(module, field, "or a function handle(data, context)"), module, field)
        return None
    if entry in module.possible_classes:
        if "handle" in module.names:
            raise BuildError(
                field, f"TorchServe would call handle of {module.path} and not the class {entry}", "rename handle"
            )
        _check_handler_class(_only_class(module, field, "and cannot be told which"), module, field)
        return None
    check_name(module, entry, field)
    return entry


def _only_class(module: Module, field: str, expected: str) -> ast.ClassDef:
    if not module.possible_classes:
        raise BuildError(field, f"{module.path} defines no class; TorchServe expects exactly one {expected}")
    if len(module.classes) > 1:
        names = ", ".join(module.classes)
        raise BuildError(
            field,
            f"{module.path} defines {len(module.classes)} classes ({names}); TorchServe expects exactly one {expected}",
            _ELSEWHERE,
        )
    return next(iter((module.classes or module.possible_classes).values()))


def _check_handler_class(found: ast.ClassDef, module: Module, field: str) -> None:
    if found.bases or found.keywords or found.decorator_list or found.name not in module.classes:
        return  # what it inherits or gets otherwise cannot be seen here
    for method in ("initialize", "handle"):
        if method not in bound_names(found.body):
            raise BuildError(field, f"{module.path}: the class {found.name} has no {method}; TorchServe calls it")


def check_model_file(module: Module, handler: str, field: str) -> None:
    """Check the file with the model's class, for TorchServe's own handlers; others read it as they like.

    Raises:
        BuildError: It has not exactly one class, or that is no module of torch.
    """
    found = _only_class(module, field, f"for {handler}")
    if not found.bases:
        raise BuildError(field, f"{module.path}: the class {found.name} extends nothing; expected torch.nn.Module")


def check_own_handler(handler: str, *, model: bool, serialized: str | None, field: str) -> None:
    """Check that one of TorchServe's own handlers is given something to load.

    Args:
        handler: Its name.
        model: Whether there is a file with the model's class.
        serialized: The weights.
        field: The package's.

    Raises:
        BuildError: It would fail with "No model weights could be loaded".
    """
    if model:
        return
    if serialized is None:
        raise BuildError(f"{field}.serializedFile", f"is required by {handler}", "or set modelFile")
    if not serialized.endswith(_LOADABLE):
        raise BuildError(
            f"{field}.serializedFile",
            f"{handler} loads {', '.join(_LOADABLE)} alone; {serialized} needs the model's class",
            "set modelFile, or save the model as TorchScript (.pt)",
        )


def check_function(module: Module, spec: FunctionSpec, field: str) -> None:
    """Check that a file has the functions of a function model, and `init` its keywords.

    Raises:
        BuildError: One is not there.
    """
    for key in ("init", "preprocess", "predict", "postprocess"):
        name = getattr(spec, key)
        if name is not None:
            check_name(module, name, f"{field}.{key}")
    init = module.functions.get(spec.init)
    if init is None or init.args.kwarg is not None or init.decorator_list:
        return
    keywords = [argument.arg for argument in (*init.args.args, *init.args.kwonlyargs)]
    for key in spec.kwargs:
        if key not in keywords:
            raise BuildError(
                f"{field}.kwargs.{key}", f"{spec.init} of {module.path} has no such keyword", _offer(key, keywords)
            )


def check_name(module: Module, name: str, field: str) -> None:
    """Check that a file binds a name.

    Raises:
        BuildError: It does not.
    """
    if name not in module.names and not module.open:
        callables = sorted({*module.functions, *module.possible_classes})
        raise BuildError(field, f"{module.path} has no {name}", _offer(name, callables))


def _offer(name: str, known: Iterable[str]) -> str:
    near = nearest(name, known)
    return f'did you mean "{near}"?' if near else f"it has {', '.join(known) or 'none'}"
