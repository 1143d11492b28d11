"""What is asked for, and the words for it: requirements, packages, and what is wrong with them."""

from __future__ import annotations

import json
import platform
import re
from pathlib import Path
from typing import NamedTuple


class RequirementsError(Exception):
    """Ends the build: what is wrong, and what to do about it; `passing` when another try may go well."""

    def __init__(self, message: str, hint: str = "", field: str = "", *, passing: bool = False) -> None:
        super().__init__(message)
        self.message, self.hint, self.field, self.passing = message, hint, field, passing


class Plan(NamedTuple):
    """What requirements.json says (made by `torchserve_operator.builder.requirements`)."""

    lines: list[str]
    fields: list[str]
    """Where in the resource each line is."""
    hashes: bool
    pinned: list[str]
    """Canonical names that a line gives one exact version."""
    field: str


class Package(NamedTuple):
    """One package that pip would install."""

    name: str
    version: str
    hashes: list[str]
    """`sha256:...` of the chosen file; empty where pip did not say."""
    requires: list[str]


def canonical(name: str) -> str:
    """The one spelling of a package's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def name_of(requirement: str) -> str:
    """The canonical name that a requirement begins with."""
    found = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", requirement)
    return canonical(found.group(1)) if found else ""


def read_plan(path: Path) -> Plan:
    """Read requirements.json. A failure names what is wrong with it."""
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
        field = str(plan.get("field", "spec.build.requirements"))
        lines = [str(line) for line in plan["requirements"]]
        fields = [str(place) for place in plan.get("fields", [])]
        pinned = [canonical(name) for name in plan.get("pinned", [])]
        return Plan(
            lines,
            fields if len(fields) == len(lines) else [field] * len(lines),
            bool(plan.get("hashes")),
            pinned,
            field,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RequirementsError(f"{path} is not a plan of requirements: {error}") from None


def field_of(requirement: str, plan: Plan) -> str:
    """Where in the resource the line about a package is; of all lines when there is none."""
    places = [index for index, line in enumerate(plan.lines) if name_of(line) == name_of(requirement)]
    return plan.fields[places[0]] if places else plan.field


def shortened(text: str, length: int = 300) -> str:
    """One line of at most that length."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


def described() -> str:
    """The base image in words: Python, machine, C library."""
    libc = " ".join(platform.libc_ver()).strip() or "musl or unknown libc"
    return f"Python {platform.python_version()}, {platform.machine()}, {libc}"
