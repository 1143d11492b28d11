"""The command line, through its front door."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from torchserve_operator.app.cli import main

GOOD = """\
apiVersion: torchserve-operator.dev/v1alpha1
kind: TorchServeModel
metadata: {name: digits}
spec:
  image: registry.example/digits:1
  models: [{name: digits}]
"""
BAD = GOOD + "  replicas: -1\n"
OTHER = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n"

Write = Callable[[str, str | bytes], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, content: str | bytes) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write


def invoke(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, arguments, input=stdin)


def test_a_valid_file_says_nothing_on_standard_output_and_exits_0(write: Write) -> None:
    result = invoke("validate", "-f", write("digits.yaml", GOOD))
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "1 valid, 0 invalid\n")


def test_an_invalid_file_exits_1_and_names_file_document_resource_and_field(write: Write) -> None:
    file = write("both.yaml", f"{GOOD}---\n{BAD}")
    result = invoke("validate", "-f", file)
    assert result.exit_code == 1
    assert result.stdout == f"{file}, document 2 (line 8), digits: spec.replicas: is -1; the least is 0\n"
    assert result.stderr == "1 valid, 1 invalid\n"


def test_a_folder_is_searched_at_any_depth_in_the_order_of_names(write: Write, tmp_path: Path) -> None:
    write("b/second.yml", BAD)
    write("a.yaml", BAD)
    write("c.json", '{"apiVersion": "torchserve-operator.dev/v1alpha1", "kind": "TorchServeModel"}')
    write("notes.txt", "no manifest")
    result = invoke("validate", "-f", str(tmp_path))
    assert result.exit_code == 1
    assert [line.split(",")[0] for line in result.stdout.splitlines()] == [
        *(str(tmp_path / name) for name in ("a.yaml", "b/second.yml", "c.json", "c.json"))
    ]


def test_standard_input_is_a_dash() -> None:
    result = invoke("validate", "-f", "-", stdin=BAD)
    assert result.exit_code == 1
    assert result.stdout.startswith("standard input, document 1 (line 1), digits: spec.replicas")


def test_other_kinds_are_skipped_with_a_note(write: Write) -> None:
    result = invoke("validate", "-f", write("mixed.yaml", f"---\n{OTHER}---\n---\n{GOOD}"))
    assert (result.exit_code, result.stdout) == (0, "")
    assert "document 1 (line 2): skipped, it is ConfigMap and no TorchServeModel" in result.stderr


def test_a_misspelled_kind_is_an_error_and_not_skipped(write: Write) -> None:
    result = invoke("validate", "-f", write("typo.yaml", GOOD.replace("TorchServeModel", "TorchserveModels")))
    assert result.exit_code == 1
    assert 'kind: is "TorchserveModels", expected TorchServeModel' in result.stdout


def test_the_items_of_a_list_are_checked(write: Write) -> None:
    item = "\n".join(f"  {line}" for line in BAD.splitlines()).strip()
    result = invoke("validate", "-f", write("list.yaml", f"apiVersion: v1\nkind: List\nitems:\n- {item}\n"))
    assert result.exit_code == 1
    assert "items[0], digits: spec.replicas" in result.stdout


def test_a_syntax_error_is_reported_with_line_and_column(write: Write) -> None:
    result = invoke("validate", "-f", write("broken.yaml", f"{GOOD}---\na: b: c\n"))
    assert result.exit_code == 1
    assert "broken.yaml, document 2: line 8:5: mapping values are not allowed here" in result.stdout


def test_a_key_given_twice_is_an_error(write: Write) -> None:
    result = invoke("validate", "-f", write("twice.yaml", GOOD + "  image: other\n"))
    assert result.exit_code == 1
    assert 'line 7:3: the key "image" appears twice; it is on line 5 already' in result.stdout


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"\xff\xfe", "is not UTF-8: byte 0 is 0xff"), (b"- a\n", "is a list"), (b"just text\n", "is a plain value")],
)
def test_what_is_no_manifest_is_an_error(write: Write, content: bytes, why: str) -> None:
    result = invoke("validate", "-f", write("odd.yaml", content))
    assert result.exit_code == 1
    assert why in result.stdout


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["validate"], "Missing option"),
        (["validate", "-f", "/nowhere.yaml"], "/nowhere.yaml does not exist"),
        (["validate", "--file", "x"], "No such option"),
        (["varidate"], "No such command"),
        (["render", "-f", "/nowhere.yaml"], "/nowhere.yaml does not exist"),
    ],
)
def test_wrong_use_exits_2_and_says_why(arguments: list[str], why: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert why in result.stderr


def test_a_folder_without_manifests_is_wrong_use(tmp_path: Path) -> None:
    result = invoke("validate", "-f", str(tmp_path))
    assert result.exit_code == 2
    assert "has no manifest" in result.stderr


def test_a_wrong_setting_is_wrong_use_and_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHSERVE_OPERATOR_WORKERS", "many")
    result = invoke("run")
    assert result.exit_code == 2
    assert result.stderr == "Error: TORCHSERVE_OPERATOR_WORKERS is 'many'; expected a whole number\n"


def test_the_version_is_told() -> None:
    result = invoke("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("torchserve-operator, version ")


def test_validating_needs_no_client_of_a_cluster(write: Write) -> None:
    import subprocess

    code = (
        "import sys; from torchserve_operator.app.cli import main\n"
        "try: main(['validate', '-f', sys.argv[1]])\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "assert not {'kopf', 'kubernetes', 'aiohttp'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, write("digits.yaml", GOOD)], check=True, capture_output=True)


def test_a_build_starts_without_what_it_may_not_need() -> None:
    import subprocess

    code = (
        "import sys; from torchserve_operator.app.cli import main\n"
        "from torchserve_operator.builder import in_pod, process\n"
        "ours = {f'torchserve_operator.builder.{name}' for name in ('archive', 'package', 'requirements')}\n"
        "found = (ours | {'aiohttp', 'botocore', 'fsspec', 'kopf', 'packaging', 'rich', 'yaml'}) & set(sys.modules)\n"
        "assert not found, found"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_rendering_an_invalid_resource_prints_its_errors_and_nothing_else(write: Write) -> None:
    result = invoke("render", "-f", write("bad.yaml", BAD))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "spec.replicas: is -1; the least is 0" in result.stderr


def test_rendering_prints_every_object_as_yaml(write: Write) -> None:
    import yaml

    result = invoke("render", "-f", write("digits.yaml", GOOD.replace("  image", "  replicas: 2\n  image")))
    assert result.exit_code == 0, result.output
    assert [body["kind"] for body in yaml.safe_load_all(result.stdout)] == [
        "ServiceAccount",
        "ConfigMap",
        "ConfigMap",
        "ConfigMap",
        "Service",
        "Deployment",
        "PodDisruptionBudget",
    ]
