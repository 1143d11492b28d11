"""What counts as a difference, and what of an object is a stranger's."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve_operator.kube.drift import digest, dotted, first_difference, foreign_paths, json_pointer

SAME: list[tuple[str, Any, Any]] = [
    ("defaults that the server filled in", {"a": 1}, {"a": 1, "terminationMessagePath": "/dev/x"}),
    ("an empty string that the server dropped", {"env": [{"name": "A", "value": ""}]}, {"env": [{"name": "A"}]}),
    ("false that the server dropped", {"readOnly": False}, {}),
    ("an empty object that the server dropped", {"labels": {}}, {}),
    ("CPUs in canonical form", {"limits": {"cpu": "1000m"}}, {"limits": {"cpu": "1"}}),
    ("memory in canonical form", {"requests": {"memory": "1024Mi"}}, {"requests": {"memory": "1Gi"}}),
    ("a size limit in canonical form", {"emptyDir": {"sizeLimit": "2048Mi"}}, {"emptyDir": {"sizeLimit": "2Gi"}}),
    ("named entries in another order", [{"name": "a"}, {"name": "b"}], [{"name": "b"}, {"name": "a"}]),
    ("a stranger's entry beside ours", [{"name": "a"}], [{"name": "x"}, {"name": "a"}]),
]

DIFFERENT: list[tuple[str, Any, Any, str]] = [
    ("another value", {"a": {"b": 1}}, {"a": {"b": 2}}, "a.b"),
    ("a missing field", {"a": {"b": 1}}, {"a": {}}, "a.b"),
    ("a missing entry", [{"name": "a"}, {"name": "b"}], [{"name": "a"}], "[1]"),
    ("a changed entry", {"e": [{"name": "a", "value": "1"}]}, {"e": [{"name": "a", "value": "2"}]}, "e[0].value"),
    ("another amount", {"limits": {"cpu": "2"}}, {"limits": {"cpu": "1"}}, "limits.cpu"),
    ("no quantity but text", {"tag": "1000m"}, {"tag": "1"}, "tag"),
    ("true instead of 1", {"a": 1}, {"a": True}, "a"),
    ("plain lists in another order", {"command": ["a", "b"]}, {"command": ["b", "a"]}, "command[0]"),
    ("plain lists of another length", {"command": ["a"]}, {"command": ["a", "b"]}, "command"),
    ("an object where text was", {"a": {"b": 1}}, {"a": "b"}, "a"),
]


@pytest.mark.parametrize(("wanted", "live"), [case[1:] for case in SAME], ids=[case[0] for case in SAME])
def test_these_are_the_same(wanted: Any, live: Any) -> None:
    assert first_difference(wanted, live) is None


@pytest.mark.parametrize(
    ("wanted", "live", "where"), [case[1:] for case in DIFFERENT], ids=[case[0] for case in DIFFERENT]
)
def test_these_differ_and_it_says_where(wanted: Any, live: Any, where: str) -> None:
    found = first_difference(wanted, live)
    assert found is not None
    assert dotted(found) == where


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("xy", min_size=1, max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(JSON)
def test_everything_equals_itself(value: Any) -> None:
    assert first_difference(value, value) is None


@given(JSON)
def test_a_digest_tells_only_of_the_value(value: Any) -> None:
    assert digest(value) == digest(value)
    assert digest({"v": value}) != digest({"w": value})


def managed(*entries: tuple[str, str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"manager": who, "operation": how, "fieldsV1": fields} for who, how, fields in entries]


OURS = {
    "f:spec": {
        "f:replicas": {},
        "f:template": {"f:spec": {"f:containers": {'k:{"name":"main"}': {".": {}, "f:name": {}, "f:image": {}}}}},
    }
}


def deployment(containers: list[dict[str, Any]], theirs: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"managedFields": managed(("us", "Apply", OURS), ("kubectl-edit", "Update", theirs))},
        "spec": {"replicas": 1, "template": {"spec": {"containers": containers}}, **spec},
    }


def test_a_foreign_container_is_found_with_its_index() -> None:
    body = deployment(
        [{"name": "evil", "image": "x"}, {"name": "main", "image": "y"}],
        {"f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"evil"}': {".": {}, "f:image": {}}}}}}},
    )
    assert [json_pointer(path) for path in foreign_paths(body, "us")] == ["/spec/template/spec/containers/0"]


def test_foreign_entries_of_one_list_come_from_its_end() -> None:
    theirs = {
        "f:spec": {
            "f:template": {"f:spec": {"f:containers": {'k:{"name":"a"}': {".": {}}, 'k:{"name":"b"}': {".": {}}}}}
        }
    }
    body = deployment([{"name": "a"}, {"name": "main"}, {"name": "b"}], theirs)
    assert [path[-1] for path in foreign_paths(body, "us")] == [2, 0]


def test_a_field_inside_our_container_is_found() -> None:
    theirs = {
        "f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"main"}': {"f:stdin": {}, "f:image": {}}}}}}
    }
    body = deployment([{"name": "main", "image": "y", "stdin": True}], theirs)
    assert [dotted(path) for path in foreign_paths(body, "us")] == ["spec.template.spec.containers[0].stdin"]


def test_what_nobody_owns_is_a_default_and_what_is_gone_is_ignored() -> None:
    theirs = {"f:spec": {"f:paused": {}, "f:replicas": {}}}
    assert foreign_paths(deployment([{"name": "main"}], theirs), "us") == []


def test_status_written_by_controllers_is_no_strangers_work() -> None:
    body = deployment([{"name": "main"}], {"f:spec": {"f:paused": {}}}, paused=True)
    body["metadata"]["managedFields"][1]["subresource"] = "status"
    assert foreign_paths(body, "us") == []


def test_a_slash_in_a_key_is_escaped_in_a_pointer() -> None:
    assert json_pointer(("metadata", "annotations", "a/b~c")) == "/metadata/annotations/a~1b~0c"
