"""What a user reads when a resource is wrong: the field, what is wrong, what was expected."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve_operator.api.errors import InvalidResourceError
from torchserve_operator.api.parse import parse_resource, parse_spec

NO_LABEL = (
    'metadata.name: "2digits": a TorchServeModel\'s name is a DNS label that starts with a letter '
    "(a-z, 0-9 and -), because it names a Service"
)


def errors_of(spec: object) -> list[str]:
    with pytest.raises(InvalidResourceError) as raised:
        parse_spec(spec)
    return [str(error) for error in raised.value.errors]


def spec(**fields: Any) -> dict[str, Any]:
    return {"image": "registry.example/digits:1", "models": [{"name": "digits"}]} | fields


def test_every_error_of_a_resource_is_reported_at_once() -> None:
    body = {
        "apiVersion": "torchserve-operator.dev/v1",
        "kind": "TorchserveModel",
        "metadata": {"name": "2digits"},
        "specs": {},
        "spec": spec(replicas=-1, models=[{"name": "a", "minWorkers": 2, "maxWorkers": 1, "path": "../a"}], imge="x"),
    }
    with pytest.raises(InvalidResourceError) as raised:
        parse_resource(body)
    assert [str(error) for error in raised.value.errors] == [
        'apiVersion: is "torchserve-operator.dev/v1", expected torchserve-operator.dev/v1alpha1',
        'kind: is "TorchserveModel", expected TorchServeModel',
        'specs: is not a field; did you mean "spec"?',
        NO_LABEL,
        "spec.models[0].path: path must not contain ..",
        "spec.models[0].minWorkers: minWorkers must not be greater than maxWorkers",
        "spec.replicas: is -1; the least is 0",
        'spec.imge: is not a field; did you mean "image"?',
    ]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"replicas": "1"}, 'spec.replicas: is "1"; expected a whole number'),
        ({"replicas": True}, "spec.replicas: is true; expected a whole number"),
        ({"server": None}, "spec.server: is empty; give it a value or leave the field out"),
        ({"server": []}, "spec.server: is a list of 0; expected an object"),
        ({"image": 1}, "spec.image: is 1; expected text: write it in quotes"),
        ({"image": ["a"]}, "spec.image: is a list of 1; expected text"),
        ({"image": "a b" * 40}, 'spec.image: is "' + ("a b" * 40)[:79] + "…; expected text that matches ^[^\\s]+$"),
        ({"paused": "no"}, 'spec.paused: is "no"; expected true or false'),
        (
            {"rollout": {"strategy": "surge"}},
            'spec.rollout.strategy: is "surge"; expected one of Surge, Replace; did you mean "Surge"?',
        ),
        ({"bogus": 1, "models": [{"name": "a"}]}, "spec.bogus: is not a field; known here: build, image, logging, "),
        (
            {"resources": {"limits": {"nvidia.com/gpu": 0.5}}},
            'spec.resources.limits[nvidia.com/gpu]: is the number 0.5; write it as text: "0.5"',
        ),
        ({"resources": {"limits": {"cpu": {}}}}, "spec.resources.limits.cpu: is not a quantity, such as 500m or 2Gi"),
        (
            {"pod": {"labels": {"k" * 318: "v"}}},
            f"spec.pod.labels.{'k' * 318}: the key has 318 characters; the most is 317",
        ),
        ({"pod": {"labels": {"a": None}}}, "spec.pod.labels.a: is empty; give it a value or leave the field out"),
        (
            {"models": [{"name": "a", "deviceIds": [1, 1]}]},
            'spec.models[0].deviceIds[1]: "1" appears twice; it must be unique',
        ),
        (
            {"models": [{"name": "a", "parameters": {"batchSize": 1}}]},
            "spec.models[0].parameters.batchSize: batchSize has a field of its own: set spec.models[0].batchSize",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_error_names_the_field_what_is_wrong_and_what_was_expected(fields: dict[str, Any], error: str) -> None:
    (message,) = errors_of(spec(**fields))
    assert message.startswith(error)


def test_a_field_inside_is_named_with_the_fields_of_its_own_object() -> None:
    (message,) = errors_of(spec(models=[{"name": "a", "minworkers": 1}]))
    assert message == 'spec.models[0].minworkers: is not a field; did you mean "minWorkers"?'


def test_nulls_in_free_objects_are_the_handlers_own() -> None:
    assert parse_spec(spec(models=[{"name": "a", "parameters": {"threshold": None}}])).models[0].parameters == {
        "threshold": None
    }


def test_quantities_are_kept_as_written() -> None:
    assert parse_spec(spec(resources={"limits": {"cpu": "1000m", "nvidia.com/gpu": 2}})).resources.limits == {
        "cpu": "1000m",
        "nvidia.com/gpu": "2",
    }


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(["models", "server", "logging", "resources", "replicas", "service", "pod", "paused", "image"])


@given(st.dictionaries(fields, json_values, max_size=4))
def test_no_resource_ends_in_anything_but_its_errors(noise: dict[str, Any]) -> None:
    try:
        parse_spec(spec(**noise))
    except InvalidResourceError as invalid:
        assert all(error.path.startswith("spec") and error.message for error in invalid.errors)  # noqa: PT017  # both ends are fine
