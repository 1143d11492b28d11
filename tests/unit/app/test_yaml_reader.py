"""YAML is read as kubectl reads it (tests/api holds it against the real one), and more strictly."""

import pytest

from torchserve_operator.app.yaml_reader import VALUES_LIMIT, Document, YamlError, documents


def read(text: str) -> object:
    (document,) = documents(text)
    return document.value


def test_documents_come_with_their_line() -> None:
    assert list(documents("# a comment\na: 1\n---\n---\nb: [x, {c: d}]\n")) == [
        Document(2, {"a": 1}),
        Document(4, None),
        Document(5, {"b": ["x", {"c": "d"}]}),
    ]


@pytest.mark.parametrize(
    ("text", "line", "column", "why"),
    [
        ("a: 1\nb: 2\na: 3", 3, 1, 'the key "a" appears twice; it is on line 1 already'),
        ("a:\n  1: x\n  '1': y", 3, 3, 'the key "1" appears twice; it is on line 2 already'),
        ("a: [1", 1, 6, "expected ',' or ']', but got '<stream end>'"),
        ("a: b\n c: d", 2, 3, "mapping values are not allowed here"),
        ("a:\n\t- b", 2, 1, "found character '\\t' that cannot start any token"),
        ("a: *nothing", 1, 4, "found undefined alias 'nothing'"),
        ("a: .inf", 1, 4, ".inf is no number that JSON has"),
        ("a: .NaN", 1, 4, ".NaN is no number that JSON has"),
        ("a: 1e+400", 1, 4, "1e+400 is too large"),
        ("~: 1", 1, 1, "a key must be text"),
        ("[1]: 2", 1, 1, "a key must be text"),
        ("a: !!python/object:os.system {}", 1, 4, "a manifest has no use for the tag"),
        ("a: !!binary aGk=", 1, 4, "a manifest has no use for the tag"),
        ("&a [*a]", 1, 1, "it contains itself"),
        ("a: {<<: 1}", 1, 9, "<< needs a mapping"),
    ],
)
def test_what_no_manifest_may_have_is_an_error_at_its_place(text: str, line: int, column: int, why: str) -> None:
    with pytest.raises(YamlError) as raised:
        list(documents(text))
    assert (raised.value.line, raised.value.column) == (line, column)
    assert why in str(raised.value)


def test_documents_before_a_broken_one_are_read() -> None:
    stream = documents("a: 1\n---\nb: [")
    assert next(stream).value == {"a": 1}
    with pytest.raises(YamlError):
        next(stream)


def test_a_merged_mapping_gives_way_to_the_own_keys() -> None:
    assert read("base: &b {x: 1, v: 1}\nit: {<<: *b, v: 2}\nboth: {<<: [{z: 1}, *b, {z: 2}]}") == {
        "base": {"x": 1, "v": 1},
        "it": {"x": 1, "v": 2},
        "both": {"z": 1, "x": 1, "v": 1},
    }


def test_aliases_that_mean_billions_of_values_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(YamlError, match=f"more than {VALUES_LIMIT} values"):
        list(documents("\n".join(lines)))


@pytest.mark.parametrize("text", ["[" * 5000, "- " * 5000])
def test_text_that_nests_too_deeply_is_refused(text: str) -> None:
    with pytest.raises(YamlError, match="is nested too deeply"):
        list(documents(text))


def test_control_characters_are_refused() -> None:
    with pytest.raises(YamlError, match="special characters are not allowed"):
        list(documents("a: \x01"))
