"""Python requirements of a build: from the user's lines to a plan for pip, and from what pip installed to files.

pip itself runs in a container of the base image (`in_base`); between the two lie a ConfigMap and a folder.
"""

import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from pydantic import BaseModel, ConfigDict, ValidationError

from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.files import CHUNK, File, checked

FIELD = "spec.build.requirements"
MAX_BYTES = 512 << 10
"""Of all lines together: they travel in a ConfigMap, which holds 1 MiB."""

_HASH = re.compile(r"\s--hash(?:=|\s+)(\S+)")
_HASH_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}
_OPTIONS = {
    "-r": "another file cannot be reached from here: write its lines",
    "--requirement": "another file cannot be reached from here: write its lines",
    "-c": "constraints are not supported: write the versions on the lines",
    "--constraint": "constraints are not supported: write the versions on the lines",
    "-e": "an editable install needs its source in the image: give a wheel by your index",
    "--editable": "an editable install needs its source in the image: give a wheel by your index",
    "-i": "an index is named by spec.build.indexSecretName, key PIP_INDEX_URL",
    "--index-url": "an index is named by spec.build.indexSecretName, key PIP_INDEX_URL",
    "--extra-index-url": "an index is named by spec.build.indexSecretName, key PIP_EXTRA_INDEX_URL",
    "--trusted-host": "a host is trusted by spec.build.indexSecretName, key PIP_TRUSTED_HOST, or better by its ca.crt",
    "-f": "folders and pages of links are not supported: use an index",
    "--find-links": "folders and pages of links are not supported: use an index",
    "--require-hashes": "one line with a hash is enough: leave it out",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One requirement.

    Attributes:
        text: As pip reads it, hashes included, one line.
        field: Where in the resource it is, for errors.
        name: Canonical name of the package.
        pinned: Whether it gives one exact version: then a package of the base image may be replaced.
        hashed: Whether it has hashes.
    """

    text: str
    field: str
    name: str
    pinned: bool
    hashed: bool


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a build shall bring beside what the base image has."""

    lines: tuple[Line, ...]
    field: str = FIELD

    @property
    def hashed(self) -> bool:
        """Whether pip checks hashes: then every line has one."""
        return any(line.hashed for line in self.lines)

    @property
    def digest(self) -> str:
        """`sha256:...` over the lines in canonical order: the part of a content key that is known before pip runs."""
        text = "\n".join(sorted(line.text for line in self.lines))
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"

    def plan(self) -> dict[str, Any]:
        """Content of requirements.json for the base image's container."""
        return {
            "schema": 1,
            "field": self.field,
            "requirements": [line.text for line in self.lines],
            "fields": [line.field for line in self.lines],
            "hashes": self.hashed,
            "pinned": sorted({line.name for line in self.lines if line.pinned}),
        }


def from_lines(lines: Iterable[str], field: str = FIELD) -> Requirements:
    """Check a list of requirements.

    Args:
        lines: One requirement each; comments and empty lines are left out.
        field: The list's place in the resource; the errors name `field[0]`, `field[1]`, ...

    Raises:
        BuildError: A line is none that pip could resolve from an index.
    """
    return _checked(((f"{field}[{number}]", line) for number, line in enumerate(lines)), field)


def from_text(text: str, field: str) -> Requirements:
    r"""Check the text of a requirements file: comments, empty lines, lines continued by a `\` at their end.

    Raises:
        BuildError: As `from_lines`; the errors name the number of the line.
    """
    return _checked(_logical_lines(text, field), field)


def _logical_lines(text: str, field: str) -> Iterator[tuple[str, str]]:
    begun, number = "", 0
    for place, line in enumerate(text.splitlines(), start=1):
        number = number if begun else place
        if line.endswith("\\") and not line.lstrip().startswith("#"):
            begun += line[:-1] + " "
            continue
        yield f"{field} line {number}", begun + line
        begun = ""
    if begun:
        yield f"{field} line {number}", begun


def _checked(lines: Iterable[tuple[str, str]], field: str) -> Requirements:
    found: list[Line] = []
    for place, text in lines:
        bare = " ".join(re.sub(r"(^|\s+)#.*$", "", text).split())
        if bare:
            found.append(_line(bare, place))
    size = sum(len(line.text) for line in found)
    if size > MAX_BYTES:
        raise BuildError(field, f"has {size:,} bytes, at most {MAX_BYTES:,} are possible")
    first: dict[str, Line] = {}
    for line in found:
        other = first.setdefault(line.name, line)
        if other is not line and ";" not in line.text + other.text:
            raise BuildError(line.field, f"{line.name} is there twice, first at {other.field}", "write it once")
    result = Requirements(tuple(found), field)
    for line in found if result.hashed else ():
        if not (line.hashed and line.pinned):
            message = f"{_short(line.text)}: where one line has a hash, all need name==version and one"
            raise BuildError(line.field, message, "pip-compile --generate-hashes writes such a list")
    return result


def _line(text: str, field: str) -> Line:
    option = re.match(r"--?[a-z-]+", text)
    if option:
        # `-rother.txt` is `-r other.txt`.
        name = option[0] if option[0].startswith("--") else option[0][:2]
        raise BuildError(field, f'"{name}" is an option of pip, not a requirement', _OPTIONS.get(name, "leave it out"))
    if "${" in text:
        raise BuildError(field, "variables are not replaced: write what is meant")
    hashes = _HASH.findall(f" {text}")
    for value in hashes:
        _check_hash(value, field)
    bare = _HASH.sub("", f" {text}").strip()
    if re.search(r"\s--?[a-z]", bare):
        raise BuildError(field, f'"{_short(bare)}": of pip\'s options on a line, only --hash is supported')
    requirement = _requirement(bare, field)
    canonical = str(requirement) + "".join(f" --hash={value}" for value in sorted(hashes))
    return Line(canonical, field, canonicalize_name(requirement.name), _is_pinned(requirement.specifier), bool(hashes))


def _requirement(text: str, field: str) -> Requirement:
    """Parse one requirement; what is a URL or a path is refused without showing it: it can hold a token."""
    if "://" in text or text.startswith("git+") or " @ " in text:
        message = "a URL is not a requirement that an index resolves"
        raise BuildError(
            field, message, "put the wheel into an index (spec.build.indexSecretName) and write name==version"
        )
    if text.startswith(("/", "./", "../", "~", "file:")) or text.endswith((".whl", ".tar.gz", ".zip", ".txt")):
        message = f'"{_short(text)}" is a path, and the build has no such file'
        raise BuildError(
            field, message, "put the wheel into an index (spec.build.indexSecretName) and write name==version"
        )
    try:
        return Requirement(text)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        raise BuildError(field, f'"{_short(text)}" is not a requirement: {reason}', _nearest(text)) from None


def _nearest(text: str) -> str:
    """What was probably meant; empty when nothing is near."""
    repairs: tuple[Callable[[str], str], ...] = (
        lambda line: re.sub(r"(?<![=<>!~])=(?!=)", "==", line, count=1),
        lambda line: re.sub(r"([\w.*])\s+([<>=!~])", r"\1,\2", line),
        lambda line: re.sub(r"^([A-Za-z0-9._-]+)[\s:@]+v?(\d[\w.]*)$", r"\1==\2", line),
    )
    for repair in repairs:
        try:
            return f'write "{Requirement(repair(text))}"'
        except InvalidRequirement:
            continue
    return "expected a name and versions, such as transformers==4.57.1"


def _check_hash(value: str, field: str) -> None:
    kind, _, digits = value.partition(":")
    length = _HASH_LENGTHS.get(kind)
    if length is None or not re.fullmatch(rf"[0-9a-f]{{{length}}}", digits):
        expected = ", ".join(f"{name}:<{size} hex digits>" for name, size in _HASH_LENGTHS.items())
        raise BuildError(field, f'"--hash={_short(value)}" is not a hash: expected one of {expected}')


def _is_pinned(specifier: SpecifierSet) -> bool:
    each = list(specifier)
    return len(each) == 1 and each[0].operator in {"==", "==="} and not each[0].version.endswith(".*")


def _short(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:97]}..."


class Package(BaseModel):
    """A package that pip installed into the layer; `size` is that of its files in bytes."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    version: str
    size: int


class _Error(BaseModel):
    field: str = ""
    message: str
    hint: str = ""


class _Result(BaseModel):
    """Content of result.json, as the base image's container writes it."""

    model_config = ConfigDict(extra="ignore")

    packages: list[Package]
    warnings: list[str] = []
    seconds: dict[str, float] = {}
    python: str
    pip: str = ""
    error: _Error | None = None


@dataclass(frozen=True, slots=True)
class Installed:
    """What pip installed.

    Attributes:
        packages: By name.
        files: Of the layer, relative to its folder on the server's path.
        warnings: What a user should know, a line each.
        seconds: How long pip took, by stage: `resolve`, `install`.
        python: Version of the base image's Python.
    """

    packages: tuple[Package, ...]
    files: tuple[File, ...]
    warnings: tuple[str, ...]
    seconds: dict[str, float]
    python: str

    def digest(self) -> str:
        """`sha256:...` over packages, paths, modes and contents. Reads every file once."""
        total = hashlib.sha256()
        for package in self.packages:
            total.update(f"{package.name}=={package.version}\n".encode())
        for file in self.files:
            content = hashlib.sha256()
            for piece in file.chunks():
                content.update(piece)
            total.update(f"{file.path}\0{file.executable}\0{file.size}\0{content.hexdigest()}\n".encode())
        return f"sha256:{total.hexdigest()}"


def read(folder: Path) -> Installed:
    """Read what the base image's container left: `result.json` and `site/`.

    Raises:
        BuildError: pip failed, with what the container found out; or the folder is not what it writes.
    """
    try:
        result = _Result.model_validate(json.loads((folder / "result.json").read_bytes()))
    except (OSError, ValueError, ValidationError) as error:
        message = f"the container that installs requirements left no result ({type(error).__name__})"
        raise BuildError(FIELD, message, "look at the log of the build's init container") from None
    if result.error:
        raise BuildError(result.error.field or FIELD, result.error.message, result.error.hint)
    site = folder / "site"
    return Installed(
        packages=tuple(sorted(result.packages, key=lambda package: canonicalize_name(package.name))),
        files=checked(_tree(site, site), FIELD),
        warnings=tuple(result.warnings),
        seconds=result.seconds,
        python=result.python,
    )


def _tree(folder: Path, root: Path) -> Iterator[File]:
    with os.scandir(folder) as entries:
        for entry in entries:
            path = Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                if entry.name != "__pycache__":
                    yield from _tree(path, root)
            elif not entry.is_file(follow_symlinks=False):
                raise BuildError(FIELD, f"{path.relative_to(root)} is neither a file nor a folder")
            elif not entry.name.endswith(".pyc"):
                about = entry.stat(follow_symlinks=False)
                executable = bool(about.st_mode & stat.S_IXUSR)
                yield File(path.relative_to(root).as_posix(), about.st_size, _reader(path), executable)


def _reader(path: Path) -> Callable[[], Iterator[bytes]]:
    def chunks() -> Iterator[bytes]:
        with path.open("rb") as file:
            while piece := file.read(CHUNK):
                yield piece

    return chunks
