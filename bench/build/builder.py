"""The project's builder as a build's pod runs it: `torchserve-operator builder run --plan`, a process of its own."""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.build.process import Run, run
from bench.build.registry import noise

CLAIM = "models"
_HANDLER = """\
from ts.torch_handler.base_handler import BaseHandler


class Handler(BaseHandler):
    pass
"""


@dataclass(frozen=True)
class Build:
    """One build.

    Attributes:
        run: As it was seen from outside.
        result: What the builder told of itself in its termination message.
    """

    run: Run
    result: dict[str, Any]

    @property
    def memory_bytes(self) -> int:
        """The larger of what the bench saw and what the builder knew at its end."""
        return max(self.run.memory_bytes, int(self.result["memoryPeakBytes"]))

    def raw(self) -> dict[str, Any]:
        """What is worth keeping, by name."""
        told = ("digest", "bytesUploaded", "scratchBytes", "memoryPeakBytes")
        return self.run.raw() | {key: self.result[key] for key in told} | {"stages": self.result["seconds"]}


class Pod:
    """The folders that a build's pod has mounted, and builds in it.

    Args:
        folder: Of its own.
        base: The base image's reference, on a registry that speaks plain HTTP.
    """

    def __init__(self, folder: Path, base: str) -> None:
        self._folder = folder
        self._base = base
        self._host = base.partition("/")[0]
        for name in ("plan", "spool", "tmp"):
            (folder / name).mkdir(parents=True)

    def model(self, name: str, size: int) -> Path:
        """Put a model of so many bytes, which no compression makes smaller, into the volume; return its folder."""
        folder = self._folder / "claims" / CLAIM / name
        folder.mkdir(parents=True)
        (folder / "handler.py").write_text(_HANDLER)
        with (folder / "model.pt").open("wb") as file:
            for piece in noise(size, size):
                file.write(piece)
        return folder

    def build(self, model: str, repository: str) -> Build:
        """Build the image of one model, and push it."""
        plan = self._folder / "plan" / "plan.json"
        plan.write_text(json.dumps(self._plan(model, f"{self._host}/{repository}")))
        told = self._folder / "termination-log"
        told.unlink(missing_ok=True)
        program = shutil.which("torchserve-operator", path=str(Path(sys.executable).parent))
        words: list[str | Path] = [program] if program else [sys.executable, "-m", "torchserve_operator"]
        words += ["builder", "run", "--plan", plan, "--run-dir", self._folder, "--port", "0"]
        words += ["--push-config", self._folder / "docker" / "config.json", "--ca", self._folder / "ca" / "ca.crt"]
        done = run([*words, "--termination-log", told], {"TMPDIR": str(self._folder / "tmp")})
        return Build(done, json.loads(told.read_bytes()))

    def _plan(self, model: str, repository: str) -> dict[str, Any]:
        package = {"source": {"url": f"pvc://{CLAIM}/{model}"}, "handler": "handler.py", "serializedFile": "model.pt"}
        return {
            "schema": 1,
            "owner": "bench/model",
            "base": self._base,
            "repository": repository,
            "tags": ["latest"],
            "registryMirrors": {self._host: f"http://{self._host}"},
            "models": [{"name": "model", "package": package, "field": "spec.models[0]"}],
        }
