"""A model's parts as its folder: what torch-model-archiver makes of them, or one line that says what is wrong."""

import io
import json
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve_operator.api.build import PackageSpec
from torchserve_operator.builder.archive import model_files
from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.files import File, of_bytes
from torchserve_operator.builder.handlers import function_handler
from torchserve_operator.builder.package import package_files

FIELD = "spec.models[0].package"
MANIFEST = "MAR-INF/MANIFEST.json"
HANDLER = b"class Handler:\n    def initialize(self, context): ...\n    def handle(self, data, context): ...\n"
MODEL = b"import torch\nclass Net(torch.nn.Module): ...\n"


def packed(source: Mapping[str, bytes], **fields: Any) -> tuple[File, ...]:
    spec = PackageSpec.model_validate({"source": {"url": "pvc://parts/"}, **fields})
    files = [of_bytes(path, content) for path, content in source.items()]
    return package_files(files, spec, name="net", version="1.0", field=FIELD, limit=1 << 20)


def content(file: File) -> bytes:
    return b"".join(file.chunks())


def read(files: tuple[File, ...]) -> dict[str, bytes]:
    return {file.path: content(file) for file in files}


def refusal(source: Mapping[str, bytes], **fields: Any) -> str:
    """What the user reads, without `spec.models[0].package`."""
    with pytest.raises(BuildError) as raised:
        packed(source, **fields)
    assert "\n" not in str(raised.value)
    return str(raised.value).removeprefix(f"{FIELD}.")


def zipped(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, found in files.items():
            archive.writestr(path, found)
    return buffer.getvalue()


def tarred(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path, found in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(found)
            archive.addfile(entry, io.BytesIO(found))
    return buffer.getvalue()


# ---- as torch-model-archiver

PARTS = {
    "handler.py": HANDLER,
    "src/serve.py": HANDLER,
    "functions.py": b"def serve(data, context): ...\n",
    "model.py": MODEL,
    "net.pt": b"weights",
    "weights/best.pt": b"best",
    "requirements.txt": b"numpy",
    "conf/model-config.yaml": b"minWorkers: 1",
    "index_to_name.json": b"{}",
    "labels.txt": b"a",
    ".hidden.txt": b"b",
    "tokenizer/vocab.json": b"{}",
    "tokenizer/merges/a.txt": b"m",
    "tokenizer/merges/deep/b.txt": b"n",
    "tokenizer/.cache/c.txt": b"left out",
    "tokenizer/merges/__pycache__/x.pyc": b"left out",
    "tokenizer/__MACOSX/x": b"left out",
    "tokenizer/.keep": b"kept",
    ".config/inner.txt": b"kept: it was asked for",
}

CASES: dict[str, dict[str, Any]] = {
    "a handler alone": {"handler": "handler.py"},
    "TorchScript": {"handler": "image_classifier", "serializedFile": "net.pt"},
    "an eager model": {"handler": "object_detector", "modelFile": "model.py", "serializedFile": "weights/best.pt"},
    "files of folders": {"handler": "src/serve.py", "serializedFile": "weights/best.pt"},
    "everything": {
        "handler": "handler.py",
        "modelFile": "model.py",
        "serializedFile": "net.pt",
        "extraFiles": ["index_to_name.json", "tokenizer/"],
        "requirementsFile": "requirements.txt",
        "configFile": "conf/model-config.yaml",
        "runtime": "python3",
    },
    "patterns": {"handler": "handler.py", "extraFiles": ["*.txt", "conf/*", "t?kenizer", "[i-j]*.json"]},
    "a pattern of hidden ones": {"handler": "handler.py", "extraFiles": [".h*"]},
    "a hidden folder": {"handler": "handler.py", "extraFiles": [".config"]},
    "the same file twice": {
        "handler": "handler.py",
        "serializedFile": "net.pt",
        "extraFiles": ["net.pt", "handler.py"],
    },
    "the whole source": {"handler": "handler.py", "extraFiles": ["."]},
}


def archived(source: Mapping[str, bytes], fields: Mapping[str, Any], form: str, tmp_path: Path) -> dict[str, bytes]:
    """What the real torch-model-archiver makes of it."""
    parts, out, scratch = tmp_path / "parts", tmp_path / "out", tmp_path / "scratch"
    for folder in (parts, out, scratch):
        folder.mkdir()
    for path, found in source.items():
        (parts / path).parent.mkdir(parents=True, exist_ok=True)
        (parts / path).write_bytes(found)
    options = {
        "handler": fields["handler"],
        "model-file": fields.get("modelFile"),
        "serialized-file": fields.get("serializedFile"),
        "extra-files": ",".join(fields.get("extraFiles", ())) or None,
        "requirements-file": fields.get("requirementsFile"),
        "config-file": fields.get("configFile"),
        "runtime": fields.get("runtime"),
        "model-name": "net",
        "version": "1.0",
        "export-path": str(out),
        "archive-format": form,
    }
    given_options = [text for key, value in options.items() if value for text in (f"--{key}", value)]
    # it gathers a model's files in a folder of the temporary one
    subprocess.run(
        [sys.executable, "-m", "model_archiver.model_packaging", *given_options],
        cwd=parts,
        check=True,
        env={"TMPDIR": str(scratch)},
    )
    if form == "no-archive":
        folder = out / "net"
        return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    (made,) = out.iterdir()

    @dataclass
    class Made:
        name: str

        def open(self) -> BinaryIO:
            return made.open("rb")

    return read(model_files(Made(made.name), FIELD, 1 << 20))


@pytest.mark.parametrize("form", ["default", "tgz", "no-archive"])
@pytest.mark.parametrize("case", CASES)
def test_the_folder_is_the_one_that_torch_model_archiver_makes(case: str, form: str, tmp_path: Path) -> None:
    theirs = archived(PARTS, CASES[case], form, tmp_path)
    ours = read(packed(PARTS, **CASES[case]))
    their_manifest, our_manifest = (json.loads(found.pop(MANIFEST)) for found in (theirs, ours))
    assert ours == theirs
    assert our_manifest | {"createdOn": ""} == their_manifest | {"createdOn": ""}


def test_the_manifest_is_the_same_bytes_each_time() -> None:
    files = read(packed(PARTS, **CASES["everything"]))
    assert files[MANIFEST].decode() == (
        '{\n  "createdOn": "01/01/1970 00:00:00",\n  "runtime": "python3",\n  "model": {\n    "modelName": "net",\n'
        '    "serializedFile": "net.pt",\n    "handler": "handler.py",\n    "modelFile": "model.py",\n'
        '    "modelVersion": "1.0",\n    "requirementsFile": "requirements.txt",\n'
        '    "configFile": "model-config.yaml"\n  },\n  "archiverVersion": "0.12.0"\n}\n'
    )


names = st.text(st.sampled_from("abcXYZ019_- ä"), min_size=1, max_size=6).map(lambda name: f"f{name}e")
trees = st.dictionaries(
    st.lists(names, min_size=1, max_size=3).map("/".join), st.binary(max_size=100), min_size=1, max_size=8
).map(lambda tree: {path: it for path, it in tree.items() if not any(key.startswith(f"{path}/") for key in tree)})


@given(trees)
def test_a_folder_that_is_packed_and_archived_comes_back_as_it_was(tree: dict[str, bytes]) -> None:
    files = packed({**tree, "handler.py": HANDLER}, handler="handler.py", extraFiles=["."])
    folder = read(files)
    assert {path: found for path, found in folder.items() if path != MANIFEST} == {**tree, "handler.py": HANDLER}

    @dataclass
    class Archived:
        content: bytes
        name: str = "net.mar"

        def open(self) -> BinaryIO:
            return io.BytesIO(self.content)

    assert read(model_files(Archived(zipped(folder)), FIELD, 1 << 20)) == folder
    wrapped = {f"net/{path}": found for path, found in folder.items()}
    assert read(model_files(Archived(tarred(wrapped)), FIELD, 1 << 20)) == folder


def test_a_file_stays_executable() -> None:
    spec = PackageSpec.model_validate(
        {"source": {"url": "pvc://parts/"}, "handler": "handler.py", "extraFiles": ["run"]}
    )
    source = [of_bytes("handler.py", HANDLER), of_bytes("run", b"", executable=True)]
    files = package_files(source, spec, name="net", version="1", field=FIELD, limit=1)
    assert [file.path for file in files if file.executable] == ["run"]


# ---- what is missing, and what is there twice


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"handler": "handle.py"}, 'handler: there is no handle.py in the source; did you mean "handler.py"?'),
        (
            {"handler": "handler.py", "serializedFile": "best.pt"},
            'serializedFile: there is no best.pt in the source; did you mean "weights/best.pt"?',
        ),
        (
            {"handler": "handler.py", "modelFile": "MODEL.PY"},
            'modelFile: there is no MODEL.PY in the source; did you mean "model.py"?',
        ),
        (
            {"handler": "handler.py", "configFile": "tokenizer/"},
            "configFile: tokenizer/ is a folder; expected a file",
        ),
        (
            {"handler": "handler.py", "requirementsFile": "zzz"},
            (
                "requirementsFile: there is no zzz in the source; it has .config/inner.txt, .hidden.txt,"
                " conf/model-config.yaml, functions.py, handler.py, index_to_name.json, labels.txt, model.py"
                " and 11 more"
            ),
        ),
        (
            {"handler": "handler.py", "extraFiles": ["labels.txt", "tokeniser"]},
            'extraFiles[1]: there is no tokeniser in the source; did you mean "tokenizer"?',
        ),
        (
            {"handler": "handler.py", "extraFiles": ["*.bin"]},
            (
                "extraFiles[0]: there is no *.bin in the source; it has .config/inner.txt, .hidden.txt,"
                " conf/model-config.yaml, functions.py, handler.py, index_to_name.json, labels.txt, model.py"
                " and 11 more"
            ),
        ),
    ],
)
def test_what_is_missing_is_told_with_what_was_meant(fields: dict[str, Any], says: str) -> None:
    assert refusal(PARTS, **fields) == says


def test_an_empty_source_is_told_as_one() -> None:
    assert refusal({}, handler="handler.py") == (
        "handler: there is no handler.py: the source is empty; a folder's URL ends with /"
    )


def test_two_files_that_would_be_one_are_refused() -> None:
    source = {"handler.py": HANDLER, "a/vocab.txt": b"1", "b/vocab.txt": b"2"}
    assert refusal(source, handler="handler.py", extraFiles=["a/vocab.txt", "b"]) == (
        "extraFiles[1]: a/vocab.txt and b/vocab.txt would both be vocab.txt in the model's folder;"
        " files lie side by side there, without their folders: rename one"
    )


def test_folders_of_one_name_are_put_together() -> None:
    source = {"handler.py": HANDLER, "a/sub/1": b"1", "b/sub/2": b"2"}
    assert {"sub/1", "sub/2"} < read(packed(source, handler="handler.py", extraFiles=["a", "b"])).keys()


def test_a_manifest_among_the_parts_is_refused() -> None:
    source = {"handler.py": HANDLER, MANIFEST: b"{}"}
    assert refusal(source, handler="handler.py", extraFiles=["."]) == (
        f"extraFiles[0]: brings {MANIFEST}, but the builder writes {MANIFEST}; leave it out"
    )


# ---- handlers


def handler_of(text: str, handler: str = "handler.py") -> str:
    """What the manifest calls the handler."""
    files = read(packed({"handler.py": text.encode()}, handler=handler))
    return str(json.loads(files[MANIFEST])["model"]["handler"])


CLASS = HANDLER.decode()


@pytest.mark.parametrize(
    ("text", "handler", "found"),
    [
        (CLASS, "handler.py", "handler.py"),
        (CLASS, "handler.py:Handler", "handler.py"),
        (
            "from ts.torch_handler.base_handler import BaseHandler\nclass Own(BaseHandler): ...",
            "handler.py:Own",
            "handler.py",
        ),
        ("def handle(data, context): ...", "handler.py", "handler.py"),
        ("def handle(data, context): ...\nclass A: ...\nclass B: ...", "handler.py", "handler.py"),
        ("def serve(data, context): ...", "handler.py:serve", "handler.py:serve"),
        ("async def serve(data, context): ...", "handler.py:serve", "handler.py:serve"),
        ("service = object()\nserve = service.handle", "handler.py:serve", "handler.py:serve"),
        ("def start():\n    global serve\n    serve = 1\nstart()", "handler.py:serve", "handler.py:serve"),
        ("from elsewhere import *", "handler.py", "handler.py"),
        ("from elsewhere import *", "handler.py:serve", "handler.py:serve"),
        ("from elsewhere import serve as handle", "handler.py", "handler.py"),
        (f"try:\n    import fast\nexcept ImportError:\n    handle = None\n{CLASS}", "handler.py", "handler.py"),
        (
            "try:\n    import a\n    class A(a.B): ...\nexcept ImportError:\n    class A: ...",
            "handler.py",
            "handler.py",
        ),
        (f"{CLASS}\nif __name__ == '__main__':\n    class Test: ...", "handler.py", "handler.py"),
    ],
)
def test_a_handler_that_torchserve_can_call_is_named_as_it_takes_it(text: str, handler: str, found: str) -> None:
    assert handler_of(text, handler) == found


TWO = "class A: ...\nclass B: ..."


@pytest.mark.parametrize(
    ("text", "handler", "says"),
    [
        (
            "x = 1",
            "handler.py",
            "handler.py defines no class; TorchServe expects exactly one or a function handle(data, context)",
        ),
        (
            TWO,
            "handler.py",
            (
                "handler.py defines 2 classes (A, B); TorchServe expects exactly one"
                " or a function handle(data, context); put the others into a file of extraFiles and import them"
            ),
        ),
        (
            TWO,
            "handler.py:B",
            (
                "handler.py defines 2 classes (A, B); TorchServe expects exactly one and cannot be told which;"
                " put the others into a file of extraFiles and import them"
            ),
        ),
        (
            f"{CLASS}\ndef handle(data, context): ...",
            "handler.py:Handler",
            "TorchServe would call handle of handler.py and not the class Handler; rename handle",
        ),
        (CLASS, "handler.py:Handlr", 'handler.py has no Handlr; did you mean "Handler"?'),
        (CLASS, "handler.py:zzz", "handler.py has no zzz; it has Handler"),
        ("x = 1", "handler.py:zzz", "handler.py has no zzz; it has none"),
        (
            "class H:\n    def initialize(self, context): ...",
            "handler.py",
            "handler.py: the class H has no handle; TorchServe calls it",
        ),
        (
            "class H:\n    def handle(self, data, context): ...",
            "handler.py:H",
            "handler.py: the class H has no initialize; TorchServe calls it",
        ),
        ("class H:\n  def", "handler.py", "handler.py, line 2 is not Python: invalid syntax"),
        ("(" * 5000, "handler.py", "handler.py, line 1 is not Python: too many nested parentheses"),
    ],
)
def test_a_handler_that_torchserve_could_not_call_is_refused(text: str, handler: str, says: str) -> None:
    assert refusal({"handler.py": text.encode()}, handler=handler) == f"handler: {says}"


def test_a_binary_file_is_no_handler() -> None:
    said = refusal({"handler.py": b"\x80\x02\x00"}, handler="handler.py")
    assert said.startswith("handler: handler.py")
    assert "is not Python" in said


def test_a_name_that_cannot_be_imported_is_refused() -> None:
    assert refusal({"my.handler.py": HANDLER}, handler="my.handler.py") == (
        'handler: my.handler.py cannot be imported as a module called "my.handler"; rename it without the dot'
    )


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "serializedFile: is required by image_classifier; or set modelFile"),
        (
            {"serializedFile": "net.pth"},
            (
                "serializedFile: image_classifier loads .pt, .onnx, .so alone; net.pth needs the model's class;"
                " set modelFile, or save the model as TorchScript (.pt)"
            ),
        ),
        (
            {"serializedFile": "net.pth", "modelFile": "two.py"},
            (
                "modelFile: two.py defines 2 classes (A, B); TorchServe expects exactly one for image_classifier;"
                " put the others into a file of extraFiles and import them"
            ),
        ),
        (
            {"serializedFile": "net.pth", "modelFile": "plain.py"},
            "modelFile: plain.py: the class Net extends nothing; expected torch.nn.Module",
        ),
    ],
)
def test_what_torchserves_own_handlers_could_not_load_is_refused(fields: dict[str, Any], says: str) -> None:
    source = {"net.pth": b"", "two.py": TWO.encode(), "plain.py": b"class Net: ..."}
    assert refusal(source, handler="image_classifier", **fields) == says


def test_a_handler_of_the_users_may_read_any_model_file() -> None:
    source = {"handler.py": HANDLER, "two.py": TWO.encode()}
    assert "two.py" in read(packed(source, handler="handler.py", modelFile="two.py"))


def test_a_python_file_is_not_larger_than_people_write_them() -> None:
    assert refusal({"handler.py": b"#" * ((4 << 20) + 1)}, handler="handler.py") == (
        "handler: handler.py has 4,194,305 bytes; expected a Python file of at most 4,194,304"
    )


# ---- archives that are unpacked

HELPERS = {"helpers/__init__.py": b"", "helpers/text.py": b"x = 1", "helpers/.git/HEAD": b"", "__MACOSX/._a": b""}


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_an_archive_of_unpack_becomes_its_files(pack: type) -> None:
    source = {"handler.py": HANDLER, "src/helpers.tgz": pack(HELPERS), "kept.zip": zipped({"a": b""})}
    extra = ["src/helpers.tgz", "kept.zip"]
    files = packed(source, handler="handler.py", extraFiles=extra, unpack=["src/helpers.tgz"])
    expected = ["MAR-INF/MANIFEST.json", "handler.py", "helpers/__init__.py", "helpers/text.py", "kept.zip"]
    assert [file.path for file in files] == expected
    assert read(files)["helpers/text.py"] == b"x = 1"


@pytest.mark.parametrize(
    ("archive", "says"),
    [
        (zipped({"../x": b""}), 'a.zip has an entry that leaves the archive: "../x"'),
        (
            zipped({"big": bytes((1 << 20) + 1)}),
            'a.zip unpacks to more than the limit of 1,048,576 bytes, reached at "big"; raise maxSize if that is meant',
        ),
        (
            zipped({"handler.py": b"2"}),
            (
                "handler.py and handler.py of a.zip would both be handler.py in the model's folder;"
                " files lie side by side there, without their folders: rename one"
            ),
        ),
        (bytes((8 << 20) + 1), "a.zip has 8,388,609 bytes; at most 8,388,608 are kept in memory"),
    ],
)
def test_an_archive_of_unpack_keeps_the_same_rules(archive: bytes, says: str) -> None:
    source = {"handler.py": HANDLER, "a.zip": archive}
    assert refusal(source, handler="handler.py", extraFiles=["a.zip"], unpack=["a.zip"]) == f"unpack[0]: {says}"


def test_a_large_archive_of_unpack_is_read_where_it_was_spooled(tmp_path: Path) -> None:
    def spool(file: File) -> Any:
        (tmp_path / "spooled").write_bytes(content(file))
        return lambda: (tmp_path / "spooled").open("rb")

    spec = PackageSpec.model_validate(
        {"source": {"url": "pvc://a/"}, "handler": "handler.py", "extraFiles": ["a.zip"], "unpack": ["a.zip"]}
    )
    source = [of_bytes("handler.py", HANDLER), of_bytes("a.zip", zipped({"x": bytes(9 << 20)}))]
    files = package_files(source, spec, name="net", version="1", field=FIELD, limit=1 << 30, spool=spool)
    assert read(files)["x"] == bytes(9 << 20)


# ---- functions

NET = b"""
def make(size, *, depth=1, device=None): ...
def decode(data): ...
class Label: ...
"""


def test_functions_get_the_handler_that_calls_them_and_its_settings() -> None:
    function = {
        "file": "src/net.py",
        "init": "make",
        "kwargs": {"size": "small", "depth": 2},
        "preprocess": "decode",
        "postprocess": "Label",
        "checkpoint": "weights/net.pt",
        "maxGPUMemory": "4Gi",
    }
    files = read(
        packed({"src/net.py": NET, "weights/net.pt": b"w", "a.txt": b""}, function=function, extraFiles=["a.txt"])
    )
    assert sorted(files) == [MANIFEST, "a.txt", "function.json", "net.pt", "net.py", "torchserve_function_handler.py"]
    assert files["torchserve_function_handler.py"] == function_handler()
    assert json.loads(files["function.json"]) == {**function, "file": "net.py", "checkpoint": "net.pt"}
    assert json.loads(files[MANIFEST])["model"] == {
        "modelName": "net",
        "handler": "torchserve_function_handler.py",
        "modelVersion": "1.0",
    }


def test_functions_that_are_not_given_are_left_out_of_the_settings() -> None:
    files = read(packed({"net.py": NET}, function={"file": "net.py", "init": "make"}))
    assert json.loads(files["function.json"]) == {"file": "net.py", "init": "make"}


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ({"init": "mak"}, 'init: net.py has no mak; did you mean "make"?'),
        ({"init": "make", "preprocess": "decoed"}, 'preprocess: net.py has no decoed; did you mean "decode"?'),
        (
            {"init": "decode", "kwargs": {"size": 1}},
            "kwargs.size: decode of net.py has no such keyword; it has data",
        ),
        (
            {"init": "make", "kwargs": {"sise": 1}},
            'kwargs.sise: make of net.py has no such keyword; did you mean "size"?',
        ),
        (
            {"init": "make", "kwargs": {"zzz": 1}},
            "kwargs.zzz: make of net.py has no such keyword; it has size, depth, device",
        ),
        (
            {"init": "make", "checkpoint": "net.pt"},
            'checkpoint: there is no net.pt in the source; did you mean "net.py"?',
        ),
    ],
)
def test_a_function_that_is_not_there_is_told_with_what_was_meant(function: dict[str, Any], says: str) -> None:
    assert refusal({"net.py": NET}, function={"file": "net.py", **function}) == f"function.{says}"


@pytest.mark.parametrize("source", [b"def make(**options): ...", b"import make", b"@wrapped\ndef make(): ..."])
def test_keywords_that_cannot_be_seen_are_left_to_the_handler(source: bytes) -> None:
    files = read(packed({"net.py": source}, function={"file": "net.py", "init": "make", "kwargs": {"size": 1}}))
    assert json.loads(files["function.json"])["kwargs"] == {"size": 1}


def test_a_file_with_the_name_of_the_builders_own_is_refused() -> None:
    source = {"net.py": NET, "function.json": b"{}"}
    assert refusal(source, function={"file": "net.py", "init": "make"}, extraFiles=["function.json"]) == (
        "extraFiles[0]: the builder's function.json and function.json would both be function.json"
        " in the model's folder; files lie side by side there, without their folders: rename one"
    )
