"""What the environment may say, and what a person is told where it says something else."""

import os

import pytest

from torchserve_operator.app.settings import PREFIX, SettingsError, read_settings


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)


def problems(monkeypatch: pytest.MonkeyPatch, **variables: str) -> list[str]:
    for name, value in variables.items():
        monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(SettingsError) as caught:
        read_settings()
    return [problem.removeprefix(PREFIX) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("LOG_LEVEL", "LOUD", "is 'LOUD'; expected one of DEBUG, INFO, WARNING, ERROR"),
        ("LOG_FORMAT", "xml", "is 'xml'; expected one of json, text"),
        ("HTTP_PORT", "70000", "is '70000'; expected at most 65535"),
        ("HTTP_PORT", "http", "is 'http'; expected a whole number"),
        ("WORKERS", "0", "is '0'; expected at least 1"),
        ("AGENT_CONCURRENCY", "2.5", "is '2.5'; expected a whole number"),
        ("RESYNC_SECONDS", "0", "is '0'; expected more than 0"),
        ("RESYNC_SECONDS", "inf", "is 'inf'; expected a number"),
        ("RESYNC_SECONDS", "10m", "is '10m'; expected a number"),
        ("NAMESPACES", "a,B_", "has 'B_', which is no name of a namespace; expected names separated by commas"),
        ("NAMESPACES", "team-*", "has 'team-*', which is no name of a namespace; expected names separated by commas"),
        (
            "REGISTRY_MIRRORS",
            "registry.example=http://10.0.0.5",
            'is no JSON; expected a JSON object such as {"registry.example": "http://10.0.0.5:5000"}',
        ),
        (
            "REGISTRY_MIRRORS",
            '["http://10.0.0.5"]',
            """is '["http://10.0.0.5"]'; expected a JSON object such as {"registry.example": "http://10.0.0.5:5000"}""",
        ),
        (
            "REGISTRY_MIRRORS",
            '{"registry.example": "10.0.0.5:5000"}',
            "has '10.0.0.5:5000' for registry.example; expected http://HOST[:PORT] or https://HOST[:PORT]",
        ),
        ("BUILD_TTL_SECONDS", "5", "is '5'; expected at least 60"),
        ("LOGLEVEL", "INFO", f'is not a setting; did you mean "{PREFIX}LOG_LEVEL"?'),
        ("WORKER", "4", f'is not a setting; did you mean "{PREFIX}WORKERS"?'),
        ("ZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZ", "", "is not a setting"),
    ],
)
def test_a_wrong_variable_is_named_with_what_was_expected(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    (problem,) = problems(monkeypatch, **{name: value})
    assert problem == f"{name} {message}"


def test_every_problem_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told = problems(monkeypatch, WORKERS="0", LOG_LEVEL="LOUD", LOGLEVEL="INFO")
    assert sorted(problem.split()[0] for problem in told) == ["LOGLEVEL", "LOG_LEVEL", "WORKERS"]


def test_what_kubernetes_sets_beside_a_service_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_80_TCP", "PORT_80_TCP_ADDR"):
        monkeypatch.setenv(PREFIX + name, "10.0.0.1")
    assert read_settings().http_port == 8000


def test_namespaces_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PREFIX + "NAMESPACES", " team-a, team-b,")
    assert read_settings().namespaces == ("team-a", "team-b")


def test_builds_follow_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PREFIX + "BUILDER_IMAGE", "registry.example/operator:1")
    monkeypatch.setenv(PREFIX + "BASE_IMAGE_GPU", "registry.example/base:gpu")
    monkeypatch.setenv(PREFIX + "REGISTRY_MIRRORS", '{"registry.example": "http://10.0.0.5:5000"}')
    defaults = read_settings().build_defaults()
    assert defaults.builder_image == "registry.example/operator:1"
    assert defaults.base_images == {"cpu": "pytorch/torchserve:0.12.0-cpu", "gpu": "registry.example/base:gpu"}
    assert defaults.registry_mirrors == {"registry.example": "http://10.0.0.5:5000"}
    assert defaults.ttl_seconds == 3600
