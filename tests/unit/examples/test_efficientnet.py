"""The image classifier's requests, images and client."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

Importer = Callable[[str, str], ModuleType]


FOLDER = Path(__file__).resolve().parents[3] / "examples" / "efficientnet"


def npy(array: Any, *, pickle: bool = False) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=pickle)
    return file.getvalue()


IMAGE = np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3)


@pytest.mark.parametrize("body", [npy(IMAGE), bytearray(npy(IMAGE)), npy(np.asfortranarray(IMAGE))])
def test_the_bytes_of_an_npy_file_are_an_image(module: Importer, body: bytes) -> None:
    assert np.array_equal(module("efficientnet", "arrays").image_of({"body": body}), IMAGE)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"pixels": []}, "expected the bytes of a .npy file"),
        (None, "expected the bytes of a .npy file"),
        (b"", "expected a .npy file"),
        (b"GIF89a", "expected a .npy file"),
        (npy(IMAGE)[:-1], "expected 12288 bytes of pixels, got 12287"),
        (npy(IMAGE) + b"x", "expected 12288 bytes of pixels, got 12289"),
        (npy(IMAGE)[:128], "expected 12288 bytes of pixels, got 0"),
        (npy(IMAGE)[:20], "expected a .npy file"),
        (npy(np.array([{}], dtype=object), pickle=True), "got object of shape"),
        (npy(IMAGE).replace(b"(64, 64, 3)", b"(9000000000,)"), r"got uint8 of shape \(9000000000,\)"),
        (npy(IMAGE).replace(b"(64, 64, 3)", b"((((((((((("), "expected a .npy file, got something else"),
        (npy(IMAGE[:32]), r"expected uint8 of shape \(64, 64, 3\), got uint8 of shape \(32, 64, 3\)"),
        (npy(IMAGE[..., :1]), r"got uint8 of shape \(64, 64, 1\)"),
        (npy(IMAGE.astype(np.float32)), "got float32"),
        (bytes(1 << 17), "expected at most 65536 bytes, got 131072"),
    ],
)
def test_what_is_no_image_is_refused_with_the_reason(module: Importer, body: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        module("efficientnet", "arrays").image_of({"body": body})


def test_a_seed_always_draws_the_same_images(module: Importer) -> None:
    draw = module("efficientnet", "pictures").draw
    (images, labels), (again, _), (other, _) = draw(12, 5), draw(12, 5), draw(12, 6)
    assert images.shape == (12, 64, 64, 3)
    assert images.dtype == np.uint8
    assert labels.shape == (12,)
    assert np.array_equal(images, again)
    assert not np.array_equal(images, other)


def test_the_names_are_the_classes_in_their_order(module: Importer) -> None:
    names = json.loads((FOLDER / "index_to_name.json").read_text(encoding="utf-8"))
    assert tuple(names[str(index)] for index in range(6)) == module("efficientnet", "pictures").CLASSES


def test_the_request_is_an_image_of_the_expected_class(module: Importer) -> None:
    pictures = module("efficientnet", "pictures")
    image = module("efficientnet", "arrays").image_of({"body": (FOLDER / "request.npy").read_bytes()})
    images, labels = pictures.draw(1, 2000)
    expected = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))
    assert np.array_equal(image, images[0])
    assert expected["class"] == pictures.CLASSES[labels[0]]


def test_the_client_breaks_every_twentieth_image_and_the_handler_would_refuse_exactly_those(module: Importer) -> None:
    client, arrays = module("efficientnet", "client"), module("efficientnet", "arrays")

    def refused(body: bytes) -> bool:
        try:
            arrays.image_of({"body": body})
        except ValueError:
            return True
        return False

    todo = client.samples(100)
    broken = [place for place, sample in enumerate(todo) if sample.expected is None]
    assert broken == [19, 39, 59, 79, 99]
    assert broken == [place for place, sample in enumerate(todo) if refused(sample.body)]


@pytest.mark.parametrize(
    ("expected", "status", "body", "fault"),
    [
        ("red", 200, {"class": "red"}, False),
        ("red", 200, {"class": "blue"}, False),
        ("red", 400, {"error": "no"}, True),
        ("red", 503, {}, True),
        ("red", 200, {"class": "mauve"}, True),
        (None, 400, {"error": "no"}, False),
        (None, 400, {}, True),
        (None, 200, {"class": "red"}, True),
        (None, 500, {"error": "no"}, True),
    ],
)
def test_the_client_names_an_answer_that_is_not_what_it_should_be(
    module: Importer, expected: str | None, status: int, body: dict[str, Any], fault: bool
) -> None:
    client = module("efficientnet", "client")
    found = client.faults([client.Sample(b"", expected)], [client.Answer(status, body, 0.1)])
    assert bool(found) is fault


def test_the_client_names_an_answer_that_never_came(module: Importer) -> None:
    client = module("efficientnet", "client")
    assert client.faults([client.Sample(b"", "red")], [OSError("reset")]) == ["image 0: no answer: OSError: reset"]
