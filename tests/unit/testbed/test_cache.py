"""What is costly is made once, whole, and again exactly when what it is made from changes."""

from pathlib import Path

import pytest

from testbed import cache


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHSERVE_OPERATOR_CACHE", str(tmp_path / "cache"))


def test_a_key_depends_on_where_one_part_ends_and_the_next_begins() -> None:
    assert cache.content_key(["ab", "c"]) != cache.content_key(["a", "bc"])
    assert cache.content_key(["ab", b"c"]) == cache.content_key([b"ab", "c"])


def test_a_tree_counts_by_names_contents_and_execute_bits(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    keys = set()
    (tree / "a").write_text("1")
    keys.add(cache.content_key(cache.tree_parts(tree)))
    (tree / "a").chmod(0o755)
    keys.add(cache.content_key(cache.tree_parts(tree)))
    (tree / "a").rename(tree / "b")
    keys.add(cache.content_key(cache.tree_parts(tree)))
    (tree / "b").write_text("2")
    keys.add(cache.content_key(cache.tree_parts(tree)))
    assert len(keys) == 4
    before = cache.content_key(cache.tree_parts(tree))
    (tree / "__pycache__").mkdir()
    (tree / "__pycache__" / "b.pyc").write_text("")
    assert cache.content_key(cache.tree_parts(tree)) == before


def test_what_fails_half_way_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "place" / "thing"

    def make() -> None:
        with cache.publish(target) as made:
            made.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        make()
    assert list(target.parent.iterdir()) == []


def test_a_directory_that_is_there_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "thing"
    for name in ("old", "new"):
        with cache.publish(target) as made:
            made.mkdir()
            (made / name).write_text("")
    assert [path.name for path in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]
