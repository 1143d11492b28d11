"""YAML as kubectl reads it, and stricter where kubectl is silent.

kubectl turns YAML into JSON with Go's sigs.k8s.io/yaml. PyYAML's own loader differs: dates become objects, `12:30`
becomes 750, `1e3` stays text, `y` stays text. This one agrees with kubectl (a test holds it against the real thing),
makes nothing but JSON's types, and refuses what kubectl lets pass in silence: a key that is given twice.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml

VALUES_LIMIT: Final = 100_000
"""The most values one document may have once its aliases are written out: a few lines of YAML can mean billions."""

_PLAIN: Final = "plain"
"""The tag of an unquoted scalar: what it is depends on how it looks."""

_TRUE: Final = frozenset({"y", "yes", "true", "on"})
_FALSE: Final = frozenset({"n", "no", "false", "off"})
_NULL: Final = frozenset({"", "~", "null"})
_WHOLE_SHAPE: Final = re.compile(r"[-+]?(0b[01]+|0x[0-9a-fA-F]+|0o?[0-7]+|0|[1-9][0-9]*)")
_FLOAT_SHAPE: Final = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_NO_NUMBER: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


class YamlError(ValueError):
    """Text that is no YAML, or none that a manifest may have.

    Attributes:
        line: The line of the error, from 1; None where it has none.
        column: Its column, from 1.
    """

    def __init__(self, message: str, line: int | None = None, column: int | None = None) -> None:
        self.line, self.column = line, column
        super().__init__(message if line is None else f"line {line}:{column}: {message}")


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a stream.

    Attributes:
        line: Its first line, from 1.
        value: What it says, in JSON's types; None for an empty one.
    """

    line: int
    value: Any


def documents(text: str) -> Iterator[Document]:
    """Yield the documents of a YAML stream, as far as it can be read.

    Raises:
        YamlError: At the first document that cannot.
    """
    try:
        loader = _Loader(text)
        while loader.check_node():
            node = loader.get_node()
            if node is not None:
                yield Document(node.start_mark.line + 1, _Builder().build(node))
    except yaml.MarkedYAMLError as error:
        mark, problem = error.problem_mark or error.context_mark, error.problem or error.context
        where = (mark.line + 1, mark.column + 1) if mark else (None, None)
        raise YamlError(str(problem), *where) from None
    except yaml.YAMLError as error:
        raise YamlError(str(error).splitlines()[0]) from None
    except RecursionError:
        raise YamlError("is nested too deeply") from None


class _Loader(yaml.BaseLoader):
    """PyYAML's parser, without its idea of what a plain scalar is."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        """Tag an unquoted scalar as that; everything else as PyYAML does."""
        if kind is yaml.ScalarNode and implicit[0]:
            return _PLAIN
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]  # types-pyyaml has none here


class _Builder:
    """Makes JSON's types of one document's nodes."""

    def __init__(self) -> None:
        self._values = 0
        self._open: set[yaml.Node] = set()

    def build(self, node: yaml.Node) -> Any:
        self._values += 1
        if self._values > VALUES_LIMIT:
            raise _error(f"the document has more than {VALUES_LIMIT} values", node)
        if node in self._open:
            raise _error("it contains itself", node)
        self._open.add(node)
        try:
            match node:
                case yaml.MappingNode(tag="tag:yaml.org,2002:map"):
                    return self._mapping(node)
                case yaml.SequenceNode(tag="tag:yaml.org,2002:seq"):
                    return [self.build(item) for item in node.value]
                case yaml.ScalarNode():
                    return _scalar(node)
                case _:
                    raise _error(f"a manifest has no use for the tag {node.tag}", node)
        finally:
            self._open.remove(node)

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        lines: dict[str, int] = {}
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _PLAIN and key_node.value == "<<":
                merged = self._merged(value_node) | merged
                continue
            key = _key(key_node)
            if key in own:
                raise _error(f'the key "{key}" appears twice; it is on line {lines[key]} already', key_node)
            lines[key] = key_node.start_mark.line + 1
            own[key] = self.build(value_node)
        return merged | own

    def _merged(self, node: yaml.Node) -> dict[str, Any]:
        """Return what a merge key (``<<``) brings: one mapping, or several of which the first wins."""
        value = self.build(node)
        result: dict[str, Any] = {}
        for part in value if isinstance(value, list) else [value]:
            if not isinstance(part, dict):
                raise _error("<< needs a mapping", node)
            result = part | result
        return result


def _error(message: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=message, problem_mark=node.start_mark)


def _key(node: yaml.Node) -> str:
    """Return a key as JSON has it: text; kubectl writes numbers and truth values as text and refuses the rest."""
    key = _scalar(node) if isinstance(node, yaml.ScalarNode) else None
    if isinstance(key, bool):
        return str(key).lower()
    if key is None:
        raise _error("a key must be text", node)
    return str(key)


def _scalar(node: yaml.ScalarNode) -> str | float | bool | None:
    text = str(node.value)
    match node.tag.removeprefix("tag:yaml.org,2002:"):
        case "str":
            return text
        case "plain" | "int" | "float" | "bool" | "null":
            return _plain(text, node)
        case _:
            raise _error(f"a manifest has no use for the tag {node.tag}", node)


def _plain(text: str, node: yaml.Node) -> str | float | bool | None:
    folded = text.lower() if text in {text.lower(), text.upper(), text.capitalize()} else text
    if folded in _NULL:
        return None
    if folded in _TRUE or folded in _FALSE:
        return folded in _TRUE
    if _NO_NUMBER.fullmatch(text):
        raise _error(f"{text} is no number that JSON has", node)
    number = "" if text.startswith("_") else text.replace("_", "")
    if _WHOLE_SHAPE.fullmatch(number):
        # As Go's ParseInt with base 0: 0777, 0o777 and 0x1ff are the same number.
        return int(re.sub(r"^([-+]?)0(?=[0-9])", r"\g<1>0o", number), base=0)
    if not _FLOAT_SHAPE.fullmatch(number):
        return text
    value = float(number)
    if not math.isfinite(value):
        raise _error(f"{text} is too large", node)
    # Go's JSON writes 1.0 as 1: for the API server it is a whole number.
    return int(value) if value.is_integer() and abs(value) < _WHOLE_FLOATS else value


_WHOLE_FLOATS: Final = 10**21
"""From here on Go's JSON writes a float with an exponent."""
