"""Archives that are damaged, unsafe, or none: each with the one line that its user reads."""

import gzip
import io
import json
import struct
import tarfile
import zipfile
from dataclasses import dataclass
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve_operator.builder.archive import model_files, unpacked
from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.files import File

FIELD = "spec.models[0].archive"
LIMIT = 1 << 30
MANIFEST = b'{"model": {"modelName": "net", "handler": "handler.py", "serializedFile": "net.pt"}}'
MODEL = {"MAR-INF/MANIFEST.json": MANIFEST, "handler.py": b"def handle(data, context): ...", "net.pt": b"weights" * 99}
ANEW = "; make it anew and upload it again"


@dataclass
class InMemory:
    content: bytes
    name: str = "net.mar"

    def open(self) -> BinaryIO:
        return io.BytesIO(self.content)


def zipped(*entries: tuple[zipfile.ZipInfo | str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for entry, content in entries:
            archive.writestr(entry, content, method)
    return buffer.getvalue()


def tarred(*entries: tuple[tarfile.TarInfo | str, bytes], mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for entry, content in entries:
            member = tarfile.TarInfo(entry) if isinstance(entry, str) else entry
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def read_all(files: tuple[File, ...]) -> None:
    for file in files:
        assert sum(map(len, file.chunks())) == file.size


def refusal(content: bytes, limit: int = LIMIT) -> str:
    """What the user reads, without the field and the archive's name."""
    with pytest.raises(BuildError) as raised:
        read_all(model_files(InMemory(content), FIELD, limit))
    text = str(raised.value)
    assert "\n" not in text
    assert raised.value.field == FIELD
    return text.removeprefix(f"{FIELD}: ").removeprefix("net.mar ")


def special(name: str, mode: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = mode << 16
    entry.create_system = 3
    return entry


def linked(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type = kind
    entry.linkname = target
    return entry


def replaced(content: bytes, old: bytes, new: bytes) -> bytes:
    assert len(old) == len(new)
    assert old in content
    return content.replace(old, new)


EXPECTED = "expected a zip (.mar) or a gzipped tar (.tar.gz)"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", f"is empty (0 bytes); {EXPECTED}; upload it again"),
        (
            b"\n<!DOCTYPE html><html><body>Sign in</body></html>",
            f"is a web page or an answer in XML; {EXPECTED}; check the URL and its credentials",
        ),
        (
            b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
            f"is a web page or an answer in XML; {EXPECTED}; check the URL and its credentials",
        ),
        (b"version https://git-lfs.github.com/spec/v1\n", f"is a Git LFS pointer and not the file itself; {EXPECTED}"),
        (b"BZh91AY&SY", f"is compressed with bzip2; {EXPECTED}"),
        (b"token=hidden", f"is no archive (its first bytes are 74 6f 6b 65 6e 3d 68 69); {EXPECTED}"),
    ],
)
def test_what_is_no_archive_is_told_by_what_it_is(content: bytes, says: str) -> None:
    assert refusal(content) == says


NAMES = [
    ("../evil.py", 'has an entry that leaves the archive: "../evil.py"'),
    ("a/../../evil.py", 'has an entry that leaves the archive: "a/../../evil.py"'),
    ("a/..", 'has an entry that leaves the archive: "a/.."'),
    ("/etc/evil.py", 'has an entry with an absolute path: "/etc/evil.py"; pack it with relative paths'),
    ("C:/evil.py", 'has an entry with an absolute path: "C:/evil.py"; pack it with relative paths'),
    (
        "..\\evil.py",
        'has an entry with a backslash in its name: "..\\evil.py"; pack it with / between folders',
    ),
    ("a/\x1b[2J.py", f"{FIELD}: 'a/\\x1b[2J.py' has control characters"),
    ("a/.wh.b", f'{FIELD}: "a/.wh.b" would delete files in the image: names must not begin with .wh.'),
]


@pytest.mark.parametrize(("name", "says"), NAMES)
@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_path_that_is_unsafe_is_refused_with_its_name(pack: type, name: str, says: str) -> None:
    assert refusal(pack((name, b""))) == says.removeprefix(f"{FIELD}: ")


def test_a_name_with_a_nul_is_refused() -> None:
    content = replaced(zipped(("a_b", b"")), b"a_b", b"a\0b")
    assert refusal(content) == 'has an entry whose name has a NUL: "a\\x00b"'


def test_a_folder_with_an_unsafe_path_is_refused_too() -> None:
    assert refusal(zipped(("../", b""))) == 'has an entry that leaves the archive: "../"'


def test_a_long_name_is_shown_by_its_start() -> None:
    assert refusal(zipped((f"/{'x' * 300}", b""))) == (
        f'has an entry with an absolute path: "/{"x" * 96}..."; pack it with relative paths'
    )


LINKS = "links are refused, those inside the archive too"


@pytest.mark.parametrize("target", ["/etc/passwd", "../../outside", "net.pt"])
def test_links_are_refused_wherever_they_lead(target: str) -> None:
    assert refusal(zipped(("net.pt", b""), (special("link", 0o120777), target.encode()))) == (
        f'has a symbolic link: "link"; {LINKS}; pack the file itself (zip does so without --symlinks)'
    )
    hint = "pack the files themselves (tar does so with --dereference --hard-dereference)"
    for kind, word in ((tarfile.SYMTYPE, "symbolic"), (tarfile.LNKTYPE, "hard")):
        says = f'has a {word} link: "link"; {LINKS}; {hint}'
        assert refusal(tarred(("net.pt", b""), (linked("link", kind, target), b""))) == says


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_pipes_are_refused(kind: bytes) -> None:
    assert refusal(tarred((linked("dev", kind), b""))) == 'has an entry that is neither file nor folder: "dev"'
    assert refusal(zipped((special("dev", 0o020666), b""))) == 'has an entry that is neither file nor folder: "dev"'


def test_a_sparse_file_is_refused() -> None:
    entry = linked("holes", tarfile.GNUTYPE_SPARSE)
    assert refusal(tarred((entry, b""))) == 'has a sparse file: "holes"; pack it without --sparse'


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_name_that_is_there_twice_is_refused(pack: type) -> None:
    assert refusal(pack(("a", b"1"), ("./a", b"2"))) == "a is there twice"
    assert refusal(pack(("a", b"1"), ("a/b", b"2"))) == "a is a file, and a/b lies in a folder of that name"


# ---- bombs


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_more_than_the_limit_is_refused_before_it_is_inflated(pack: type) -> None:
    content = pack(("a", bytes(600)), ("b", bytes(600)))
    assert refusal(content, 1000) == (
        'unpacks to more than the limit of 1,000 bytes, reached at "b"; raise maxSize if that is meant'
    )


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_bomb_of_zeros_is_refused_by_its_ratio(pack: type) -> None:
    content = pack(("bomb", bytes(65 << 20)))
    assert refusal(content) == (
        f"unpacks to 68,157,440 bytes from {len(content):,}: a zip bomb is made like this, a model is not;"
        " pack the files without compression if that is meant"
    )


def test_entries_that_share_bytes_are_refused() -> None:
    content = bytearray(zipped(("a", b"1" * 50), ("b", b"2" * 50)))
    second = content.rindex(b"PK\x01\x02")
    content[second + 42 : second + 46] = struct.pack("<I", 0)  # where its bytes begin: at those of the first
    assert refusal(bytes(content)) == 'has entries that overlap: "a" and "b"'


def test_an_entry_that_reaches_into_the_directory_is_refused() -> None:
    content = bytearray(zipped(("a", b"1" * 50)))
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 20 : entry + 24] = struct.pack("<I", 5000)
    assert refusal(bytes(content)) == 'has entries that overlap: "a" and the directory'


def test_a_stream_that_is_longer_than_its_entry_says_is_cut_there_and_refused() -> None:
    packed = zipped(("a", bytes(1 << 20)))
    lying = replaced(packed, struct.pack("<I", 1 << 20), struct.pack("<I", 1000))
    assert refusal_of_reading(lying) == f"is damaged: a: its checksum (CRC-32) is wrong{ANEW}"


def refusal_of_reading(content: bytes) -> str:
    """As `refusal`, of an archive that need not be a model."""
    files = unpacked(InMemory(content), FIELD, LIMIT)
    with pytest.raises(BuildError) as raised:
        read_all(files)
    return str(raised.value).removeprefix(f"{FIELD}: net.mar ")


def test_too_many_headers_are_refused() -> None:
    entry = tarfile.TarInfo("a")
    entry.pax_headers = {"comment": "x" * (2 << 20)}
    assert refusal(tarred((entry, b""))) == "has headers of 2,098,176 bytes; a model's are far smaller"


def test_headers_that_follow_one_another_for_ever_are_refused() -> None:
    header = linked("x", tarfile.XHDTYPE).tobuf(tarfile.USTAR_FORMAT)
    says = refusal(gzip.compress(header * 5000))
    assert says == f"is damaged: its headers never end{ANEW}"


def test_what_follows_the_end_of_a_tar_is_bounded() -> None:
    plain = tarred(("a", b"1"), mode="w")
    assert refusal(gzip.compress(plain + bytes(18 << 20))) == "goes on behind its end"


def test_a_directory_that_is_larger_than_memory_should_hold_is_refused() -> None:
    content = bytearray(zipped(("a", b"1")))
    end = content.rindex(b"PK\x05\x06")
    size = 17 << 20
    content[end:end] = bytes(size)
    end += size
    content[end + 12 : end + 16] = struct.pack("<I", size)
    assert refusal(bytes(content)) == "has a directory of 17,825,792 bytes; at most 16,777,216 are read"


# ---- damage


def test_an_encrypted_zip_is_refused() -> None:
    content = bytearray(zipped(("a", b"1")))
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    assert refusal(bytes(content)) == 'is encrypted ("a"); pack it without a password'


@pytest.mark.parametrize(("method", "name"), [(zipfile.ZIP_BZIP2, "bzip2"), (zipfile.ZIP_LZMA, "LZMA")])
def test_a_compression_that_torchserve_cannot_read_is_refused(method: int, name: str) -> None:
    assert refusal(zipped(("a", b"1"), method=method)) == (
        f'is compressed with {name} ("a"); expected stored or deflated entries, as TorchServe does;'
        " pack it with torch-model-archiver"
    )


def test_a_zip_that_is_cut_off_is_refused() -> None:
    content = zipped(*MODEL.items())
    for length in (len(content) - 1, len(content) // 2, 30):
        assert refusal(content[:length]) == (
            "is cut off: the directory at its end is missing; upload it again; torch-model-archiver writes it last"
        )


def test_a_tgz_that_is_cut_off_is_refused() -> None:
    content = tarred(*MODEL.items())
    for length in (len(content) - 1, len(content) // 2, 30, 2):
        assert refusal(content[:length]) == f"is damaged: it is cut off{ANEW}"


def test_a_plain_tar_that_is_cut_off_in_an_entry_is_refused() -> None:
    content = tarred(*MODEL.items(), mode="w")
    for length in (1500, 2000, 3000):
        assert refusal(content[:length]).startswith("is damaged: it ")


def test_rubbish_between_the_entries_of_a_tar_is_refused() -> None:
    content = tarred(("a", b"1"), ("b", b"2"), mode="w")
    second = 1024
    assert content[second : second + 1] == b"b"
    broken = content[:second] + b"\xff" * 512 + content[second + 512 :]
    assert refusal(broken) == f"is damaged: it has something else where a header or its end should be{ANEW}"


def test_a_directory_that_points_elsewhere_is_refused() -> None:
    content = bytearray(zipped(("a", b"1" * 50)))
    end = content.rindex(b"PK\x05\x06")
    content[end + 17] += 1  # where the directory begins: 256 bytes further
    assert refusal(bytes(content)) == f"is damaged: its directory points outside of it{ANEW}"
    content[content.rindex(b"PK\x01\x02")] = 0
    assert refusal(bytes(content)).startswith("is damaged: its directory cannot be read (Bad magic number")


def test_a_file_that_is_shorter_than_its_entry_says_is_refused() -> None:
    packed = zipped(("a", bytes(1 << 20)))
    lying = replaced(packed, struct.pack("<I", 1 << 20), struct.pack("<I", 2 << 20))
    assert refusal_of_reading(lying) == f"is damaged: a: has 1,048,576 bytes instead of 2,097,152{ANEW}"


def test_an_archive_with_a_hole_is_refused() -> None:
    content = zipped(("a", b"1" * 50), ("b", b"2" * 50), method=zipfile.ZIP_STORED)
    hole = content.index(b"1" * 50)
    says = f"is damaged: its directory points outside of it{ANEW}"
    assert refusal(content[:hole] + content[hole + 10 :]) == says


def test_a_wrong_checksum_is_refused() -> None:
    stored = replaced(zipped(("a", b"weights"), method=zipfile.ZIP_STORED), b"weights", b"weighed")
    assert refusal_of_reading(stored) == f"is damaged: a: its checksum (CRC-32) is wrong{ANEW}"
    packed = bytearray(tarred(("a", b"1")))
    packed[-8] ^= 1
    assert refusal(bytes(packed)) == f"is damaged: its checksum (CRC-32) is wrong{ANEW}"


def test_a_name_that_is_not_utf8_is_refused() -> None:
    raw = replaced(zipped(("gr__e.txt", b"")), b"gr__e", b"gr\xf6\xdfe")
    assert refusal(raw) == 'has an entry whose name is not UTF-8: "gr÷▀e.txt"; pack it with names in UTF-8'
    flagged = replaced(zipped(("größe.txt", b"")), "öß".encode(), b"\xf6\xdf\xf6\xdf")
    assert refusal(flagged) == "has an entry whose name is not UTF-8; pack it with names in UTF-8"
    latin = io.BytesIO()
    with tarfile.open(fileobj=latin, mode="w:gz", format=tarfile.GNU_FORMAT, encoding="latin-1") as archive:
        archive.addfile(tarfile.TarInfo("größe.txt"))
    assert refusal(latin.getvalue()) == (
        'has an entry whose name is not UTF-8: "gr\\udcf6\\udcdfe.txt"; pack it with names in UTF-8'
    )


# ---- what makes a model archive


def model(manifest: bytes) -> bytes:
    return zipped(*{**MODEL, "MAR-INF/MANIFEST.json": manifest}.items())


WITH = "; pack it with torch-model-archiver"
NAMED = "net.mar: MAR-INF/MANIFEST.json "


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        (b"", "is not JSON: Expecting value at line 1, column 1"),
        (b"{'model': {}}", "is not JSON: Expecting property name enclosed in double quotes at line 1, column 2"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"[]", "is not a JSON object"),
        (b"[" * 100_000, "is not a manifest: it is nested too deeply"),
        (b" " * (1 << 20) + b"{}", "has 1,048,578 bytes; a manifest has a few hundred"),
        (b"{}", 'has no object "model"'),
        (b'{"model": "net"}', 'has no object "model"'),
        (b'{"model": {}}', 'has no "model.handler"; TorchServe would not know what to run'),
        (b'{"model": {"handler": ["a"]}}', 'has a "model.handler" that is not text'),
        (b'{"runtime": {}, "model": {"handler": "a"}}', 'has a "runtime" that is not text'),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused(manifest: bytes, says: str) -> None:
    assert refusal(model(manifest)) == f"{NAMED}{says}{WITH}"


@pytest.mark.parametrize(
    ("named", "says"),
    [
        (
            {"serializedFile": "best.pt"},
            'has no best.pt, which its MAR-INF/MANIFEST.json names as "model.serializedFile"',
        ),
        ({"modelFile": "model.py"}, 'has no model.py, which its MAR-INF/MANIFEST.json names as "model.modelFile"'),
        (
            {"handler": "src/serve.py:run"},
            'has no serve.py, which its MAR-INF/MANIFEST.json names as "model.handler"',
        ),
    ],
)
def test_a_file_that_the_manifest_names_must_be_there(named: dict[str, str], says: str) -> None:
    document = json.loads(MANIFEST)
    document["model"] |= named
    assert refusal(model(json.dumps(document).encode())) == says


def test_an_archive_without_a_manifest_is_refused() -> None:
    assert refusal(zipped(("handler.py", b""))) == (f"has no MAR-INF/MANIFEST.json, which makes a model archive{WITH}")


def test_a_file_of_torch_save_is_told_as_one() -> None:
    assert refusal(zipped(("net/data.pkl", b""), ("net/version", b"3"), method=zipfile.ZIP_STORED)) == (
        "has no MAR-INF/MANIFEST.json: this is a file of torch.save, not a model archive;"
        " give the weights as package.serializedFile"
    )


# ---- whatever else


@given(st.data())
def test_a_damaged_archive_is_refused_with_one_line_or_read_within_its_sizes(data: st.DataObject) -> None:
    """Any bytes of an archive may be wrong: nothing but a BuildError comes of it."""
    whole = data.draw(
        st.sampled_from([zipped(*MODEL.items()), tarred(*MODEL.items()), tarred(*MODEL.items(), mode="w")])
    )
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    try:
        read_all(model_files(InMemory(bytes(content)), FIELD, LIMIT))
    except BuildError as error:
        said = str(error)
    else:
        return  # what was changed does not matter: a time, say
    assert said.startswith(FIELD)
    assert "\n" not in said
