"""The program for the base image: one small file for old Pythons, and a log without secrets."""

import ast
import io
import re
import sys
import zipfile
from pathlib import Path

import pytest

from torchserve_operator.builder import in_base
from torchserve_operator.builder.in_base.mask import Mask

SOURCES = sorted(Path(in_base.__file__).parent.glob("*.py"))


def test_it_is_one_small_file_with_the_same_bytes_each_time() -> None:
    assert in_base.bundle() == in_base.bundle()
    assert len(in_base.bundle()) <= 40_000
    assert "__main__.py" in zipfile.ZipFile(io.BytesIO(in_base.bundle())).namelist()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_it_needs_python_3_8_and_its_standard_library_only(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    modules = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    modules += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level]
    assert {name.split(".")[0] for name in modules} <= set(sys.stdlib_module_names)
    calls = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not calls & {"removeprefix", "removesuffix"}, "these came with Python 3.9"


@pytest.mark.parametrize(
    "text",
    [
        "Looking in indexes: https://robot:****@index.example/simple",
        "Looking in indexes: https://robot:pass%2Fword@index.example/simple",
        "the password is pass/word, in a URL pass%2Fword",
        "GET https://index.example/f.whl?X-Signature=deadbeef#sha256=00",
        "{'PIP_INDEX_URL': 'https://robot:pass%2Fword@index.example/simple?key=deadbeef'}",
    ],
)
def test_user_info_queries_and_secrets_are_masked(text: str) -> None:
    mask = Mask()
    mask.learn("https://robot:pass%2Fword@index.example/simple/?key=deadbeef")
    assert not re.search(r"pass%2Fword|pass/word|robot:|deadbeef", mask(text))


def test_a_token_without_a_password_is_masked() -> None:
    mask = Mask()
    mask.learn("https://tok3n@index.example/")
    assert mask("401 for tok3n") == "401 for ****"


def test_what_is_no_secret_is_left_alone() -> None:
    text = "Downloading https://index.example/a-1.0-py3-none-any.whl (2 kB)"
    assert Mask()(text) == text
