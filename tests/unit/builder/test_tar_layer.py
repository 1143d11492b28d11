import io
import tarfile
from collections.abc import Iterator

import pytest

from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.files import CHUNK, File, checked, of_bytes
from torchserve_operator.builder.tar_layer import TarLayer


def _bytes(layer: TarLayer) -> bytes:
    return b"".join(layer.chunks())


def _entries(layer: TarLayer) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(_bytes(layer))) as archive:
        return {entry.name: entry for entry in archive}


def test_each_parent_comes_once_and_before_what_is_in_it() -> None:
    files = checked([of_bytes("b/c/d", b"1"), of_bytes("b/c/e", b"2"), of_bytes("a", b"3")], "")
    assert list(_entries(TarLayer("x/y", files))) == ["x", "x/y", "x/y/a", "x/y/b", "x/y/b/c", "x/y/b/c/d", "x/y/b/c/e"]


def test_owner_time_and_modes_are_the_same_everywhere() -> None:
    files = (of_bytes("run", b"1", executable=True), of_bytes("s", b"2"))
    entries = _entries(TarLayer("x", files))
    assert [oct(entry.mode) for entry in entries.values()] == ["0o755", "0o755", "0o644"]
    assert {(entry.uid, entry.gid, entry.uname, entry.gname, entry.mtime) for entry in entries.values()} == {
        (0, 0, "", "", 0)
    }


@pytest.mark.parametrize(
    "path",
    [
        "short",
        "a" * 200,
        "/".join(["folder" * 9] * 5) + "/file",
        "ünïcødé/模型.bin",
        "a b/c;d",
        "x" * 99,
        "x" * 100,
        "x" * 101,
    ],
)
def test_any_path_comes_out_as_it_went_in(path: str) -> None:
    layer = TarLayer("root", (of_bytes(path, b"content"),))
    content = _bytes(layer)
    assert len(content) == layer.size
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        file = archive.extractfile(f"root/{path}")
        assert file is not None
        assert file.read() == b"content"


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 65535, 65536, CHUNK, CHUNK + 1, 3 * CHUNK + 7])
def test_the_size_is_known_before_anything_is_read(size: int) -> None:
    def unread() -> Iterator[bytes]:
        raise AssertionError("was read")

    before = TarLayer("r", (File("w", size, unread),)).size
    content = bytes(range(256)) * (size // 256 + 1)
    pieces = [content[at : min(at + CHUNK, size)] for at in range(0, size, CHUNK)]
    layer = TarLayer("r", (File("w", size, lambda: iter(pieces)),))
    assert len(_bytes(layer)) == layer.size == before


def test_a_size_beyond_what_ustar_holds_is_known_too() -> None:
    small = TarLayer("r", (File("w", 0, lambda: iter(())),)).size
    large = TarLayer("r", (File("w", 9 << 30, lambda: iter(())),)).size
    assert large - small - (9 << 30) == 1024  # a pax header and its one block


def test_pieces_are_few_and_none_is_larger_than_a_mebibyte() -> None:
    files = [of_bytes(f"f{number:04}", b"x" * 1000) for number in range(1000)]
    files.append(of_bytes("weights", b"x" * CHUNK))
    sizes = [len(piece) for piece in TarLayer("r", checked(files, "")).chunks()]
    assert max(sizes) <= CHUNK
    assert len(sizes) < 12


def test_the_same_files_give_the_same_bytes_again() -> None:
    layer = TarLayer("r", (of_bytes("a", b"1"), of_bytes("ü", b"2")))
    assert _bytes(layer) == _bytes(layer)


@pytest.mark.parametrize(
    ("said", "given", "word"), [(10, 9, "fewer"), (10, 11, "more"), (0, 1, "more"), (1, 0, "fewer")]
)
def test_a_file_that_is_not_as_long_as_it_said_is_an_error(said: int, given: int, word: str) -> None:
    layer = TarLayer("r", (File("w.bin", said, lambda: iter((b"x" * given,))),), "spec.models[0].archive")
    with pytest.raises(BuildError, match=rf"spec\.models\[0\]\.archive: w\.bin has {word} bytes than the {said}"):
        _bytes(layer)


def test_a_file_that_never_ends_is_left_at_its_size() -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * CHUNK

    with pytest.raises(BuildError, match="more bytes"):
        _bytes(TarLayer("r", (File("w", 3 * CHUNK, endless),)))
