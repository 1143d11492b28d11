"""What fsspec's file systems read, on the one that fsspec has in memory."""

from collections.abc import Iterator
from pathlib import Path

import fsspec  # type: ignore[import-untyped]
import pytest

from testbed.source_access import Ground
from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.sources import remote
from torchserve_operator.builder.sources.objects import Limits
from torchserve_operator.builder.sources.optional import Store

FIELD = "spec.models[0].archive"
CONTENT = bytes(range(256)) * 40_000


@pytest.fixture(autouse=True)
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    system = fsspec.filesystem("memory")
    system.pipe({"/models/digits.mar": CONTENT, "/models/parts/a.py": b"a", "/models/parts/t/.b": b"b"})
    yield system
    system.rm("/models", recursive=True)


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


def limits(most: int = 1 << 30) -> Limits:
    return Limits(FIELD, "memory://models", most, "")


def test_an_object_is_read_in_any_order(ground: Ground) -> None:
    opened = remote.open_object("memory://models/digits.mar", None, ground.access, f"{FIELD}.url", limits())
    with opened.open() as file:
        file.seek(9_000_000)
        assert file.read(5) == CONTENT[9_000_000:9_000_005]
        file.seek(0)
        assert file.read() == CONTENT
    assert opened.identity.startswith("modified:")


def test_a_folder_has_all_its_objects(ground: Ground) -> None:
    opened = remote.open_folder("memory://models/parts", None, ground.access, f"{FIELD}.url", limits())
    assert [(file.path, b"".join(file.chunks())) for file in opened.files()] == [("a.py", b"a"), ("t/.b", b"b")]


@pytest.mark.parametrize("url", ["memory://models/nothing.mar", "memory://models/parts"])
def test_what_is_no_object_is_an_error(ground: Ground, url: str) -> None:
    with pytest.raises(BuildError) as caught:
        remote.open_object(url, None, ground.access, f"{FIELD}.url", limits())
    assert caught.value.field == f"{FIELD}.url"


@pytest.mark.parametrize(
    ("error", "words", "transient"),
    [
        (FileNotFoundError("https://h/a?sig=5ec1e7"), "does not exist", False),
        (PermissionError("https://h/a?sig=5ec1e7"), "is forbidden", False),
        (TimeoutError("https://h/a?sig=5ec1e7"), "cannot be reached", True),
        (OSError("https://h/a?sig=5ec1e7"), "cannot be read (OSError)", True),
        (ValueError("https://h/a?sig=5ec1e7"), "cannot be read (ValueError)", False),
    ],
)
def test_what_a_package_raises_is_said_without_its_own_words(error: Exception, words: str, transient: bool) -> None:
    failed = Store("memory://models", None, "spec.x.url").failed(error, "memory://models/a")
    assert words in failed.error.message
    assert failed.transient == transient
    assert "5ec1e7" not in str(failed.error)


def test_more_than_max_size_is_refused(ground: Ground) -> None:
    with pytest.raises(BuildError) as caught:
        remote.open_folder("memory://models", None, ground.access, f"{FIELD}.url", limits(1 << 20))
    assert caught.value.field == f"{FIELD}.maxSize"
