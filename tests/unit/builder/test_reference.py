import pytest

from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.reference import Reference, parse, parse_repository

DIGEST = "sha256:" + "0123456789abcdef" * 4
FIELD = "spec.build.baseImage"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("registry.example/team/digits:1.0", Reference("registry.example", "team/digits", "1.0")),
        ("registry.example:5000/digits", Reference("registry.example:5000", "digits")),
        ("localhost/digits:a", Reference("localhost", "digits", "a")),
        ("[::1]:5000/digits", Reference("[::1]:5000", "digits")),
        (f"registry.example/digits@{DIGEST}", Reference("registry.example", "digits", digest=DIGEST)),
        (f"registry.example/digits:1@{DIGEST}", Reference("registry.example", "digits", "1", DIGEST)),
        ("debian", Reference("docker.io", "library/debian")),
        ("pytorch/torchserve:0.12.0-cpu", Reference("docker.io", "pytorch/torchserve", "0.12.0-cpu")),
        ("docker.io/debian:13", Reference("docker.io", "library/debian", "13")),
        ("index.docker.io/team/x", Reference("docker.io", "team/x")),
        ("REGISTRY/team/x", Reference("REGISTRY", "team/x")),
        ("r.example/a__b/c-d/e.f:G_h", Reference("r.example", "a__b/c-d/e.f", "G_h")),
    ],
)
def test_a_reference_is_parsed_as_the_field_does(text: str, expected: Reference) -> None:
    assert parse(text, FIELD) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        (" debian", "spaces around"),
        ("https://registry.example/x", "is a URL"),
        ("registry.example/Team/x", 'write it in lower case: "team/x"'),
        ("registry.example/x:", '"" is no tag'),
        ("registry.example/x:-1", '"-1" is no tag'),
        ("registry.example/x@sha256:12", '"sha256:12" is no digest'),
        (f"registry.example/x@{DIGEST}@{DIGEST}", "is no digest"),
        ("registry.example//x", '"" is no part'),
        ("registry.example/x/", '"" is no part'),
        ("registry.example/a..b", '"a..b" is no part'),
        ("-registry.example/x", "is no registry"),
        ("registry.example:port/x", "is no registry"),
        (f"registry.example/{'a' * 300}", "longer than 255"),
    ],
)
def test_what_is_wrong_with_a_reference_is_said(text: str, says: str) -> None:
    with pytest.raises(BuildError) as caught:
        parse(text, FIELD)
    assert says in str(caught.value)
    assert caught.value.field == FIELD


@pytest.mark.parametrize("text", ["debian:13", f"r.example:5000/a/b:c@{DIGEST}"])
def test_a_reference_is_written_as_it_is_parsed(text: str) -> None:
    assert parse(str(parse(text, FIELD)), FIELD) == parse(text, FIELD)


def test_a_manifest_is_asked_for_by_digest_then_tag_then_latest() -> None:
    versions = [parse(text, FIELD).version for text in (f"r.example/x:1@{DIGEST}", "r.example/x:1", "r.example/x")]
    assert versions == [DIGEST, "1", "latest"]


def test_docker_hub_answers_at_another_name() -> None:
    assert parse("debian", FIELD).host == "registry-1.docker.io"
    assert parse("r.example/x", FIELD).host == "r.example"


@pytest.mark.parametrize("text", ["r.example/x:1", f"r.example/x@{DIGEST}"])
def test_a_repository_has_neither_tag_nor_digest(text: str) -> None:
    with pytest.raises(BuildError, match="leave it out"):
        parse_repository(text, "spec.build.repository")
