"""MAR-INF/MANIFEST.json: what is written is what is read, and what TorchServe takes."""

import json
from dataclasses import asdict

from hypothesis import given
from hypothesis import strategies as st

from torchserve_operator.builder.files import of_bytes
from torchserve_operator.builder.manifest import PATH, Manifest, files_named, parse

texts = st.text(min_size=1, max_size=20)
manifests = st.builds(
    Manifest,
    model_name=texts,
    model_version=texts,
    handler=texts,
    serialized_file=st.none() | texts,
    model_file=st.none() | texts,
    requirements_file=st.none() | texts,
    config_file=st.none() | texts,
    runtime=st.sampled_from(["python", "python3", "LSP"]),
)


def manifest(document: dict[str, object]) -> Manifest:
    return parse(of_bytes(PATH, json.dumps(document).encode()), "net.mar", "spec")


@given(manifests)
def test_a_manifest_is_read_as_it_was_written(written: Manifest) -> None:
    assert parse(written.file(), "net.mar", "spec") == written


@given(manifests)
def test_the_same_manifest_is_the_same_bytes(written: Manifest) -> None:
    again = Manifest(**asdict(written))
    assert list(written.file().chunks()) == list(again.file().chunks())


def test_what_torchserve_asks_for_is_there() -> None:
    written = json.loads(b"".join(Manifest("net", "1.0", "handler.py").file().chunks()))
    assert written == {
        "createdOn": "01/01/1970 00:00:00",
        "runtime": "python",
        "model": {"modelName": "net", "handler": "handler.py", "modelVersion": "1.0"},
        "archiverVersion": "0.12.0",
    }


def test_a_manifest_needs_no_more_than_its_handler() -> None:
    assert manifest({"model": {"handler": "text_classifier"}}) == Manifest("", "", "text_classifier")


def test_a_version_may_be_a_number() -> None:
    assert manifest({"model": {"handler": "a", "modelVersion": 1.5}}).model_version == "1.5"


def test_a_byte_order_mark_is_no_fault() -> None:
    content = b'\xef\xbb\xbf{"model": {"handler": "a", "extensions": {"free": []}}, "more": 1}'
    assert parse(of_bytes(PATH, content), "net.mar", "spec").handler == "a"


def test_the_files_that_must_be_there_are_where_torchserve_looks() -> None:
    found = Manifest("net", "1", "src/serve.py:run", serialized_file="./w/net.pt", model_file="model.py")
    assert list(files_named(found)) == [
        ("handler", "serve.py"),
        ("serializedFile", "w/net.pt"),
        ("modelFile", "model.py"),
    ]


def test_a_handler_that_is_a_module_may_be_in_the_image() -> None:
    assert list(files_named(Manifest("net", "1", "image_classifier", config_file="c.yaml"))) == []
