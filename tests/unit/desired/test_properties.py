"""`server.properties`: by name, by who sets a key, and by its value's type."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve_operator.desired.properties import PROPERTIES, Kind, Type, property_errors
from unit.desired.specs import make_spec


def message_for(key: str, value: str, **fields: object) -> str | None:
    """The one error of a key, or None."""
    errors = list(property_errors(make_spec(server={"properties": {key: value}}, **fields)))
    assert len(errors) <= 1
    return errors[0].message if errors else None


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("job_queue_siz", "1", 'did you mean "job_queue_size"?'),
        ("batch_size", "1", "is not a key of TorchServe's config.properties"),
        ("xyzzy", "1", "docs/configuration.md"),
        ("number_of_netty_threads", "4", "set spec.server.numberOfNettyThreads"),
        ("default_response_timeout", "4", "set spec.models[].responseTimeout"),
        ("keystore", "/k", "set spec.server.tls.secretName"),
        ("inference_address", "http://0.0.0.0:80", "is set by the operator: port 8080"),
        ("install_py_dep_per_model", "true", "install requirements into the image"),
        ("grpc_inference_port", "7070", "gRPC is not served yet"),
        ("io_ratio", "101", "expected a whole number from 1 to 100"),
        ("io_ratio", "+5", "expected a whole number"),
        ("io_ratio", "5 ", "expected a whole number"),
        ("io_ratio", "\N{ARABIC-INDIC DIGIT FIVE}", "expected a whole number"),
        ("debug", "True", "expected true or false"),
        ("debug", "yes", "expected true or false"),
        ("blacklist_env_vars", "(", "expected a regular expression"),
        ("workflow_store", "store", "expected an absolute path"),
        ("workflow_store", "/a/../b", "expected an absolute path"),
        ("service_envelope", "a\nb", "expected text in one line"),
        ("service_envelope", "", "expected text in one line"),
        ("system_metrics_cmd", "$$NOT_THERE$$", "names the environment variable NOT_THERE"),
    ],
)
def test_a_key_or_value_that_torchserve_would_not_take_is_refused(key: str, value: str, words: str) -> None:
    assert words in (message_for(key, value) or "")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("io_ratio", "100"),
        ("debug", "false"),
        ("blacklist_env_vars", ".*SECRET.*|OMP.*"),
        ("workflow_store", "/srv/workflows"),
        ("default_service_handler", "my_handler.py:handle"),
        ("metric_time_interval", "60"),
    ],
)
def test_a_free_key_with_a_right_value_is_taken(key: str, value: str) -> None:
    assert message_for(key, value) is None


def test_a_variable_that_the_pod_has_may_be_named_in_a_value() -> None:
    env = {"env": [{"name": "COMMAND", "value": "x"}]}
    assert message_for("system_metrics_cmd", "$$COMMAND$$ --all", pod=env) is None


def test_every_key_but_the_free_ones_is_refused_whatever_its_value() -> None:
    for key, found in PROPERTIES.items():
        if found.kind is not Kind.FREE:
            assert message_for(key, "1") is not None


@pytest.mark.parametrize("key", [key for key, found in PROPERTIES.items() if found.type is Type.INTEGER])
@given(number=st.integers())
def test_a_number_that_is_taken_is_one_that_java_reads(key: str, number: int) -> None:
    if message_for(key, str(number)) is None:
        assert -(2**31) <= number < 2**31
