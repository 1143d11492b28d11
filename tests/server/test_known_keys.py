"""Our table of config.properties against what TorchServe's own class says."""

from __future__ import annotations

import io
import subprocess
import tarfile
import zipfile

import pytest
from classfile import string_constants

from torchserve_operator.desired.properties import PROPERTIES

CONFIG_MANAGER = "org/pytorch/serve/util/ConfigManager.class"

NO_KEYS = {
    "DEFAULT_REQUEST_SEQUENCE_END",
    "DEFAULT_REQUEST_SEQUENCE_ID",
    "DEFAULT_REQUEST_SEQUENCE_START",
    "DEFAULT_TS_ALLOWED_URLS",
    "METRIC_FORMAT_PROMETHEUS",
    "MODEL_LOGGER",
    "MODEL_METRICS_LOGGER",
    "MODEL_SERVER_METRICS_LOGGER",
    "MODEL_SERVER_TELEMETRY_LOGGER",
}
"""Constants of that class that are values, and names of loggers."""

LAUNCHER = {"plugins_path", "vmargs"}
"""Keys that TorchServe's Python launcher reads, and Java does not."""


def constants(image: str) -> dict[str, str]:
    """The string constants of ConfigManager in an image, by name."""
    find = "import importlib.util as u; print(u.find_spec('ts').submodule_search_locations[0])"
    run = ["docker", "run", "--rm", "--network", "none", "--entrypoint"]
    place = subprocess.run([*run, "python", image, "-c", find], capture_output=True, check=True, text=True)
    folder = f"{place.stdout.strip()}/frontend"
    packed = subprocess.run(
        [*run, "tar", image, "-C", folder, "-chf", "-", "model-server.jar"], capture_output=True, check=True
    )
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        jar = archive.extractfile("model-server.jar")
        assert jar is not None
        return string_constants(zipfile.ZipFile(io.BytesIO(jar.read())).read(CONFIG_MANAGER))


@pytest.fixture(scope="module")
def newest(runtime: str) -> dict[str, str]:
    """0.12.0's."""
    return constants(runtime)


def test_every_key_of_torchserve_is_known_and_no_other(newest: dict[str, str]) -> None:
    keys = {value for name, value in newest.items() if name not in NO_KEYS}
    assert keys | LAUNCHER == PROPERTIES.keys()


def test_a_variable_overrides_a_key_exactly_where_its_constant_has_the_variables_name(newest: dict[str, str]) -> None:
    variables = {value: name for name, value in newest.items() if name.startswith("TS_")}
    assert {key: found.environment for key, found in PROPERTIES.items() if found.environment} == variables


def test_keys_that_an_older_torchserve_lacks_are_marked(newest: dict[str, str], legacy: str) -> None:
    older = constants(legacy)
    assert older.items() <= newest.items()
    missing = set(newest.values()) - set(older.values())
    assert missing == {key for key, found in PROPERTIES.items() if found.since == "0.12.0"}
