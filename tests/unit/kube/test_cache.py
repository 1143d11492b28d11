"""The cache keeps the newest of each object and says whose it is."""

from collections.abc import Mapping
from typing import Any

from torchserve_operator.kube.cache import Cache
from torchserve_operator.kube.kinds import CONFIG_MAP, Kind


def owner(_: Kind, body: Mapping[str, Any]) -> tuple[str, str] | None:
    name = body["metadata"].get("labels", {}).get("owner")
    return (body["metadata"]["namespace"], name) if name else None


def cache() -> Cache:
    def kept(body: Mapping[str, Any]) -> dict[str, Any]:
        return {"metadata": {"name": body["metadata"]["name"]}, "data": body["data"]}

    return Cache(owner, {CONFIG_MAP: kept})


def config_map(name: str, revision: int, of: str | None = "m", **data: str) -> dict[str, Any]:
    labels = {"owner": of} if of else {}
    return {
        "metadata": {"namespace": "ns", "name": name, "resourceVersion": str(revision), "labels": labels},
        "data": data,
    }


def test_an_older_object_does_not_replace_a_newer_one() -> None:
    known = cache()
    assert known.put(CONFIG_MAP, config_map("a", 7, x="new")) == ("ns", "m")
    assert known.put(CONFIG_MAP, config_map("a", 6, x="old")) is None
    found = known.get(CONFIG_MAP, "ns", "a")
    assert found is not None
    assert found["data"] == {"x": "new"}


def test_an_event_for_what_was_just_written_changes_nothing() -> None:
    known = cache()
    known.put(CONFIG_MAP, config_map("a", 7))
    assert known.put(CONFIG_MAP, config_map("a", 7)) is None


def test_a_change_of_what_is_not_kept_needs_no_look_and_makes_what_came_before_it_old() -> None:
    known = cache()
    known.put(CONFIG_MAP, config_map("a", 7, x="1"))
    assert known.put(CONFIG_MAP, config_map("a", 9, x="1")) is None
    assert known.put(CONFIG_MAP, config_map("a", 8, x="2")) is None
    assert known.revision(CONFIG_MAP, "ns", "a") == 9
    assert known.put(CONFIG_MAP, config_map("a", 10, x="2")) == ("ns", "m")


def test_children_are_found_by_their_resource_and_in_order() -> None:
    known = cache()
    for name in ("b", "a"):
        known.put(CONFIG_MAP, config_map(name, 1))
    known.put(CONFIG_MAP, config_map("c", 1, of="other"))
    assert [child["metadata"]["name"] for child in known.children(CONFIG_MAP, ("ns", "m"))] == ["a", "b"]


def test_a_child_that_loses_its_label_is_forgotten_and_its_resource_looked_at() -> None:
    known = cache()
    known.put(CONFIG_MAP, config_map("a", 1))
    assert known.put(CONFIG_MAP, config_map("a", 2, of=None)) == ("ns", "m")
    assert known.get(CONFIG_MAP, "ns", "a") is None


def test_a_child_that_changes_hands_belongs_to_its_new_resource_only() -> None:
    known = cache()
    known.put(CONFIG_MAP, config_map("a", 1))
    assert known.put(CONFIG_MAP, config_map("a", 2, of="other")) == ("ns", "other")
    assert known.children(CONFIG_MAP, ("ns", "m")) == []
    assert len(known.children(CONFIG_MAP, ("ns", "other"))) == 1


def test_dropping_names_the_resource_once() -> None:
    known = cache()
    known.put(CONFIG_MAP, config_map("a", 1))
    assert known.drop(CONFIG_MAP, "ns", "a") == ("ns", "m")
    assert known.drop(CONFIG_MAP, "ns", "a") is None
    assert list(known.keys(CONFIG_MAP)) == []
