"""The corpus: one manifest a file, good or bad, and what a bad one is refused for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchserve_operator.app.yaml_reader import documents

HERE = Path(__file__).parent


@dataclass(frozen=True)
class BadCase:
    """A malformed resource.

    Attributes:
        file: The manifest.
        expect: Part of the message.
        path: The field that the error is at.
        refused_by: `schema`: the API server refuses it; `check`: it is accepted there, refused by `validate`, and
            reported as InvalidSpec by the operator.
    """

    file: Path
    expect: str
    path: str
    refused_by: str

    @property
    def body(self) -> dict[str, Any]:
        return body_of(self.file)


def bad_cases() -> list[BadCase]:
    return [_case(file) for file in sorted((HERE / "bad").glob("*.yaml"))]


def good_files() -> list[Path]:
    return sorted((HERE / "good").glob("*.yaml"))


def body_of(file: Path) -> dict[str, Any]:
    (document,) = documents(file.read_text(encoding="utf-8"))
    return dict(document.value)


def _case(file: Path) -> BadCase:
    says: dict[str, str] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("# "):
            break
        key, separator, value = line.removeprefix("# ").partition(": ")
        if separator:
            says.setdefault(key, value)
    return BadCase(file, says["expect"], says["path"], says["refused-by"])
