import json
from pathlib import Path

import pytest

from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.plan import (
    TERMINATION_LIMIT,
    BaseResult,
    LayerResult,
    Plan,
    Result,
    SourceResult,
    failed,
    read_plan,
)

PLAN = {
    "schema": 1,
    "owner": "team/digits",
    "base": "r.example/base:1",
    "repository": "r.example/team/digits",
    "models": [{"name": "digits", "archive": {"url": "s3://models/digits.mar"}, "field": "spec.models[0]"}],
    "registryMirrors": {"r.example": "http://10.0.0.1:5000"},
}


def _result(layers: int, name: str = "model m") -> Result:
    digest = "sha256:" + "a" * 64
    return Result(
        image=f"r.example/team/digits@{digest}",
        digest=digest,
        key=digest,
        base=BaseResult(reference="r.example/base:1", digest=digest),
        layers=[
            LayerResult(name=f"{name}{number}", key=digest, digest=digest, size=1, reused=False)
            for number in range(layers)
        ],
        sources=[SourceResult(model=f"m{number}", identity=digest) for number in range(layers)],
        seconds={"total": 1.5},
    )


def test_a_plan_is_read_as_the_operator_writes_it(tmp_path: Path) -> None:
    place = tmp_path / "plan.json"
    place.write_text(json.dumps(PLAN))
    plan = read_plan(place)
    assert plan.models[0].archive is not None
    assert plan.models[0].archive.url == "s3://models/digits.mar"
    assert Plan.model_validate_json(plan.model_dump_json(by_alias=True, exclude_none=True)) == plan


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"schema": 2}, "schema"),
        ({"owner": None}, "owner"),
        ({"later": 1}, "later"),
        ({"models": [{}]}, "models.0.name"),
    ],
)
def test_a_plan_that_is_not_understood_is_refused_at_its_place(
    tmp_path: Path, change: dict[str, object], place: str
) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({**PLAN, **change}))
    with pytest.raises(BuildError, match=f"is not understood at {place}: .*of one version"):
        read_plan(path)


def test_a_plan_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="cannot be read"):
        read_plan(tmp_path / "plan.json")


def test_a_small_result_is_told_whole() -> None:
    result = _result(3)
    told = json.loads(result.termination_message())
    assert Result.model_validate(told) == result


@pytest.mark.parametrize("layers", [0, 1, 12, 20, 64, 1000])
def test_a_result_always_fits_and_always_has_the_digest(layers: int) -> None:
    message = _result(layers).termination_message()
    assert len(message) <= TERMINATION_LIMIT
    assert json.loads(message)["digest"] == "sha256:" + "a" * 64


@pytest.mark.parametrize("text", ["x" * 5000, "ü" * 5000, "😀" * 5000, '"\\' * 5000, "\n" * 5000])
def test_an_error_always_fits(text: str) -> None:
    message = failed(BuildError(text, text, text)).termination_message()
    assert len(message) <= TERMINATION_LIMIT
    error = json.loads(message)["error"]
    assert error["message"]
    assert set(error) == {"field", "message", "hint"}


def test_of_a_failed_build_only_the_error_is_told() -> None:
    told = json.loads(failed(BuildError("spec.build", "is wrong", "set it right")).termination_message())
    assert told == {"schema": 1, "error": {"field": "spec.build", "message": "is wrong", "hint": "set it right"}}
