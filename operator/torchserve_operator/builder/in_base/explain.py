"""From pip's output to what went wrong, in one line and with what to do. Pure."""

from __future__ import annotations

import platform
import re

from .plan import Plan, RequirementsError, described, field_of, name_of, shortened

COMPILER = re.compile(
    r"error: command '[^']*(?:gcc|g\+\+|cc|c\+\+|clang|gfortran|nvcc)[^']*' failed"
    r"|unable to execute '[^']*(?:gcc|g\+\+|cc|clang)"
    r"|\b(?:gcc|g\+\+|cc|clang|cmake|cargo|rustc|nvcc|ninja|make)['\"]?: (?:command )?not found"
    r"|No such file or directory: '(?:[^']*/)?(?:gcc|g\+\+|cc|clang|cmake|cargo|rustc|nvcc|ninja|make)'"
    r"|fatal error: .*\.h: No such file|Python\.h: No such file"
    r"|CMake must be installed|CMAKE_CXX_COMPILER|can't find Rust compiler|Rust toolchain|CUDA_HOME|Unknown compiler",
    re.IGNORECASE,
)

UNREACHABLE = re.compile(
    r"(Failed to establish a new connection|Failed to resolve|Name or service not known|Connection refused"
    r"|Temporary failure in name resolution|Network is unreachable|No route to host|timed out|Connection aborted"
    r"|Failed to connect to|Connection reset|RemoteDisconnected|Cannot connect to proxy)",
    re.IGNORECASE,
)

UNTRUSTED = re.compile(r"CERTIFICATE_VERIFY_FAILED|SSLCertVerificationError|certificate verify failed", re.IGNORECASE)

REFUSED = re.compile(r"\b(?:401|403)\b.{0,40}(?:Error|Credentials|Unauthorized|Forbidden)", re.IGNORECASE)
CONNECTING = re.compile(r"after connection broken by|ConnectionError|Max retries|Could not fetch URL", re.IGNORECASE)

NO_VERSION = re.compile(
    r"Could not find a version that satisfies the requirement (.+?)"
    r"(?: \(from (?!versions)([^)]+)\))? \(from versions: (.*)\)"
)


def explain(output: list[str], plan: Plan) -> RequirementsError:
    """From pip's output to what went wrong, in one line and with what to do."""
    text = re.sub(r" \(from -r \S+ \(line \d+\)\)", "", "\n".join(output))
    for question in (_no_space, _hash, _python, _conflict, _build, _index, _no_version):
        failure = question(text, plan)
        if failure:
            failure.field = failure.field or plan.field
            return failure
    errors = [line.split("ERROR:", 1)[1].strip() for line in text.splitlines() if "ERROR:" in line]
    last = (
        errors[-1] if errors else next((line.strip() for line in reversed(output) if line.strip()), "it said nothing")
    )
    return RequirementsError(f"pip failed: {shortened(last)}", "the container's log has all that pip said", plan.field)


def _no_space(text: str, plan: Plan) -> RequirementsError | None:
    if "No space left on device" not in text and "Disk quota exceeded" not in text:
        return None
    return RequirementsError("there is no space left for the packages", "raise spec.build.spoolLimit", plan.field)


def _hash(text: str, plan: Plan) -> RequirementsError | None:
    if "DO NOT MATCH THE HASHES" in text:
        after = text.partition("DO NOT MATCH THE HASHES")[2]
        name = re.search(r"^\s+([A-Za-z0-9._-]+)[^\n]*:\s*$", after, re.MULTILINE)
        expected = re.findall(r"Expected (?:or )?(\w+) ([0-9a-f]+)", text)
        got = re.search(r"Got\s+([0-9a-f]+)", text)
        what = name.group(1) if name else "a package"
        wanted = f"{expected[0][0]}:{expected[0][1][:12]}…" if expected else "the one of its line"
        has = f"{got.group(1)[:12]}…" if got else "another"
        message = f"{what}: expected a file with the hash {wanted}, the index has {has}"
        return RequirementsError(
            message, "look whether the index was tampered with, or write the new hash", field_of(what, plan)
        )
    if "Hashes are required in --require-hashes mode" in text or "must have their versions pinned" in text:
        named = re.findall(r"^ {4}([A-Za-z0-9][^\s;]*).*(?:--hash=\S+|\(from )", text, re.MULTILINE)
        missing = ", ".join(sorted({line.split("--hash")[0].strip() for line in named})) or "some packages"
        message = f"where one line has a hash, all packages need name==version and one; not so: {shortened(missing)}"
        return RequirementsError(message, "pip-compile --generate-hashes writes such a list")
    return None


def _build(text: str, plan: Plan) -> RequirementsError | None:
    compiler = COMPILER.search(text)
    failed = re.search(
        r"Failed to build (?:installable wheels for some pyproject\.toml based projects \(|')?([A-Za-z0-9._-]+)"
        r"|Failed building wheel for ([A-Za-z0-9._-]+)",
        text,
    )
    building = "subprocess-exited-with-error" in text or "metadata-generation-failed" in text or failed
    if not building:
        return None
    name = next((group for group in failed.groups() if group), "") if failed else ""
    if not name:
        before = text.partition("error: subprocess-exited")[0]
        collected = re.findall(r"^\s*Collecting ([A-Za-z0-9._-]+)", before, re.MULTILINE)
        name = collected[-1] if collected else "a package"
    if compiler:
        return RequirementsError(
            f"{name} has no wheel for this base image ({described()}) and needs a compiler",
            "give a wheel by your index, or use a base image of your own that has the package",
            field_of(name, plan),
        )
    if "build dependencies" in text:
        # The inner pip failed, mostly for a cause of the index's own.
        found = _index(text, plan)
        if found:
            return found
        return RequirementsError(
            f"{name} comes as source, and its build tools could not be installed from the index",
            "give a wheel by your index, or the build tools (setuptools, wheel) too",
            field_of(name, plan),
        )
    words = re.findall(r"^\s*(?:\| ?)?\s*((?:\w+\.)*\w*(?:Error|Exception|Exit|error): .+)$", text, re.MULTILINE)
    words = [word for word in words if "subprocess-exited" not in word and "metadata-generation" not in word]
    cause = f": {shortened(words[-1])}" if words else ""
    hint = "give a wheel by your index, or another version"
    return RequirementsError(f"{name} comes as source and does not build{cause}", hint, field_of(name, plan))


def _index(text: str, _: Plan) -> RequirementsError | None:
    if re.search(r"\(from versions: (?!none\)|\))", text):
        return None  # it answered
    # The lines from pip's log name the host; its warnings mostly do not.
    lines = sorted(text.splitlines(), key=lambda line: "Could not fetch URL" not in line)
    field = "spec.build.indexSecretName"
    for line in lines:
        if UNTRUSTED.search(line):
            message = f"the certificate of the index{_host(line)} is not trusted"
            return RequirementsError(message, "put its CA into ca.crt of the Secret", field)
        if REFUSED.search(line):
            message = f"the index{_host(line)} refuses the credentials"
            return RequirementsError(message, "look at PIP_INDEX_URL of the Secret", field)
        found = UNREACHABLE.search(line)
        if found and CONNECTING.search(line):
            hint = "name an index that the cluster reaches in PIP_INDEX_URL of a Secret, spec.build.indexSecretName"
            message = f"the package index{_host(line)} cannot be reached: {found.group(1)}"
            return RequirementsError(message, hint, field, passing=True)
    return None


def _host(line: str) -> str:
    found = re.search(r"https?://([^/\s'\",)]+)|host='([^']+)'", line)
    return f" {found.group(1) or found.group(2)}" if found else ""


def _python(text: str, plan: Plan) -> RequirementsError | None:
    """An index that does not say which Python a file is for: pip finds out when it has it."""
    found = re.search(r"Package '([^']+)' requires a different Python: (\S+) not in '([^']+)'", text)
    if not found:
        return None
    name, version, needed = found.groups()
    message = f"{name} needs Python {needed}, the base image has {version}"
    return RequirementsError(message, "take another version, or another base image", field_of(name, plan))


def _conflict(text: str, plan: Plan) -> RequirementsError | None:
    if "ResolutionImpossible" not in text and "conflicting dependencies" not in text:
        return None
    block = re.search(r"The conflict is caused by:\n((?:[ \t]+\S.*\n?)+)", text)
    causes = [re.sub(r"\s+", " ", line).strip() for line in block.group(1).splitlines()] if block else []
    message = (
        f"the requirements contradict each other: {shortened('; '.join(causes[:4]) or 'no versions fit together')}"
    )
    field = field_of(causes[0].replace("The user requested ", ""), plan) if causes else plan.field
    return RequirementsError(message, "loosen one of the versions", field)


def _no_version(text: str, plan: Plan) -> RequirementsError | None:
    found = NO_VERSION.search(text)
    if not found:
        return None
    wanted, parent, known = found.group(1).strip(), found.group(2), found.group(3)
    versions = [] if known in {"none", ""} else known.split(", ")
    asked = f" (for {parent})" if parent else ""
    message = f"no version of {name_of(wanted)} fits {wanted}{asked}"
    ignored = re.search(r"Ignored the following versions that require a different [Pp]ython version: (.+)", text)
    if versions:
        message += f"; the index has {', '.join(versions[-8:])}"
    elif ignored:
        message += (
            f": the base image has Python {platform.python_version()}, and the index {shortened(ignored.group(1))}"
        )
    else:
        message += f": the index has none for this base image ({described()})"
    return RequirementsError(message, "look at the name and the version", field_of(parent or wanted, plan))
