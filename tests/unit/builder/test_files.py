"""Files on their way into a layer: which paths may be there, and in which order."""

import pytest

from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.files import checked, of_bytes


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("", "is not a relative path"),
        ("/etc/passwd", "is not a relative path"),
        ("a\\b", "is not a relative path"),
        ("../a", "leaves its folder"),
        ("a/../../b", "leaves its folder"),
        ("a//b", "leaves its folder or is not normalised"),
        ("./a", "is not normalised"),
        ("a/", "is not normalised"),
        ("a\nb", "has control characters"),
        ("a" * 1025, "longer than 1024 bytes"),
        ("a/.wh.b", "would delete files in the image"),
    ],
)
def test_an_unsafe_path_is_refused_by_its_name(path: str, says: str) -> None:
    with pytest.raises(BuildError, match=says) as raised:
        checked([of_bytes(path, b"")], "spec.models[0].archive")
    assert raised.value.field == "spec.models[0].archive"


def test_a_path_that_is_there_twice_is_refused() -> None:
    with pytest.raises(BuildError, match="a/b is there twice"):
        checked([of_bytes("a/b", b"1"), of_bytes("a/b", b"2")], "")


def test_a_file_that_is_also_a_folder_is_refused() -> None:
    with pytest.raises(BuildError, match="a/b is a file, and a/b/c/d lies in a folder of that name"):
        checked([of_bytes("a/b/c/d", b""), of_bytes("a/b", b"")], "")


def test_files_come_sorted_and_their_bytes_can_be_read_again() -> None:
    found = checked([of_bytes("b", b"2"), of_bytes("a/z", b"1"), of_bytes("a.txt", b"")], "")
    assert [file.path for file in found] == ["a.txt", "a/z", "b"]
    assert [b"".join(found[1].chunks()) for _ in range(2)] == [b"1", b"1"]
    assert list(found[0].chunks()) == []
