"""config.properties, as Java reads it."""

import json
import re

import javaproperties
from hypothesis import given
from hypothesis import strategies as st

from torchserve_operator.api.spec import TorchServeModelSpec
from torchserve_operator.desired.config_properties import config_properties
from torchserve_operator.desired.properties import PROPERTIES, Kind
from torchserve_operator.desired.sizing import size
from unit.desired.specs import make_spec


def rendered(spec: TorchServeModelSpec) -> dict[str, str]:
    """The file, read back."""
    read: dict[str, str] = javaproperties.loads(config_properties(spec, size(spec)))
    return read


def test_the_same_spec_gives_the_same_bytes_without_a_time() -> None:
    spec = make_spec(server={"properties": {"io_ratio": "60", "debug": "true"}})
    again = make_spec(server={"properties": {"debug": "true", "io_ratio": "60"}})
    assert config_properties(spec, size(spec)) == config_properties(again, size(again))
    assert "#" not in config_properties(spec, size(spec))


def test_a_changed_bound_changes_no_file() -> None:
    one, four = ({"minWorkers": least, "maxWorkers": most} for least, most in ((1, 1), (2, 4)))
    assert rendered(make_spec(one)) == rendered(make_spec(four))


def test_models_are_loaded_by_name_and_have_every_setting_but_their_bounds() -> None:
    properties = rendered(make_spec({"name": "a", "version": "2.0", "batchSize": 4, "minWorkers": 2}, {"name": "b"}))
    assert properties["load_models"] == "a=a,b=b"
    assert json.loads(properties["models"])["a"] == {
        "2.0": {"batchSize": 4, "defaultVersion": True, "marName": "a", "responseTimeout": 120, "startupTimeout": 120}
    }


def test_only_inference_listens_beyond_loopback() -> None:
    properties = rendered(make_spec())
    assert properties["inference_address"] == "http://0.0.0.0:8080"
    assert properties["management_address"] == "http://127.0.0.1:8081"
    assert properties["metrics_address"] == "http://127.0.0.1:8082"


def test_tls_is_on_the_inference_port_alone() -> None:
    properties = rendered(make_spec(server={"tls": {"secretName": "s"}}))
    assert properties["inference_address"] == "https://0.0.0.0:8080"
    assert properties["management_address"] == "http://127.0.0.1:8081"
    assert properties["private_key_file"] == "/opt/torchserve-operator/tls/tls.key"
    assert properties["certificate_file"] == "/opt/torchserve-operator/tls/tls.crt"


def test_no_url_is_allowed_where_none_is_named() -> None:
    pattern = rendered(make_spec())["allowed_urls"]
    assert not any(re.fullmatch(pattern, url) for url in ("", "http://x", "file:///m.mar", "m"))


def test_every_key_that_is_written_is_one_that_torchserve_knows() -> None:
    spec = make_spec(
        server={
            "cors": {"allowedOrigin": "*"},
            "tls": {"secretName": "s"},
            "maxRequestSize": 1,
            "maxResponseSize": 1,
            "metrics": {"config": {"dimensions": [], "ts_metrics": {"counter": []}, "model_metrics": {"gauge": []}}},
            "properties": {"debug": "true"},
        }
    )
    assert rendered(spec).keys() <= PROPERTIES.keys()
    assert {key for key in rendered(spec) if PROPERTIES[key].kind is Kind.FREE} == {"debug"}


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=200))
def test_any_text_arrives_as_it_was_written(text: str) -> None:
    spec = make_spec(server={"properties": {"system_metrics_cmd": text}})
    assert rendered(spec)["system_metrics_cmd"] == text
