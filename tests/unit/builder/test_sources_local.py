"""Volumes and ConfigMaps: what identifies their files, and that nothing leads out of them."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.source_access import Ground
from torchserve_operator.api.build import FolderSource, SourceSpec
from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.files import File
from torchserve_operator.builder.sources import open_folder, open_object

AT = "spec.models[0].archive"
FOLDER_AT = "spec.models[0].package.source"
CONTENT = b"weights" * 300_000


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


@pytest.fixture
def claim(ground: Ground) -> Path:
    folder = ground.claim("models")
    (folder / "digits.mar").write_bytes(CONTENT)
    parts = folder / "sentiment"
    (parts / "tokenizer").mkdir(parents=True)
    (parts / "handler.py").write_text("def handle(): ...")
    (parts / "tokenizer" / ".hidden").write_text("{}")
    (parts / "run.sh").write_text("#!/bin/sh")
    (parts / "run.sh").chmod(0o755)
    return folder


def archive(url: str, **fields: str) -> SourceSpec:
    return SourceSpec.model_validate({"url": url, **fields})


def folder(url: str, **fields: str) -> FolderSource:
    return FolderSource.model_validate({"url": url, **fields})


def failure(action: Callable[[], object]) -> BuildError:
    with pytest.raises(BuildError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return caught.value


def content(file: File) -> bytes:
    return b"".join(file.chunks())


@pytest.mark.usefixtures("claim")
def test_a_file_of_a_volume_is_read_in_any_order(ground: Ground) -> None:
    opened = open_object(archive("pvc://models/digits.mar"), ground.access, AT)
    with opened.open() as file:
        file.seek(-7, os.SEEK_END)
        assert file.read() == b"weights"
        file.seek(0)
        assert file.read() == CONTENT
    assert (opened.name, opened.size, opened.random_access) == ("digits.mar", len(CONTENT), True)
    assert ground.access.spool.peak == 0


def test_a_file_is_known_by_its_time_and_size(ground: Ground, claim: Path) -> None:
    before = open_object(archive("pvc://models/digits.mar"), ground.access, AT).identity
    assert open_object(archive("pvc://models/digits.mar"), ground.access, AT).identity == before
    assert before.startswith(f"mtime:{(claim / 'digits.mar').stat().st_mtime_ns}-{len(CONTENT)}@")
    os.utime(claim / "digits.mar", ns=(1, 1))
    assert open_object(archive("pvc://models/digits.mar"), ground.access, AT).identity != before


def test_on_a_laptop_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    ground = Ground(tmp_path, by_content=True, claim_folders={"models": tmp_path / "checkout"})
    (tmp_path / "checkout").mkdir()
    (tmp_path / "checkout" / "a.mar").write_bytes(CONTENT)
    opened = open_object(archive("pvc://models/a.mar"), ground.access, AT)
    assert opened.identity == f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
    before = open_folder(folder("pvc://models/"), ground.access, FOLDER_AT).identity
    os.utime(tmp_path / "checkout" / "a.mar", ns=(1, 1))
    assert open_folder(folder("pvc://models/"), ground.access, FOLDER_AT).identity == before
    (tmp_path / "checkout" / "a.mar").write_bytes(CONTENT + b"x")
    assert open_folder(folder("pvc://models/"), ground.access, FOLDER_AT).identity != before


@pytest.mark.usefixtures("claim")
def test_a_checksum_is_compared_before_anything_is_read(ground: Ground) -> None:
    right = hashlib.sha256(CONTENT).hexdigest()
    opened = open_object(archive("pvc://models/digits.mar", sha256=right), ground.access, AT)
    assert opened.identity == f"sha256:{right}"
    with opened.open() as file:
        assert file.read() == CONTENT
    wrong = open_object(archive("pvc://models/digits.mar", sha256="0" * 64), ground.access, AT)
    error = failure(wrong.open)
    assert (error.field, right in error.message) == (f"{AT}.sha256", True)


def test_a_file_that_changes_while_it_is_read_is_an_error(ground: Ground, claim: Path) -> None:
    opened = open_object(archive("pvc://models/digits.mar"), ground.access, AT)
    with opened.open() as file:
        file.read(10)
        with (claim / "digits.mar").open("ab") as more:
            more.write(b"more")
        assert "changed while it was read" in failure(file.read).message
    assert "changed while it was read" in failure(opened.open).message


def test_a_folder_has_all_its_files_hidden_ones_too(ground: Ground, claim: Path) -> None:
    assert claim.is_dir()
    opened = open_folder(folder("pvc://models/sentiment/"), ground.access, FOLDER_AT)
    files = {file.path: file for file in opened.files()}
    assert list(files) == ["handler.py", "run.sh", "tokenizer/.hidden"]
    assert [file.executable for file in files.values()] == [False, True, False]
    assert content(files["tokenizer/.hidden"]) == content(files["tokenizer/.hidden"]) == b"{}"


@pytest.mark.parametrize(
    "change",
    [
        lambda parts: os.utime(parts / "handler.py", ns=(1, 1)),
        lambda parts: (parts / "new").write_text(""),
        lambda parts: (parts / "run.sh").unlink(),
        lambda parts: (parts / "run.sh").chmod(0o644),
        lambda parts: (parts / "run.sh").rename(parts / "walk.sh"),
    ],
)
def test_any_change_of_a_folder_changes_its_identity(
    ground: Ground, claim: Path, change: Callable[[Path], object]
) -> None:
    before = open_folder(folder("pvc://models/sentiment"), ground.access, FOLDER_AT).identity
    assert open_folder(folder("pvc://models/sentiment"), ground.access, FOLDER_AT).identity == before
    change(claim / "sentiment")
    assert open_folder(folder("pvc://models/sentiment"), ground.access, FOLDER_AT).identity != before


def test_what_the_file_system_keeps_at_the_top_is_no_part(ground: Ground, claim: Path) -> None:
    (claim / "lost+found").mkdir(mode=0o700)
    (claim / "lost+found" / "#12").write_text("")
    files = open_folder(folder("pvc://models/"), ground.access, FOLDER_AT).files()
    assert not any("lost+found" in file.path for file in files)
    assert len(files) == 4


def test_links_inside_the_volume_are_followed(ground: Ground, claim: Path) -> None:
    (claim / "latest.mar").symlink_to("digits.mar")
    (claim / "sentiment" / "words").symlink_to("../sentiment/tokenizer")
    with open_object(archive("pvc://models/latest.mar"), ground.access, AT).open() as file:
        assert file.read() == CONTENT
    files = open_folder(folder("pvc://models/sentiment"), ground.access, FOLDER_AT).files()
    assert "words/.hidden" in [file.path for file in files]


def test_links_out_of_the_volume_are_refused(ground: Ground, claim: Path) -> None:
    ground.secret("web", password="hunter2")
    secret = ground.access.secrets / "web"
    (claim / "out.mar").symlink_to(secret / "password")
    (claim / "up").symlink_to(secret)
    (claim / "sentiment" / "inner").symlink_to(secret)
    for url in ("pvc://models/out.mar", "pvc://models/up/password", "pvc://models/up/nothing"):
        error = failure(lambda url=url: open_object(archive(url), ground.access, AT))
        assert "hunter2" not in str(error)
        assert "password, " not in error.hint
    assert (
        "leads out of the volume"
        in failure(lambda: open_object(archive("pvc://models/out.mar"), ground.access, AT)).message
    )
    for url in ("pvc://models/sentiment", "pvc://models/up"):
        error = failure(lambda url=url: open_folder(folder(url), ground.access, FOLDER_AT))
        assert "leads out of the volume" in error.message


def test_a_file_that_becomes_a_link_after_it_was_listed_leads_nowhere(ground: Ground, claim: Path) -> None:
    ground.secret("web", password="hunter2")
    [handler] = [
        file
        for file in open_folder(folder("pvc://models/sentiment"), ground.access, FOLDER_AT).files()
        if file.path == "handler.py"
    ]
    (claim / "sentiment" / "handler.py").unlink()
    (claim / "sentiment" / "handler.py").symlink_to(ground.access.secrets / "web" / "password")
    assert "leads out of the volume" in failure(lambda: content(handler)).message


def test_links_in_circles_are_refused(ground: Ground, claim: Path) -> None:
    (claim / "sentiment" / "self").symlink_to("../sentiment")
    error = failure(lambda: open_folder(folder("pvc://models/sentiment"), ground.access, FOLDER_AT))
    assert "is a link to a folder that it is in" in error.message


@pytest.mark.usefixtures("claim")
@pytest.mark.parametrize(
    "path", ["../secrets/web/password", "sentiment/../../x", "%2e%2e/secrets/web/password", "a%00b"]
)
def test_paths_that_climb_are_refused(ground: Ground, path: str) -> None:
    error = failure(lambda: open_object(archive(f"pvc://models/{path}"), ground.access, AT))
    assert ".." in error.message
    assert error.field == f"{AT}.url"


def test_a_pipe_is_refused_and_not_waited_for(ground: Ground, claim: Path) -> None:
    os.mkfifo(claim / "sentiment" / "pipe")
    error = failure(lambda: open_folder(folder("pvc://models/sentiment"), ground.access, FOLDER_AT))
    assert "a pipe, a socket or a device" in error.message


@pytest.mark.usefixtures("claim")
def test_a_missing_file_is_told_with_its_neighbour(ground: Ground) -> None:
    error = failure(lambda: open_object(archive("pvc://models/digit.mar"), ground.access, AT))
    assert error.message == "pvc://models/digit.mar does not exist"
    assert error.hint == "pvc://models has digits.mar"
    error = failure(lambda: open_object(archive("pvc://models/sentiment/x/y"), ground.access, AT))
    assert error.hint == "pvc://models/sentiment has handler.py, run.sh, tokenizer"
    error = failure(lambda: open_object(archive("pvc://models/digits.mar/y"), ground.access, AT))
    assert "digits.mar is a file" in error.message or "cannot be read" in error.message


@pytest.mark.usefixtures("claim")
def test_a_folder_is_no_file_and_a_file_no_folder(ground: Ground) -> None:
    assert "is a folder" in failure(lambda: open_object(archive("pvc://models/sentiment"), ground.access, AT)).message
    assert "is a folder" in failure(lambda: open_object(archive("pvc://models"), ground.access, AT)).message
    error = failure(lambda: open_folder(folder("pvc://models/digits.mar"), ground.access, FOLDER_AT))
    assert "is a file, expected a folder" in error.message


def test_an_empty_folder_is_an_error(ground: Ground, claim: Path) -> None:
    (claim / "empty" / "inner").mkdir(parents=True)
    assert (
        "has no files" in failure(lambda: open_folder(folder("pvc://models/empty"), ground.access, FOLDER_AT)).message
    )


def test_a_claim_that_is_not_mounted_is_named(ground: Ground) -> None:
    error = failure(lambda: open_object(archive("pvc://nowhere/a.mar"), ground.access, AT))
    assert (error.field, "claim nowhere" in error.message) == (f"{AT}.url", True)


@pytest.mark.usefixtures("claim")
def test_more_than_max_size_is_refused(ground: Ground) -> None:
    error = failure(lambda: open_object(archive("pvc://models/digits.mar", maxSize="1Mi"), ground.access, AT))
    assert error.field == f"{AT}.maxSize"
    error = failure(lambda: open_folder(folder("pvc://models/", maxSize="1Mi"), ground.access, FOLDER_AT))
    assert error.field == f"{FOLDER_AT}.maxSize"


def test_a_config_map_is_a_folder_of_its_keys_known_by_their_content(ground: Ground) -> None:
    ground.config_map("parts", **{"handler.py": "def handle(): ...", "names.json": "{}"})
    source = FolderSource.model_validate({"configMapName": "parts"})
    opened = open_folder(source, ground.access, FOLDER_AT)
    assert [(file.path, content(file)) for file in opened.files()] == [
        ("handler.py", b"def handle(): ..."),
        ("names.json", b"{}"),
    ]
    assert opened.identity.startswith("sha256:")
    ground.config_map("same", **{"names.json": "{}", "handler.py": "def handle(): ..."})
    same = open_folder(FolderSource.model_validate({"configMapName": "same"}), ground.access, FOLDER_AT)
    assert same.identity == opened.identity


def test_a_config_map_with_one_key_is_an_archive(ground: Ground) -> None:
    ground.config_map("small", **{"a.mar": "content"})
    ground.config_map("two", a="", b="")
    with open_object(SourceSpec.model_validate({"configMapName": "small"}), ground.access, AT).open() as file:
        assert file.read() == b"content"
    error = failure(lambda: open_object(SourceSpec.model_validate({"configMapName": "two"}), ground.access, AT))
    assert "has 2 keys (a, b), expected one file" in error.message
    error = failure(lambda: open_object(SourceSpec.model_validate({"configMapName": "none"}), ground.access, AT))
    assert error.field == f"{AT}.configMapName"


_LIGHT = """
import sys
from pathlib import Path
from torchserve_operator.api.build import FolderSource
from torchserve_operator.builder.sources import Access, open_folder
from torchserve_operator.builder.sources.spool import Spool
access = Access(Spool(Path("spool"), 1), claims=Path(sys.argv[1]))
source = FolderSource.model_validate({"url": "pvc://models/sentiment"})
[b"".join(file.chunks()) for file in open_folder(source, access, "").files()]
heavy = {"fsspec", "aiohttp", "s3fs", "aiobotocore", "botocore", "urllib3", "kubernetes", "kopf"}
print(sorted(heavy & set(sys.modules)))
"""


@pytest.mark.usefixtures("claim")
def test_a_build_from_a_volume_loads_no_client_of_anything(ground: Ground) -> None:
    words = [sys.executable, "-c", _LIGHT, str(ground.access.claims)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.parametrize(("scheme", "package"), [("gs", "gcsfs"), ("az", "adlfs"), ("hf", "huggingface-hub")])
def test_a_scheme_whose_package_is_missing_is_told_with_its_extra(ground: Ground, scheme: str, package: str) -> None:
    for action in (
        lambda: open_object(archive(f"{scheme}://place/a.mar"), ground.access, AT),
        lambda: open_folder(folder(f"{scheme}://place/a"), ground.access, AT),
    ):
        error = failure(action)
        assert f"needs the Python package {package}" in error.message
        assert f"torchserve-operator[{scheme}]" in error.hint
