"""The program for the base image, with a real pip in an environment like a base's, against a real index."""

import hashlib
import json
import socket
import subprocess
import venv
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from certificates import Authority

from testbed.wheel_index import WheelIndex, wheel_of_installed, write_sdist, write_wheel
from torchserve_operator.builder import requirements
from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.in_base import bundle

PASSWORD = "hunter2/of the@index"
BACKEND = """
import os, zipfile
def get_requires_for_build_wheel(settings=None):
    return []
def build_wheel(folder, settings=None, metadata=None):
    name = "pure-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        wheel.writestr("pure.py", "BUILT = True")
        wheel.writestr("pure-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: pure\\nVersion: 1.0\\n")
        wheel.writestr("pure-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("pure-1.0.dist-info/RECORD", "")
    return name
"""
EXTENSION = """
from setuptools import Extension, setup
setup(name="native", version="1.0", ext_modules=[Extension("native", ["native.c"])])
"""


@dataclass
class Base:
    """A Python as in a base image."""

    python: Path
    scratch: Path

    def path(self) -> str:
        """PATH of the image: no compiler on it."""
        return str(self.python.parent)


@dataclass
class Ran:
    """What the program left."""

    code: int
    out: Path
    said: str
    termination: str
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def result(self) -> dict[str, Any]:
        """Content of result.json."""
        content: dict[str, Any] = json.loads((self.out / "result.json").read_text())
        return content

    @property
    def packages(self) -> dict[str, str]:
        """Versions by name."""
        assert self.code == 0, self.said
        return {package["name"]: package["version"] for package in self.result["packages"]}

    @property
    def error(self) -> BuildError:
        """The error as the builder reads it; it is told in every way there is."""
        assert self.code in {1, 75}, self.said
        assert json.loads(self.termination) == {"schema": 1, "error": self.result["error"]}
        with pytest.raises(BuildError) as caught:
            requirements.read(self.out)
        assert self.said.rstrip().endswith(f"error: {caught.value}")
        return caught.value


Run = Callable[..., Ran]


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheels of the pip and the setuptools that this project locks."""
    folder = tmp_path_factory.mktemp("packed")
    for name in ("pip", "setuptools"):
        wheel_of_installed(folder, name)
    return folder


@pytest.fixture(scope="session")
def make_base(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Base]:
    """Makes a Python with TorchServe, torch and numpy (without their content)."""

    def make(*, pip: str = "locked", torchserve: bool = True) -> Base:
        folder = tmp_path_factory.mktemp("base")
        venv.create(folder / "venv", with_pip=pip == "its own", symlinks=True)
        python = folder / "venv" / "bin" / "python"
        [site] = (folder / "venv").glob("lib/python*/site-packages")
        # Its own requirement is not there, as with Debian's torch.
        wheels = [write_wheel(folder, "torch", "2.6.0", {"torch/__init__.py": ""}, requires=["sympy>=1.13"])]
        wheels += [write_wheel(folder, "numpy", "1.26.4", {"numpy/__init__.py": ""})]
        if torchserve:
            wheels += [write_wheel(folder, "torchserve", "0.12.0", {"ts/__init__.py": ""})]
        wheels += packed.glob("setuptools-*")
        wheels += packed.glob("pip-*") if pip == "locked" else ()
        if pip == "old":
            wheels += [write_wheel(folder, "pip", "21.3.1", {"pip/__init__.py": "__version__ = '21.3.1'"})]
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(site)
        # As in an image: pip is compiled, or it would be at each run.
        subprocess.run([python, "-m", "compileall", "-q", site], check=True)
        return Base(python, folder)

    return make


def add(base: Base, wheel: Path) -> None:
    """Install one more wheel into the base."""
    [site] = base.python.parents[1].glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)


@pytest.fixture(scope="session")
def base(make_base: Callable[..., Base]) -> Base:
    """With the pip that this project locks."""
    return make_base()


@pytest.fixture(scope="session", params=["locked", "its own"])
def each_base(request: pytest.FixtureRequest, make_base: Callable[..., Base]) -> Base:
    """That one, and one with the pip that comes with the interpreter: what pip says differs from version to version."""
    if request.param == "locked":
        locked: Base = request.getfixturevalue("base")
        return locked
    return make_base(pip=request.param)


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """The folder that the index serves."""
    folder = tmp_path / "wheels"
    write_wheel(folder, "greeting", "1.0", {"greeting/__init__.py": "WORD = 'hello'"}, requires=["numpy>=1.20", "leaf"])
    write_wheel(folder, "leaf", "1.0", {"leaf.py": ""})
    write_wheel(folder, "leaf", "2.0", {"leaf.py": ""})
    write_wheel(folder, "torch", "2.8.0", {"torch/__init__.py": ""})
    write_wheel(folder, "numpy", "2.1.0", {"numpy/__init__.py": "", "numpy/new.py": ""})
    return folder


@contextmanager
def secret(folder: Path, **files: str) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("ca_crt", "ca.crt")).write_text(content)
    yield folder


@pytest.fixture
def run(wheels: Path, tmp_path: Path) -> Iterator[Run]:
    """Runs the program as the init container does: no home, a read-only place of its own, no compiler."""
    tool = tmp_path / "requirements.pyz"
    tool.write_bytes(bundle())
    with WheelIndex(wheels) as public:

        def start(base: Base, *lines: str, index: Mapping[str, str] | None = None, **environment: str) -> Ran:
            plan = tmp_path / "requirements.json"
            plan.write_text(json.dumps(requirements.from_lines(lines).plan()))
            settings = {"PIP_INDEX_URL": public.url} if index is None else index
            termination = tmp_path / "termination-log"
            termination.touch()
            (tmp_path / "tmp").mkdir(exist_ok=True)
            out = tmp_path / "out"
            with secret(tmp_path / "index", **settings) as folder:
                done = subprocess.run(
                    [
                        *(base.python, "-B", tool, "--plan", plan, "--index", folder, "--out", out),
                        *("--termination-log", termination),
                    ],
                    env={"PATH": base.path(), "TMPDIR": str(tmp_path / "tmp"), **environment},
                    cwd="/",
                    capture_output=True,
                    text=True,
                    check=False,
                )
            assert list((tmp_path / "tmp").iterdir()) == [], "it leaves nothing behind"
            return Ran(done.returncode, out, done.stdout + done.stderr, termination.read_text())

        yield start


def imported(base: Base, site: Path, expression: str) -> str:
    """What an expression is in the base's Python with the folder first on its path, as in the built image."""
    done = subprocess.run(
        [base.python, "-B", "-c", f"print({expression})"],
        env={"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_what_the_base_lacks_is_installed_and_what_it_has_is_not(each_base: Base, run: Run) -> None:
    ran = run(each_base, "greeting")
    assert ran.packages == {"greeting": "1.0", "leaf": "2.0"}
    assert imported(each_base, ran.out / "site", "__import__('greeting').WORD") == "hello"
    installed = requirements.read(ran.out)
    assert "greeting/__init__.py" in [file.path for file in installed.files]
    assert installed.packages[0].size >= len("WORD = 'hello'")


def test_no_second_torch_arrives_where_one_that_fits_is_there(base: Base, wheels: Path, run: Run) -> None:
    write_wheel(wheels, "transformers", "4.57.1", {"transformers.py": ""}, requires=["torch>=2.2", "leaf"])
    ran = run(base, "transformers", "torch>=2.0")
    assert ran.packages == {"leaf": "2.0", "transformers": "4.57.1"}
    assert not (ran.out / "site" / "torch").exists()


def test_an_extra_of_a_package_of_the_base_brings_what_it_needs(make_base: Callable[..., Base], run: Run) -> None:
    base = make_base()
    requires = ["gone", 'leaf>=2; extra == "more"']
    add(base, write_wheel(base.scratch, "library", "1.0", {"library.py": ""}, requires=requires, extras=["more"]))
    assert run(base, "library[more]").packages == {"leaf": "2.0"}


def test_a_package_that_needs_another_torch_is_refused_with_who_needs_it(
    each_base: Base, wheels: Path, run: Run
) -> None:
    write_wheel(wheels, "modern", "3.0", {"modern.py": ""}, requires=["torch>=2.8"])
    error = run(each_base, "leaf", "modern").error
    assert error.field == "spec.build.requirements[1]"
    assert error.message == "torch 2.6.0 of the base image would be replaced by 2.8.0: modern 3.0 requires torch>=2.8"
    assert error.hint == "take versions that fit, or a base image with the torch you need"


def test_torch_is_not_replaced_even_on_purpose(base: Base, run: Run) -> None:
    error = run(base, "torch==2.8.0").error
    assert error.message.endswith('replaced by 2.8.0: the requirements ask for "torch==2.8.0"')


def test_a_package_of_the_base_is_replaced_only_when_pinned_on_purpose(base: Base, wheels: Path, run: Run) -> None:
    write_wheel(wheels, "newer", "1.0", {"newer.py": ""}, requires=["numpy>=2"])
    error = run(base, "newer").error
    assert error.message == "numpy 1.26.4 of the base image would be replaced by 2.1.0: newer 1.0 requires numpy>=2"
    assert error.hint == "take versions that fit, or write numpy==2.1.0 to replace it on purpose"

    ran = run(base, "newer", "numpy==2.1.0")
    assert ran.packages == {"newer": "1.0", "numpy": "2.1.0"}
    assert ran.result["replaced"] == ["numpy"]
    assert imported(base, ran.out / "site", "__import__('numpy.new').new.__name__") == "numpy.new"


def test_what_a_replaced_package_breaks_in_the_base_is_a_warning(make_base: Callable[..., Base], run: Run) -> None:
    base = make_base()
    add(base, write_wheel(base.scratch, "old", "1.0", {"old.py": ""}, requires=["numpy<2"]))
    ran = run(base, "numpy==2.1.0")
    assert ran.result["warnings"] == ["old 1.0 has requirement numpy<2, but you have numpy 2.1.0"]


def test_nothing_is_installed_where_the_base_has_everything(base: Base, run: Run) -> None:
    ran = run(base, "numpy>=1.20", 'nothing-of-this-index; python_version < "3"')
    assert ran.packages == {}
    assert requirements.read(ran.out).files == ()


def test_the_same_requirements_give_the_same_bytes(base: Base, wheels: Path, run: Run) -> None:
    files: dict[str, str | bytes] = {
        "tool/__init__.py": "",
        "tool/__pycache__/stale.pyc": b"\0",
        "tool/data.bin": bytes(range(256)),
    }
    write_wheel(wheels, "tool", "1.0", files, scripts={"tool": "tool:main"})
    first = requirements.read(run(base, "tool", "greeting").out)
    before = first.digest()
    second = requirements.read(run(base, "tool", "greeting").out)
    assert second.digest() == before
    assert [file.path for file in first.files] == [file.path for file in second.files]
    assert not [file.path for file in first.files if "__pycache__" in file.path or file.path.endswith(".pyc")]
    assert [file.path for file in first.files if file.executable] == ["bin/tool"]


def test_what_an_earlier_try_left_is_gone(base: Base, run: Run, tmp_path: Path) -> None:
    left = tmp_path / "out" / "site" / "half"
    left.mkdir(parents=True)
    (left / "module.py").touch()
    run(base, "leaf")
    assert not left.exists()


def test_a_requirement_that_no_version_fits_is_named_with_the_versions_there_are(each_base: Base, run: Run) -> None:
    error = run(each_base, "greeting", "leaf>=3").error
    assert error.field == "spec.build.requirements[1]"
    assert error.message == "no version of leaf fits leaf>=3; the index has 1.0, 2.0"


def test_a_package_that_the_index_does_not_have_is_named(each_base: Base, run: Run) -> None:
    error = run(each_base, "no-such-package").error
    assert error.message.startswith("no version of no-such-package fits no-such-package: the index has none for this")


@pytest.mark.parametrize("says_python", [True, False])
def test_a_package_for_another_python_is_named_with_the_bases(
    each_base: Base, wheels: Path, run: Run, *, says_python: bool
) -> None:
    write_wheel(wheels, "future", "1.0", {"future.py": ""}, requires_python=">=4")
    with WheelIndex(wheels, says_python=says_python) as index:
        message = run(each_base, "future", index={"PIP_INDEX_URL": index.url}).error.message
    assert "the base image has " in message
    assert ">=4" in message


def test_requirements_that_contradict_each_other_are_named(each_base: Base, wheels: Path, run: Run) -> None:
    write_wheel(wheels, "wants-one", "1.0", {"one.py": ""}, requires=["leaf<2"])
    write_wheel(wheels, "wants-two", "1.0", {"two.py": ""}, requires=["leaf>=2"])
    message = run(each_base, "wants-one", "wants-two").error.message
    assert "wants-one 1.0 depends on leaf<2" in message
    assert "wants-two 1.0 depends on leaf>=2" in message


def hashed(wheel: Path, name: str) -> str:
    version = wheel.name.split("-")[1]
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"


def test_hashes_are_checked(each_base: Base, wheels: Path, run: Run) -> None:
    right = hashed(wheels / "leaf-2.0-py3-none-any.whl", "leaf")
    assert run(each_base, right).packages == {"leaf": "2.0"}

    wrong = f"leaf==2.0 --hash=sha256:{'0' * 64}"
    error = run(each_base, wrong).error
    assert error.field == "spec.build.requirements[0]"
    assert error.message.startswith("leaf: expected a file with the hash sha256:000000000000…, the index has ")


def test_a_dependency_without_a_hash_is_named_where_others_have_one(each_base: Base, wheels: Path, run: Run) -> None:
    error = run(each_base, hashed(wheels / "greeting-1.0-py3-none-any.whl", "greeting")).error
    assert error.message.startswith("where one line has a hash, all packages need name==version and one; not so: ")
    assert "leaf" in error.message


def test_pure_source_is_built(base: Base, wheels: Path, run: Run) -> None:
    project = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    write_sdist(wheels, "pure", "1.0", {"pyproject.toml": project, "backend.py": BACKEND})
    ran = run(base, "pure")
    assert ran.packages == {"pure": "1.0"}
    assert imported(base, ran.out / "site", "__import__('pure').BUILT") == "True"


def test_pure_source_is_built_with_the_bases_setuptools_where_the_index_has_none(
    base: Base, wheels: Path, run: Run
) -> None:
    setup = 'from setuptools import setup\nsetup(name="classic", version="1.0", py_modules=["classic"])\n'
    write_sdist(wheels, "classic", "1.0", {"setup.py": setup, "classic.py": ""})
    assert run(base, "classic").packages == {"classic": "1.0"}


def test_source_that_needs_a_compiler_is_named_with_what_to_do(each_base: Base, wheels: Path, run: Run) -> None:
    write_sdist(wheels, "native", "1.0", {"setup.py": EXTENSION, "native.c": "int x;"})
    error = run(each_base, "leaf", "native").error
    assert error.field == "spec.build.requirements[1]"
    assert error.message.startswith("native has no wheel for this base image (Python 3.")
    assert error.message.endswith(" and needs a compiler")
    assert error.hint == "give a wheel by your index, or use a base image of your own that has the package"


def test_source_that_does_not_build_is_named_with_its_own_words(each_base: Base, wheels: Path, run: Run) -> None:
    write_sdist(wheels, "broken", "1.0", {"setup.py": "raise RuntimeError('left unfinished')"})
    error = run(each_base, "broken").error
    assert error.message == "broken comes as source and does not build: RuntimeError: left unfinished"


def test_a_package_that_needs_a_pth_file_is_unsupported(base: Base, wheels: Path, run: Run) -> None:
    write_wheel(wheels, "hooked", "1.0", {"hooked.py": "", "hooked.pth": "import hooked\n"})
    error = run(base, "leaf", "hooked").error
    assert error.message.startswith("hooked 1.0 is unsupported: it needs hooked.pth")
    assert error.hint == "use a base image of your own that has it"


def test_a_pth_file_that_is_not_needed_is_left_out_with_a_warning(base: Base, wheels: Path, run: Run) -> None:
    write_wheel(wheels, "spaced", "1.0", {"spaces/part.py": "", "spaced-1.0-nspkg.pth": "import sys"})
    ran = run(base, "spaced")
    assert ran.result["warnings"] == ["spaced 1.0: spaced-1.0-nspkg.pth was left out; it is not needed"]
    assert not list((ran.out / "site").glob("*.pth"))


@pytest.fixture
def private(wheels: Path, tmp_path: Path, authority: Authority) -> Iterator[WheelIndex]:
    """An index with a password and a certificate of a private CA."""
    issued = authority.issue("localhost")
    (tmp_path / "tls.crt").write_text(issued.certificate)
    (tmp_path / "tls.key").write_text(issued.key)
    with WheelIndex(wheels, password=PASSWORD, certificate=(tmp_path / "tls.crt", tmp_path / "tls.key")) as index:
        yield index


def address(index: WheelIndex, password: str = PASSWORD) -> str:
    return f"https://robot:{quote(password, safe='')}@localhost:{index.host.rpartition(':')[2]}/simple/"


def everything_told(ran: Ran) -> str:
    """All text that leaves the container: its log, its result, its layer."""
    content = b"".join(path.read_bytes() for path in ran.out.rglob("*") if path.is_file())
    return ran.said + ran.termination + content.decode(errors="replace")


def test_a_private_index_is_used_and_its_password_appears_nowhere(
    base: Base, private: WheelIndex, authority: Authority, run: Run
) -> None:
    ran = run(base, "greeting", index={"PIP_INDEX_URL": address(private), "ca_crt": authority.certificate})
    assert ran.packages == {"greeting": "1.0", "leaf": "2.0"}
    assert private.requests
    assert "hunter2" not in everything_told(ran)
    assert "robot" not in everything_told(ran)


@pytest.mark.parametrize("lines", [["no-such-package"], ["leaf>=3"], ["broken"], ["torch==2.8.0"]])
def test_no_failure_tells_the_password(
    base: Base, private: WheelIndex, wheels: Path, authority: Authority, run: Run, lines: list[str]
) -> None:
    write_sdist(wheels, "broken", "1.0", {"setup.py": "import os; raise RuntimeError(dict(os.environ))"})
    ran = run(base, *lines, index={"PIP_INDEX_URL": address(private), "ca_crt": authority.certificate})
    assert ran.code == 1
    assert "hunter2" not in everything_told(ran)


def test_wrong_credentials_are_named_without_being_told(
    each_base: Base, private: WheelIndex, authority: Authority, run: Run
) -> None:
    wrong = address(private, "swordfish")
    ran = run(each_base, "leaf", index={"PIP_INDEX_URL": wrong, "ca_crt": authority.certificate})
    assert ran.error.field == "spec.build.indexSecretName"
    assert ran.error.message == f"the index localhost:{private.host.rpartition(':')[2]} refuses the credentials"
    assert "swordfish" not in everything_told(ran)


def test_a_certificate_that_is_not_trusted_is_named(each_base: Base, private: WheelIndex, run: Run) -> None:
    error = run(each_base, "leaf", index={"PIP_INDEX_URL": address(private)}, PIP_RETRIES="0").error
    assert error.field == "spec.build.indexSecretName"
    assert "is not trusted" in error.message
    assert error.hint == "put its CA into ca.crt of the Secret"


def test_an_index_that_cannot_be_reached_is_named(each_base: Base, run: Run) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{unused.getsockname()[1]}"
        ran = run(each_base, "leaf", index={"PIP_INDEX_URL": f"http://{host}/simple/"})
    error = ran.error
    assert ran.code == 75, "another try may go well"
    assert error.message.startswith(f"the package index {host} cannot be reached: ")
    assert error.hint.startswith("name an index that the cluster reaches")


def test_settings_that_an_image_has_for_its_own_use_do_no_harm(base: Base, run: Run) -> None:
    own = {"PIP_TARGET": "/nowhere", "PIP_USER": "1", "PIP_REQUIRE_VIRTUALENV": "1", "HOME": "/nonexistent"}
    assert run(base, "leaf", **own).packages == {"leaf": "2.0"}


@pytest.mark.parametrize(
    ("base_like", "message"),
    [
        ({"pip": "none"}, "has no pip"),
        ({"pip": "old"}, "the base image has pip 21.3.1, 22.2 or newer is needed"),
        ({"torchserve": False}, "has no TorchServe"),
    ],
)
def test_a_base_that_does_not_fit_is_named(
    make_base: Callable[..., Base], run: Run, base_like: dict[str, Any], message: str
) -> None:
    error = run(make_base(**base_like), "leaf").error
    assert error.field == "spec.build.baseImage"
    assert message in error.message
