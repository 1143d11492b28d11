"""An image is built: how long, with how much memory and scratch space, and how long other programs take for the same.

All of it in one run, against one registry on the loopback that has the base image, with the model on a local disk.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.build import rivals
from bench.build.builder import Build, Pod
from bench.build.registry import PIECE, push_base, push_blob
from bench.build.rivals import Rivalry
from bench.figures import Result, median
from testbed import gotools
from testbed.errors import TestbedError
from testbed.oci_registry import OciRegistry
from testbed.progress import say, step

MIB = 1 << 20
Rival = Callable[[Path, str, Path, str], Rivalry]
"""From a folder to work in, the base image, the model's folder and the image's name."""

RIVALS: dict[str, Rival] = {"buildah": rivals.buildah, "olot": rivals.olot}


@dataclass(frozen=True)
class Sizes:
    """What is built, in bytes.

    Attributes:
        base: The base image's layers.
        model: The model's weights.
        small: Those of the smaller model by which the growth of the memory is told.
        large: Those of the larger.
    """

    base: tuple[int, ...] = (1024 * MIB, 512 * MIB, 256 * MIB, 256 * MIB)
    model: int = 500 * MIB
    small: int = 100 * MIB
    large: int = 1024 * MIB


SMALL = Sizes((2 * MIB, MIB), 3 * MIB, MIB, 5 * MIB)
"""To see that it works."""


def measure(sizes: Sizes | None = None, repeats: int = 3, compared: dict[str, Rival] | None = None) -> Result:
    """Measure builds of these sizes, each so many times, beside the other programs (default: all of `RIVALS`)."""
    sizes, compared = sizes or Sizes(), RIVALS if compared is None else compared
    gotools.tool("registry")  # made before anything is measured
    result = Result()
    with tempfile.TemporaryDirectory(prefix="bench-") as name, OciRegistry(Path(name) / "registry") as registry:
        folder = Path(name)
        with step(f"a base image of {sum(sizes.base) // MIB} MiB"):
            base = push_base(registry.host, "bench/base", "1", list(sizes.base))
        pod = Pod(folder / "pod", base)
        _memory(result, pod, sizes, repeats)
        ours = _seconds(result, pod, sizes, repeats, registry.host)
        model = pod.model("compared", sizes.model)
        for rival, build in compared.items():
            _compare(result, rival, ours, lambda: build(folder / rival, base, model, f"{registry.host}/{rival}/image"))  # noqa: B023
    return result


def _memory(result: Result, pod: Pod, sizes: Sizes, repeats: int) -> None:
    """The memory of builds of a small and of a large model, which take turns."""
    builds: dict[str, list[Build]] = {}
    for name, size in (("small", sizes.small), ("large", sizes.large)):
        pod.model(name, size)
        builds[name] = []
    for turn in range(repeats):
        for name, found in builds.items():
            found.append(_built(pod, name, f"bench/{name}-{turn}"))
    small, large = (median([build.memory_bytes for build in builds[name]]) for name in ("small", "large"))
    result.samples |= {name: [build.raw() for build in found] for name, found in builds.items()}
    growth = f"the larger model's ({sizes.large / MIB:g} MiB) less the smaller one's ({sizes.small / MIB:g} MiB)"
    most = max(build.memory_bytes for found in builds.values() for build in found)
    result.add("append_memory_mib", most / MIB, "MiB", "the builder's resident memory, the most of all builds", 64)
    result.add("append_memory_growth_mib", (large - small) / MIB, "MiB", f"its median: {growth}", 8)


def _seconds(result: Result, pod: Pod, sizes: Sizes, repeats: int, host: str) -> float:
    """The time of a build and of one with nothing to do; return the first, in seconds."""
    model = pod.model("model", sizes.model)
    builds, again, control = [], [], []
    for turn in range(repeats):
        builds.append(_built(pod, "model", f"bench/image-{turn}"))
        os.sync()
        began = time.perf_counter()
        push_blob(host, f"bench/control-{turn}", _read(model / "model.pt"))
        control.append(time.perf_counter() - began)
        again.append(_built(pod, "model", f"bench/image-{turn}"))
    digests = {build.result["digest"] for build in (*builds, *again)}
    if len(digests) != 1:
        raise TestbedError(f"the same build has {len(digests)} digests: {', '.join(sorted(digests))}")
    result.samples["model"] = [build.raw() for build in builds]
    result.samples["cached"] = [build.raw() for build in again]
    result.samples["control_seconds"] = control
    seconds = median([build.run.seconds for build in builds])
    cached = median([build.run.seconds for build in again])
    scratch = max(build.result["scratchBytes"] for build in builds)
    written = max(build.run.written_bytes for build in builds)
    what = f"{sizes.model / MIB:g} MiB on a base of {sum(sizes.base) / MIB:g} MiB"
    result.add("append_seconds", seconds, "s", f"the builder's process from start to end, {what}", 4)
    result.add("append_control_seconds", median(control), "s", "a bare client pushes the same bytes, in turn")
    result.add("append_cached_seconds", cached, "s", "the same process with nothing to do", 0.3)
    result.add("append_scratch_bytes", scratch, "B", "on scratch space, as the builder told it", 0)
    result.add("append_written_bytes", written, "B", "what the kernel saw it write to disks, its result included")
    result.add("append_digests", len(digests), "1", f"different ones, of {2 * repeats} builds of the same", 1)
    return seconds


def _compare(result: Result, name: str, ours: float, build: Callable[[], Rivalry]) -> None:
    """Add what another program takes; say why where it cannot be had."""
    os.sync()
    try:
        with step(name):
            found = build()
    except TestbedError as error:
        say(f"{name}: {error}")
        result.missing[f"append_vs_{name}_speedup"] = str(error)
        return
    result.samples[name] = found.raw()
    steps = " + ".join(found.steps)
    result.add(f"append_vs_{name}_speedup", found.seconds / ours, "1", f"{name}'s time over append_seconds")
    result.add(f"{name}_seconds", found.seconds, "s", f"{name}, the same image: {steps}")
    result.add(f"{name}_memory_mib", found.memory_bytes / MIB, "MiB", "the most of its programs had resident")
    result.add(f"{name}_disk_mib", found.disk_bytes / MIB, "MiB", "what lay on the disk at its end")
    for variant, run in found.variants.items():
        whole = [run if variant.startswith(step) else each for step, each in found.steps.items()]
        seconds = sum(each.seconds for each in whole)
        result.add(f"{name}_{variant}_seconds", seconds, "s", f"{name} with {variant.replace('_', ' ')}")


def _built(pod: Pod, model: str, repository: str) -> Build:
    # What the last build left to be written is not this one's.
    os.sync()
    return pod.build(model, repository)


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while piece := file.read(PIECE):
            yield piece
