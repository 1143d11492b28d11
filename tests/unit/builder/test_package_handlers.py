"""The checks of handlers against TorchServe's own loader: what it loads is accepted, what it cannot load is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from torchserve_operator.api.build import PackageSpec
from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.files import of_bytes
from torchserve_operator.builder.package import package_files

GOOD = "    def initialize(self, context): ...\n    def handle(self, data, context): ...\n"
BASE = f"class Base:\n{GOOD}"
INHERITED = "from base import Base\nclass Handler(Base): ..."
TWO = "class A: ...\nclass B: ..."
TWICE = "try:\n    class A(missing): ...\nexcept NameError:\n    class A:\n        initialize = handle = print"
TESTED = f"class A:\n{GOOD}\nif __name__ == '__main__':\n    class B: ..."

CASES = {
    "a class": (f"class Handler:\n{GOOD}", "handler.py", True),
    "a class by its name": (f"class Handler:\n{GOOD}", "handler.py:Handler", True),
    "a class of an imported one": (INHERITED, "handler.py", True),
    "a class of an imported one by its name": (INHERITED, "handler.py:Handler", True),
    "a function handle": ("def handle(data, context): ...", "handler.py", True),
    "a function handle beside two classes": (f"{TWO}\ndef handle(data, context): ...", "handler.py", True),
    "a function by its name": ("def serve(data, context): ...", "handler.py:serve", True),
    "a variable by its name": ("serve = lambda data, context: None", "handler.py:serve", True),
    "a global of a function": ("def start():\n    global serve\n    serve = print\nstart()", "handler.py:serve", True),
    "an imported handle": ("from base import serve as handle", "handler.py", True),
    "all of another file": ("from base import *", "handler.py:serve", True),
    "one class that is there twice": (TWICE, "handler.py", True),
    "another class for tests": (TESTED, "handler.py", True),
    "methods that are assigned": ("class A:\n    initialize = print\n    handle = print", "handler.py", True),
    "nothing": ("x = 1", "handler.py", False),
    "an imported class alone": ("from base import Base", "handler.py", False),
    "two classes": (f"class A:\n{GOOD}\nclass B:\n{GOOD}", "handler.py", False),
    "no method handle": ("class A:\n    def initialize(self, context): ...", "handler.py", False),
    "no method initialize": ("class A:\n    def handle(self, data, context): ...", "handler.py", False),
    "what is not Python": ("class A:\n  def", "handler.py", False),
}

LOAD = """
import sys
from ts.model_loader import TsModelLoader
sys.path.insert(0, sys.argv[1])
TsModelLoader().load("net", sys.argv[1], handler=sys.argv[2], batch_size=1)
"""


def torchserve_loads(folder: Path, handler: str, scratch: Path) -> bool:
    """Whether TorchServe makes a service of a handler. Torch itself is imported by it and not used."""
    (scratch / "torch").mkdir(parents=True, exist_ok=True)
    (scratch / "torch" / "__init__.py").touch()
    command = [sys.executable, "-B", "-c", LOAD, str(folder), handler]
    environment = {**os.environ, "PYTHONPATH": str(scratch), "HOME": str(scratch)}
    return subprocess.run(command, check=False, capture_output=True, env=environment, cwd=scratch).returncode == 0


@pytest.mark.parametrize("case", CASES)
def test_a_handler_is_accepted_when_torchserve_can_load_it(case: str, tmp_path: Path) -> None:
    text, handler, loads = CASES[case]
    source = {"handler.py": text, "base.py": f"{BASE}\ndef serve(data, context): ...\n"}
    spec = PackageSpec.model_validate({"source": {"url": "pvc://a/"}, "handler": handler, "extraFiles": ["base.py"]})
    folder, manifest_handler = tmp_path / "net", handler
    try:
        files = package_files(
            [of_bytes(path, content.encode()) for path, content in source.items()],
            spec,
            name="net",
            version="1",
            field="package",
            limit=0,
        )
    except BuildError:
        accepted = False
    else:
        accepted = True
        (manifest,) = (file for file in files if file.path == "MAR-INF/MANIFEST.json")
        manifest_handler = json.loads(b"".join(manifest.chunks()))["model"]["handler"]
    folder.mkdir()
    for path, content in source.items():
        (folder / path).write_text(content)
    assert torchserve_loads(folder, manifest_handler, tmp_path / "scratch") is loads
    assert accepted is loads


def test_torchserve_could_not_be_told_a_class(tmp_path: Path) -> None:
    """Why `handler.py:Handler` becomes `handler.py` in the manifest."""
    (tmp_path / "handler.py").write_text(f"class Handler:\n{GOOD}")
    assert not torchserve_loads(tmp_path, "handler.py:Handler", tmp_path / "scratch")
    assert torchserve_loads(tmp_path, "handler.py", tmp_path / "scratch")
