"""Resolve, check, install, check again."""

from __future__ import annotations

import csv
import importlib.metadata
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from .base_pip import Pip, index_settings
from .explain import explain
from .mask import Mask
from .plan import Package, Plan, RequirementsError, canonical, name_of, read_plan, shortened

KEPT = ("torch", "torchserve")
"""Never replaced, not even on purpose: the rest of a base image is compiled against the one and starts the other."""

HARMLESS_PTH = re.compile(r"(distutils-precedence|.*-nspkg)\.pth")
"""setuptools' switch for distutils, and namespaces of old: Python's own namespace packages do what they did."""

OF_AN_EXTRA = re.compile(r";.*\bextra\b")


class Installed(NamedTuple):
    """A package as it lies in the target."""

    name: str
    version: str
    files: list[Path]


def installed_in_base() -> dict[str, importlib.metadata.Distribution]:
    """What the base image has, by canonical name: the first on the path, as Python would import it."""
    found: dict[str, importlib.metadata.Distribution] = {}
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            found.setdefault(canonical(name), distribution)
    return found


def write_as_it_is(base: dict[str, importlib.metadata.Distribution], folder: Path) -> None:
    """Write metadata that says of each package that it is there, and not what it needs.

    What a base image lacks of its own packages' requirements is its own affair: Debian's torch says that it needs
    sympy and comes without. pip would bring that along, or take another torch where the index does not have it.
    Extras are left, as they are asked for by a requirement.
    """
    for name, distribution in base.items():
        info = folder / f"{name.replace('-', '_')}-{distribution.version}.dist-info"
        info.mkdir(parents=True)
        lines = ["Metadata-Version: 2.1", f"Name: {distribution.metadata['Name']}", f"Version: {distribution.version}"]
        lines += [f"Provides-Extra: {extra}" for extra in distribution.metadata.get_all("Provides-Extra") or ()]
        for requirement in distribution.metadata.get_all("Requires-Dist") or ():
            if OF_AN_EXTRA.search(requirement):
                lines.append(f"Requires-Dist: {requirement}")
        (info / "METADATA").write_text("\n".join([*lines, ""]), encoding="utf-8")
        # Builds without isolation find setuptools' commands by these.
        entry_points = distribution.read_text("entry_points.txt")
        if entry_points:
            (info / "entry_points.txt").write_text(entry_points, encoding="utf-8")


def resolve(pip: Pip, plan: Plan, base: dict[str, importlib.metadata.Distribution]) -> list[Package]:
    """What pip would install so that every line holds, given what the base image has."""
    report, seen = pip.scratch / "report.json", pip.scratch / "base"
    write_as_it_is(base, seen)
    arguments = ["--dry-run", "--report", str(report), *(["--require-hashes"] if plan.hashes else [])]
    code, output = pip.install(*arguments, lines=plan.lines, first_on_path=seen)
    if code != 0:
        raise explain(output, plan)
    packages = []
    for item in json.loads(report.read_text(encoding="utf-8"))["install"]:
        metadata = item["metadata"]
        archive = item.get("download_info", {}).get("archive_info", {})
        hashes = archive.get("hashes") or dict([archive["hash"].split("=", 1)] if archive.get("hash") else [])
        strong = [f"{kind}:{hashes[kind]}" for kind in ("sha256", "sha384", "sha512") if kind in hashes]
        requires = [str(line) for line in metadata.get("requires_dist") or []]
        packages.append(Package(str(metadata["name"]), str(metadata["version"]), strong, requires))
    return sorted(packages, key=lambda package: canonical(package.name))


def requirers(name: str, packages: list[Package]) -> list[str]:
    """Who among the new packages requires one, as `who version requires what`; those by an extra only if no other."""
    plain: list[str] = []
    extra: list[str] = []
    for package in packages:
        for requirement in package.requires:
            if name_of(requirement) == name:
                text = requirement.partition(";")[0]
                found = extra if OF_AN_EXTRA.search(requirement) else plain
                found.append(f"{package.name} {package.version} requires {text.strip()}")
    return plain or extra


def check_replaced(packages: list[Package], base: dict[str, importlib.metadata.Distribution], plan: Plan) -> list[str]:
    """Refuse to replace what the base image has, unless it is pinned on purpose; the names that are."""
    replaced = []
    for package in packages:
        name = canonical(package.name)
        if name in plan.pinned and name in base and name not in KEPT:
            replaced.append(name)
        elif name in base or name in KEPT:
            version = str(base[name].version) if name in base else None
            raise _replaced(package, version, packages, plan)
    return replaced


def _replaced(package: Package, version: str | None, packages: list[Package], plan: Plan) -> RequirementsError:
    name = canonical(package.name)
    asking = requirers(name, packages)
    field = plan.field
    for place, line in zip(plan.fields, plan.lines):  # noqa: B905 - `strict` came with Python 3.10
        if name_of(line) == name or (asking and name_of(line) == name_of(asking[0])):
            field = place
        if name_of(line) == name:
            asking = [f'the requirements ask for "{line.split(" --hash")[0].strip()}"']
    who = "; ".join(asking[:3]) or "a dependency needs it"
    if version is None:
        message = f"{package.name} {package.version} would be installed, as the base image's Python has none: {who}"
    else:
        message = f"{package.name} {version} of the base image would be replaced by {package.version}: {who}"
    if name in KEPT:
        return RequirementsError(
            message, f"take versions that fit, or a base image with the {package.name} you need", field
        )
    hint = f"take versions that fit, or write {package.name}=={package.version} to replace it on purpose"
    return RequirementsError(message, hint, field)


def install(pip: Pip, plan: Plan, packages: list[Package], target: Path) -> None:
    """Install exactly these packages, from exactly the files that were resolved."""
    if not packages:
        return
    own = {name_of(line): re.findall(r"--hash[= ](\S+)", line) for line in plan.lines} if plan.hashes else {}
    hashes = {package.name: own.get(canonical(package.name)) or package.hashes for package in packages}
    strict = all(hashes.values())
    lines = [
        f"{package.name}=={package.version}"
        + ("".join(f" --hash={value}" for value in hashes[package.name]) if strict else "")
        for package in packages
    ]
    arguments = ["--no-deps", "--target", str(target), *(["--require-hashes"] if strict else [])]
    code, output = pip.install(*arguments, lines=lines)
    if code != 0:
        raise explain(output, plan)


def remove_compiled(target: Path) -> None:
    """Remove compiled Python: it names the time of its source, and the same build would differ."""
    for folder in sorted(target.rglob("__pycache__"), reverse=True):
        shutil.rmtree(str(folder))
    for file in target.rglob("*.pyc"):
        file.unlink()


def installed_in(target: Path) -> list[Installed]:
    """The packages of the target with the files that each one's RECORD lists and that are there."""
    found = []
    for distribution in importlib.metadata.distributions(path=[str(target)]):
        rows = csv.reader((distribution.read_text("RECORD") or "").splitlines())
        paths = [target / row[0].replace("../../bin/", "bin/") for row in rows if row]
        files = [path for path in paths if path.is_file()]
        found.append(Installed(str(distribution.metadata["Name"]), str(distribution.version), files))
    return sorted(found, key=lambda package: canonical(package.name))


def refuse_pth(target: Path, installed: list[Installed], plan: Plan) -> list[str]:
    """Refuse packages that need a `.pth` file: Python reads those in its site folders only. The harmless ones go."""
    warnings = []
    for file in sorted(target.glob("*.pth")):
        owner = next((f"{p.name} {p.version}" for p in installed if file in p.files), "a package")
        if not HARMLESS_PTH.fullmatch(file.name):
            raise RequirementsError(
                f"{owner} is unsupported: it needs {file.name}, and .pth files work in Python's own site folder only",
                "use a base image of your own that has it",
                plan.field,
            )
        file.unlink()
        warnings.append(f"{owner}: {file.name} was left out; it is not needed")
    return warnings


def broken_by(replaced: list[str], target: Path, pip: Pip) -> list[str]:
    """What `pip check` says of packages that were replaced on purpose."""
    if not replaced:
        return []
    done = subprocess.run(
        [sys.executable, "-m", "pip", "check"],
        cwd=str(pip.work),
        env=pip.with_first_on_path(target),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    lines = [pip.mask(line.strip().rstrip(".")) for line in done.stdout.decode("utf-8", "replace").splitlines()]
    return [line for line in lines if any(f"you have {name} " in line.lower().replace("_", "-") for name in replaced)]


def build(plan_file: Path, index: Path, target: Path, scratch: Path) -> dict[str, Any]:
    """Do it; the result's JSON but its time."""
    began = time.monotonic()
    plan = read_plan(plan_file)
    mask = Mask()
    if importlib.util.find_spec("ts") is None:
        raise RequirementsError(
            f"the base image's Python ({sys.executable}) has no TorchServe: it is not the one that serves",
            "use a TorchServe image, with its Python first on PATH",
            "spec.build.baseImage",
        )
    pip = Pip(scratch, index_settings(index, scratch, mask), mask)
    version = pip.version()
    base = installed_in_base()
    packages = resolve(pip, plan, base)
    replaced = check_replaced(packages, base, plan)
    resolved = time.monotonic()
    install(pip, plan, packages, target)
    installed = installed_in(target)
    # What pip writes must be what was resolved; a package can do anything while it is built.
    if [canonical(package.name) for package in installed] != [canonical(package.name) for package in packages]:
        names = ", ".join(package.name for package in installed)
        raise RequirementsError(f"other packages came than were resolved: {shortened(names)}", field=plan.field)
    warnings = refuse_pth(target, installed, plan) + broken_by(replaced, target, pip)
    remove_compiled(target)
    return {
        "packages": [
            {
                "name": package.name,
                "version": package.version,
                "size": sum(file.stat().st_size for file in package.files if file.is_file()),
            }
            for package in installed
        ],
        "replaced": replaced,
        "warnings": warnings,
        "pip": version,
        "seconds": {"resolve": round(resolved - began, 3), "install": round(time.monotonic() - resolved, 3)},
    }
