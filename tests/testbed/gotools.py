"""Programs built from pinned Go modules: each directory of ``go/`` has a go.mod with ``tool`` lines and a go.sum.

A program is kept under the hash of what it is made from (go.mod, go.sum, our own sources, flags): changing one
module rebuilds that module's programs and nothing else. Building needs Go and a module proxy, once.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache as remembered
from pathlib import Path

from testbed import cache, system
from testbed.errors import TestbedError
from testbed.progress import step

SOURCES = Path(__file__).parent / "go"

KUBERNETES = "v1.36.3"
ETCD = "3.6.8"
COREDNS = "v1.14.2"
CONTAINERD = "v2.4.2"
REGISTRY = "v3.1.2"
VERSITYGW = "v1.8.0"
# What the go.mod files pin; a test sees to it that the two agree.

_STRIP = "-s -w"
_KUBERNETES_LDFLAGS = " ".join(
    [
        _STRIP,
        *(
            f"-X {package}.{name}={value}"
            for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
            for name, value in {
                "gitVersion": KUBERNETES,
                "gitMajor": "1",
                "gitMinor": "36",
                "gitTreeState": "clean",
            }.items()
        ),
    ]
)


@dataclass(frozen=True)
class Program:
    """One program: the directory of ``go/`` that pins it and the package that is its main."""

    name: str
    module: str
    package: str = "."
    """``.`` is a program of our own."""
    ldflags: str = _STRIP
    tags: str = ""


def _kubernetes(name: str) -> Program:
    return Program(name, "kubernetes", f"k8s.io/kubernetes/cmd/{name}", _KUBERNETES_LDFLAGS)


def _containerd(name: str) -> Program:
    # The snapshotters that are left out need C libraries or kernel modules that the nodes do not have.
    return Program(
        name,
        "containerd",
        f"github.com/containerd/containerd/v2/cmd/{name}",
        f"{_STRIP} -X github.com/containerd/containerd/v2/version.Version={CONTAINERD}",
        "no_btrfs no_devmapper no_zfs",
    )


PROGRAMS = {
    program.name: program
    for program in (
        _kubernetes("kube-apiserver"),
        Program("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
        _kubernetes("kubectl"),
        _kubernetes("kube-controller-manager"),
        _kubernetes("kube-scheduler"),
        _kubernetes("kubelet"),
        _kubernetes("kube-proxy"),
        _kubernetes("kubeadm"),
        _containerd("containerd"),
        _containerd("containerd-shim-runc-v2"),
        _containerd("ctr"),
        Program("coredns", "coredns", "github.com/coredns/coredns"),
        Program("kind", "kind", "sigs.k8s.io/kind"),
        Program("crictl", "crictl"),
        Program("netagent", "netagent"),
        Program("pause", "pause"),
        Program("registry", "registry", "github.com/distribution/distribution/v3/cmd/registry"),
        Program("versitygw", "s3", "github.com/versity/versitygw/cmd/versitygw"),
    )
}
"""In the order of need: what the API tests wait for comes first."""

_BUILD = ("go", "build", "-trimpath", "-buildvcs=false", "-mod=readonly")
_ENV = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "", "GOWORK": "off"}


def tool(name: str) -> Path:
    """The path of a program, built when it is not in the cache.

    For kube-apiserver, etcd and kubectl a copy in ``$KUBEBUILDER_ASSETS`` is taken when there is one.
    """
    return tools([name])[name]


def tools(names: Iterable[str] = PROGRAMS) -> dict[str, Path]:
    """The paths of programs by name; those of one module that are missing are built by one `go build`.

    Raises:
        TestbedError: no such program, no Go toolchain (the message has the line), or the build failed.
    """
    found: dict[str, Path] = {}
    missing: dict[str, list[Program]] = {}
    for name in dict.fromkeys(names):  # twice in the list is once to build
        if name not in PROGRAMS:
            raise TestbedError(f"no program {name!r}; there are {', '.join(PROGRAMS)}")
        given = _given(name)
        path = given or _place(PROGRAMS[name])
        if path.exists():
            found[name] = path
        else:
            missing.setdefault(PROGRAMS[name].module, []).append(PROGRAMS[name])
    for module, programs in missing.items():
        with cache.lock(f"go-{module}"):
            for flags, group in _by_flags(program for program in programs if not _place(program).exists()).items():
                _go_build(module, flags, group)
        found.update({program.name: _place(program) for program in programs})
    return found


def bin_directory(names: Iterable[str]) -> Path:
    """A directory with just these programs by their names, for somebody's PATH."""
    paths = tools(names)
    directory = cache.root() / "bin" / cache.content_key(str(path) for path in sorted(paths.values()))
    if not directory.exists():
        with cache.publish(directory) as fresh:
            fresh.mkdir()
            for name, path in paths.items():
                (fresh / name).symlink_to(path)
    return directory


def _given(name: str) -> Path | None:
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    path = Path(assets) / name if assets and name in {"kube-apiserver", "etcd", "kubectl"} else None
    return path if path and path.exists() else None


def _place(program: Program) -> Path:
    return cache.root() / "tools" / f"{program.name}-{_key(program)}" / program.name


@remembered
def _key(program: Program) -> str:
    flags = [program.package, program.ldflags, program.tags, *_BUILD]
    return cache.content_key([*flags, *cache.tree_parts(SOURCES / program.module)])


def _by_flags(programs: Iterable[Program]) -> dict[tuple[str, str], list[Program]]:
    groups: dict[tuple[str, str], list[Program]] = {}
    for program in programs:
        groups.setdefault((program.ldflags, program.tags), []).append(program)
    return groups


def _go_build(module: str, flags: tuple[str, str], programs: list[Program]) -> None:
    _ensure_go(SOURCES / module / "go.mod")
    ldflags, tags = flags
    names = ", ".join(program.name for program in programs)
    with (
        step(f"building {names} (go/{module})"),
        tempfile.TemporaryDirectory(prefix=".build-", dir=cache.directory("tools")) as output,
    ):
        words = [*_BUILD, "-ldflags", ldflags, *(["-tags", tags] if tags else []), "-o", f"{output}/"]
        system.run([*words, *(program.package for program in programs)], env=_ENV, cwd=SOURCES / module)
        for program in programs:
            with cache.publish(_place(program).parent) as fresh:
                fresh.mkdir()
                (Path(output) / _output_name(program)).rename(fresh / program.name)


def _output_name(program: Program) -> str:
    """What `go build` calls it: the last element of the package's path that is no version."""
    if program.package == ".":
        return program.module
    parts = program.package.split("/")
    return parts[-2] if re.fullmatch(r"v\d+", parts[-1]) else parts[-1]


def _ensure_go(go_mod: Path) -> None:
    found = re.search(r"^go (\S+)$", go_mod.read_text(), re.MULTILINE)
    wanted = found.group(1) if found else "1.26.0"
    have = ""
    if shutil.which("go"):
        have = system.run(["go", "env", "GOVERSION"], env=_ENV).strip().removeprefix("go")
        if _numbers(have) >= _numbers(wanted):
            return
    raise TestbedError(
        f"Go {wanted} or newer is needed to build {go_mod.parent.name} (found: {have or 'none'}). Install it from "
        "https://go.dev/dl: `curl -fL https://go.dev/dl/go1.26.8.linux-$(dpkg --print-architecture).tar.gz "
        "| sudo tar -C /usr/local -xz && export PATH=/usr/local/go/bin:$PATH`"
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
