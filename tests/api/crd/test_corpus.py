"""The real API server's verdict on every manifest of the corpus is the one that `validate` gives offline."""

import re
from pathlib import Path

import pytest

from corpus.cases import BadCase, bad_cases, body_of, good_files
from testbed.apihttp import Api

BAD = bad_cases()


@pytest.mark.parametrize("file", good_files(), ids=lambda file: file.stem)
def test_a_good_resource_is_accepted(http: Api, file: Path) -> None:
    created = http.create(body_of(file))
    applied = http.apply(body_of(file))
    assert created.accepted, created.body
    assert applied.accepted, applied.body


@pytest.mark.parametrize("case", [case for case in BAD if case.refused_by == "check"], ids=lambda case: case.file.stem)
def test_what_only_the_operator_can_tell_is_accepted(http: Api, case: BadCase) -> None:
    created = http.create(case.body)
    applied = http.apply(case.body)
    assert created.accepted, created.body
    assert applied.accepted, applied.body


@pytest.mark.parametrize("case", [case for case in BAD if case.refused_by == "schema"], ids=lambda case: case.file.stem)
def test_a_malformed_resource_is_refused_at_its_field(http: Api, case: BadCase) -> None:
    # A creation drops nulls where a server-side apply refuses them.
    refusals = [answer for answer in (http.create(case.body), http.apply(case.body)) if not answer.accepted]
    assert refusals
    for refusal in refusals:
        # 500 is the API server's own answer to a server-side apply that does not fit the schema's types.
        assert refusal.status in {400, 422} or "failed to create typed patch" in refusal.body["message"], refusal.body
    assert any(_names(refusal.fields, str(refusal.body["message"]), case.path) for refusal in refusals), refusals


def _names(fields: list[str], message: str, path: str) -> bool:
    """Whether a refusal is about a field; of a duplicate the API server names the element and not its key."""
    dotted = re.sub(r"\[([^]0-9][^]]*)]", r".\1", path)  # its way to write the key of a map
    return path in message or any(dotted == field or dotted.startswith(f"{field}.") for field in fields)
