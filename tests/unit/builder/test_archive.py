"""Archives as files: what is in them comes out, whoever packed it, whatever the order in which it is asked for."""

import gzip
import io
import json
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve_operator.builder.archive import model_files, unpacked
from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.files import CHUNK, File
from torchserve_operator.builder.gzip_stream import GzipStream, Marks

FIELD = "spec.models[0].archive"
LIMIT = 1 << 30
MANIFEST = json.dumps({"model": {"modelName": "net", "handler": "handler.py", "serializedFile": "net.pt"}}).encode()
MODEL = {"MAR-INF/MANIFEST.json": MANIFEST, "handler.py": b"def handle(data, context): ...", "net.pt": b"weights"}


@dataclass
class InMemory:
    """An archive in memory that keeps the handles it gave."""

    content: bytes
    name: str = "net.mar"
    handles: list[BinaryIO] = field(default_factory=list)

    def open(self) -> BinaryIO:
        self.handles.append(io.BytesIO(self.content))
        return self.handles[-1]


@dataclass
class Counted(InMemory):
    """Counts the bytes that are read of it."""

    count: int = 0

    def open(self) -> BinaryIO:
        archive = self

        class CountedBytes(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                found = super().read(size)
                archive.count += len(found)
                return found

        return CountedBytes(self.content)


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return buffer.getvalue()


def tarred(files: dict[str, bytes], mode: str = "w:gz", kind: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=kind) as archive:  # type: ignore[call-overload]
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def content(file: File) -> bytes:
    pieces = list(file.chunks())
    assert all(0 < len(piece) <= CHUNK for piece in pieces)
    assert sum(map(len, pieces)) == file.size
    return b"".join(pieces)


def read(files: tuple[File, ...]) -> dict[str, bytes]:
    return {file.path: content(file) for file in files}


def cleared(files: dict[str, bytes]) -> dict[str, bytes]:
    """Leave out files that lie where a folder must be: no file system has such a tree."""
    return {path: found for path, found in files.items() if not any(other.startswith(f"{path}/") for other in files)}


names = (
    st.text(st.characters(exclude_categories=["C"], exclude_characters="/\\"), min_size=1, max_size=12)
    .filter(lambda name: name not in {".", ".."} and not name.startswith(".wh.") and name[1:2] != ":")
    .filter(lambda name: len(name.encode()) < 100)
)
trees = st.dictionaries(
    st.lists(names, min_size=1, max_size=4).map("/".join),
    st.one_of(st.binary(max_size=300), st.binary(min_size=1, max_size=20).map(lambda piece: piece * 5000)),
    min_size=1,
    max_size=8,
).map(cleared)


@given(trees, st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
def test_any_tree_comes_out_of_a_zip_as_it_went_in(tree: dict[str, bytes], method: int) -> None:
    assert read(unpacked(InMemory(zipped(tree, method)), FIELD, LIMIT)) == tree


@given(trees, st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]), st.sampled_from(["w:gz", "w"]))
def test_any_tree_comes_out_of_a_tar_as_it_went_in(tree: dict[str, bytes], kind: int, mode: str) -> None:
    assert read(unpacked(InMemory(tarred(tree, mode, kind)), FIELD, LIMIT)) == tree


@pytest.mark.parametrize("form", ["default", "zip-store", "tgz"])
def test_what_torch_model_archiver_packed_is_the_model_without_its_folder(form: str, tmp_path: Path) -> None:
    for path, found in MODEL.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(found)
    arguments = ["--model-name", "net", "--version", "1.0", "--handler", "handler.py", "--serialized-file", "net.pt"]
    command = [sys.executable, "-m", "model_archiver.model_packaging", *arguments, "--archive-format", form]
    # it packs in a folder of the temporary one that is called like the model
    subprocess.run(command, cwd=tmp_path, check=True, env={"TMPDIR": str(tmp_path)})
    made = tmp_path / ("net.tar.gz" if form == "tgz" else "net.mar")
    files = read(model_files(InMemory(made.read_bytes()), FIELD, LIMIT))
    assert sorted(files) == sorted(MODEL)
    assert files["net.pt"] == b"weights"
    assert json.loads(files["MAR-INF/MANIFEST.json"])["model"]["modelName"] == "net"


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_model_archive_stays_as_it_is_whatever_the_resource_calls_the_model(
    pack: Callable[[dict[str, bytes]], bytes],
) -> None:
    assert read(model_files(InMemory(pack(MODEL), "other.mar"), FIELD, LIMIT)) == MODEL


def test_a_file_is_executable_when_its_owner_may_execute_it() -> None:
    in_zip, in_tar = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(in_zip, "w") as zip_file, tarfile.open(fileobj=in_tar, mode="w") as tar_file:
        for name, mode in (("run", 0o755), ("data", 0o644), ("theirs", 0o655)):
            info, entry = zipfile.ZipInfo(name), tarfile.TarInfo(name)
            info.external_attr = (0o100000 | mode) << 16
            entry.mode = mode
            zip_file.writestr(info, b"")
            tar_file.addfile(entry)
    for packed in (in_zip, in_tar):
        files = unpacked(InMemory(packed.getvalue()), FIELD, LIMIT)
        assert [file.path for file in files if file.executable] == ["run"]


def test_folders_have_no_entry_of_their_own() -> None:
    assert read(unpacked(InMemory(zipped({"empty/": b"", "a/": b"", "a/b": b"1"})), FIELD, LIMIT)) == {"a/b": b"1"}


def test_a_tar_of_the_present_folder_has_plain_paths() -> None:
    assert sorted(read(unpacked(InMemory(tarred({"./a": b"1", ".//b/./c": b"2"})), FIELD, LIMIT))) == ["a", "b/c"]


def test_names_that_differ_in_case_are_two_files() -> None:
    assert len(unpacked(InMemory(zipped({"Vocab.txt": b"1", "vocab.txt": b"2"})), FIELD, LIMIT)) == 2


def test_a_utf8_name_without_its_flag_is_read_as_torchserve_reads_it() -> None:
    flagged = zipped({"größe.txt": b"1"})
    unflagged = flagged.replace((0x800).to_bytes(2, "little"), b"\0\0")
    assert unflagged != flagged
    assert read(unpacked(InMemory(unflagged), FIELD, LIMIT)) == {"größe.txt": b"1"}


def test_a_file_can_be_read_twice_and_two_at_once() -> None:
    tree = {"a": bytes(3 * CHUNK), "b": b"\1" * (2 * CHUNK)}
    for packed in (zipped(tree), tarred(tree)):
        first, second = unpacked(InMemory(packed), FIELD, LIMIT)
        mixed = zip(first.chunks(), second.chunks(), strict=False)
        assert [(one[0], other[0]) for one, other in mixed] == [(0, 1), (0, 1)]
        assert content(second) == content(second) == tree["b"]


def test_many_threads_read_one_archive() -> None:
    tree = {f"{number:02}": bytes([number]) * 200_000 for number in range(40)}
    for packed in (zipped(tree), tarred(tree)):
        files = unpacked(InMemory(packed), FIELD, LIMIT)
        assert len(files) == len(tree)
        with ThreadPoolExecutor(8) as pool:
            assert dict(zip(tree, pool.map(content, files), strict=True)) == tree


def test_one_handle_serves_all_files_of_an_archive_and_is_closed_with_them() -> None:
    tree = {f"{number:02}": bytes([number]) * 1000 for number in range(40)}
    for packed in (zipped(tree), tarred(tree)):
        archive = InMemory(packed)
        files = unpacked(archive, FIELD, LIMIT)
        assert read(files) == tree
        assert len([handle for handle in archive.handles if not handle.closed]) == 1
        del files
        assert all(handle.closed for handle in archive.handles)


def test_a_source_that_failed_is_opened_anew() -> None:
    class Failing(io.BytesIO):
        broken = False

        def read(self, size: int | None = -1, /) -> bytes:
            if Failing.broken:
                raise ConnectionResetError
            return super().read(size)

    class Flaky(InMemory):
        def open(self) -> BinaryIO:
            Failing.broken = False
            self.handles.append(Failing(self.content))
            return self.handles[-1]

    for packed in (zipped({"a": b"1"}, zipfile.ZIP_STORED), tarred({"a": b"1"}), tarred({"a": b"1"}, "w")):
        archive = Flaky(packed)
        (file,) = unpacked(archive, FIELD, LIMIT)
        assert content(file) == b"1"
        Failing.broken = True
        with pytest.raises(ConnectionResetError):
            content(file)
        assert content(file) == b"1"
        Failing.broken = True
        with pytest.raises(ConnectionResetError):
            content(file)
        Failing.broken = False


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_trouble_of_the_source_is_not_told_as_damage(pack: Callable[[dict[str, bytes]], bytes]) -> None:
    class Breaking(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            del size
            raise ConnectionResetError

    class BrokenAfterItsStart(InMemory):
        def open(self) -> BinaryIO:
            self.handles.append(Breaking() if self.handles else io.BytesIO(self.content))
            return self.handles[-1]

    with pytest.raises(ConnectionResetError):
        unpacked(BrokenAfterItsStart(pack({"a": b"1"})), FIELD, LIMIT)


def test_a_file_that_is_left_half_read_leaves_nothing_open() -> None:
    archive = InMemory(tarred({"a": bytes(3 * CHUNK)}))
    (file,) = unpacked(archive, FIELD, LIMIT)
    pieces = file.chunks()
    next(pieces)
    del pieces
    assert all(handle.closed for handle in archive.handles)


def test_an_empty_zip_has_no_files() -> None:
    assert unpacked(InMemory(zipped({})), FIELD, LIMIT) == ()


def test_gzip_of_several_members_with_padding_is_one_stream() -> None:
    plain = tarred(MODEL, "w")
    members = [gzip.compress(plain[start : start + 700]) for start in range(0, len(plain), 700)]
    assert read(unpacked(InMemory(b"".join(members) + bytes(1000)), FIELD, LIMIT)) == MODEL


def noise(count: int) -> Iterator[bytes]:
    """Bytes that hardly compress, the same in each run."""
    state = 1
    for _ in range(count):
        state = state * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1
        yield state.to_bytes(8, "little")


def test_a_tgz_in_the_worst_order_is_not_inflated_once_a_file() -> None:
    block = b"".join(noise(4096))
    tree = {f"{299 - number:03}": number.to_bytes(2, "big") + block for number in range(300)}
    archive = Counted(tarred(tree))
    files = unpacked(archive, FIELD, LIMIT)
    listed, archive.count = archive.count, 0
    assert read(files) == tree
    assert listed < 1.01 * len(archive.content)
    # half a MiB before each file of 32 KiB: 17 times the archive; from its start each time it were 150 times
    assert archive.count < 25 * len(archive.content)


def test_marks_stay_few_however_long_a_stream_is() -> None:
    stream = GzipStream(io.BytesIO(gzip.compress(bytes(600 << 20), 1)))
    marks = Marks()
    for _ in range(600):
        stream.read(1 << 20)
        marks.offer(stream)
    assert 64 <= len(marks) <= 128
    for position in range(0, 600 << 20, 50 << 20):
        mark = marks.before(position)
        assert position - (mark.position if mark else 0) < 16 << 20


def test_a_stream_goes_on_from_a_mark_as_it_would_have_gone_on() -> None:
    plain = b"".join(noise(100_000))
    packed = gzip.compress(plain[:333_333]) + gzip.compress(plain[333_333:])
    stream = GzipStream(io.BytesIO(packed))
    for position in (0, 1, 333_332, 333_333, 333_334, 700_000, 800_000):
        stream.read(position - stream.position)
        assert GzipStream(io.BytesIO(packed), stream.mark()).read(1 << 20) == plain[position:]


def test_the_error_names_the_field() -> None:
    with pytest.raises(BuildError) as raised:
        model_files(InMemory(b""), "spec.models[3].archive", LIMIT)
    assert raised.value.field == "spec.models[3].archive"
