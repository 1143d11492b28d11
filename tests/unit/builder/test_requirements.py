"""A user's requirements: what is accepted, and what is refused with which words."""

import json
from pathlib import Path

import pytest

from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.requirements import from_lines, from_text, read

HASH = f"sha256:{'ab' * 32}"


def test_lines_become_a_plan_for_the_base_images_container() -> None:
    lines = ["transformers == 4.57.1", "# a comment", "", "scikit_learn>=1.5,<2  # why", "tqdm[notebook]"]
    assert from_lines(lines).plan() == {
        "schema": 1,
        "field": "spec.build.requirements",
        "requirements": ["transformers==4.57.1", "scikit_learn<2,>=1.5", "tqdm[notebook]"],
        "fields": ["spec.build.requirements[0]", "spec.build.requirements[3]", "spec.build.requirements[4]"],
        "hashes": False,
        "pinned": ["transformers"],
    }


@pytest.mark.parametrize(
    ("line", "pinned"),
    [
        ("Scikit_Learn==1.5", True),
        ("scikit-learn===1.5", True),
        ("scikit-learn==1.*", False),
        ("scikit-learn~=1.5", False),
        ("scikit-learn>=1.5,==1.5", False),
        ("scikit-learn", False),
    ],
)
def test_only_one_exact_version_is_a_pin(line: str, pinned: bool) -> None:
    assert from_lines([line]).plan()["pinned"] == (["scikit-learn"] if pinned else [])


def test_a_marker_is_kept() -> None:
    assert from_lines(['numpy>=2; python_version >= "3.11"']).lines[0].text == 'numpy>=2; python_version >= "3.11"'


def test_a_file_may_continue_lines_as_pip_compile_writes_them() -> None:
    text = (
        f"#\n# generated\n#\nnumpy==2.1.0 \\\n    --hash={HASH} \\\n    --hash=sha256:{'01' * 32}\n    # via pandas\n"
    )
    found = from_text(text, "spec.build.requirementsFrom")
    assert found.hashed
    [line] = found.lines
    assert line.text == f"numpy==2.1.0 --hash=sha256:{'01' * 32} --hash={HASH}"
    assert line.field == "spec.build.requirementsFrom line 4"


def test_the_digest_is_of_what_is_meant_and_not_of_how_it_is_written() -> None:
    assert from_lines(["b>1, <2", "# x", "a"]).digest == from_lines(["a", "b<2,>1"]).digest
    assert from_lines(["a"]).digest != from_lines(["a>1"]).digest


def refused(*lines: str) -> BuildError:
    with pytest.raises(BuildError) as caught:
        from_lines(lines)
    return caught.value


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("-r other.txt", '"-r" is an option of pip, not a requirement', "another file cannot be reached from here"),
        ("-rother.txt", '"-r" is an option of pip', "write its lines"),
        ("--index-url https://user:pw@index/", '"--index-url" is an option', "spec.build.indexSecretName"),
        ("--extra-index-url=https://index/", '"--extra-index-url" is an option', "key PIP_EXTRA_INDEX_URL"),
        ("-e .", '"-e" is an option', "give a wheel by your index"),
        ("--pre", '"--pre" is an option', "leave it out"),
        ("git+https://user:pw@host/repo.git", "a URL is not a requirement", "put the wheel into an index"),
        ("thing @ https://user:pw@host/thing.whl", "a URL is not a requirement", "put the wheel into an index"),
        ("thing @ file:thing.whl", "a URL is not a requirement", "put the wheel into an index"),
        ("./thing", '"./thing" is a path', "put the wheel into an index"),
        ("thing-1.0-py3-none-any.whl", "is a path, and the build has no such file", "put the wheel into an index"),
        ("thing==${VERSION}", "variables are not replaced", ""),
        ("thing --global-option=x", "only --hash is supported", ""),
        ("transformers=4.57.1", "is not a requirement", 'write "transformers==4.57.1"'),
        ("transformers 4.57.1", "is not a requirement", 'write "transformers==4.57.1"'),
        ("transformers>=4 <5", "is not a requirement", 'write "transformers<5,>=4"'),
        ("!!", "is not a requirement", "expected a name and versions, such as"),
        ("a==1 --hash=md5:00", '"--hash=md5:00" is not a hash', ""),
        ("a==1 --hash=sha256:00", "expected one of sha256:<64 hex digits>", ""),
    ],
)
def test_what_no_index_resolves_is_refused_with_what_to_do(line: str, message: str, hint: str) -> None:
    error = refused("fine", line)
    assert error.field == "spec.build.requirements[1]"
    assert message in error.message
    assert hint in error.hint
    assert "pw" not in str(error)
    assert "\n" not in str(error)


def test_a_package_that_is_there_twice_is_refused_with_both_places() -> None:
    error = refused("Num_py>1", "other", "num-py<2")
    assert str(error) == (
        "spec.build.requirements[2]: num-py is there twice, first at spec.build.requirements[0]; write it once"
    )


def test_a_package_may_be_there_once_for_each_python() -> None:
    lines = ['numpy==1.26; python_version < "3.12"', 'numpy==2.1; python_version >= "3.12"']
    assert len(from_lines(lines).lines) == 2


@pytest.mark.parametrize("line", ["b==1", f"b>=1 --hash={HASH}"])
def test_where_one_line_has_a_hash_all_need_one_and_a_version(line: str) -> None:
    error = refused(f"a==1 --hash={HASH}", line)
    assert error.field == "spec.build.requirements[1]"
    assert "where one line has a hash, all need name==version and one" in error.message


def test_more_than_a_configmap_holds_is_refused() -> None:
    assert "at most 524,288 are possible" in refused(*(f"package{number}{'x' * 90}" for number in range(6000))).message


def write_result(folder: Path, **changes: object) -> None:
    result = {"schema": 1, "packages": [], "python": "3.13.5", "pip": "25", "warnings": [], "error": None, **changes}
    (folder / "site").mkdir(exist_ok=True)
    (folder / "result.json").write_text(json.dumps(result))


def test_what_was_installed_is_read_as_files_sorted_and_without_compiled_ones(tmp_path: Path) -> None:
    write_result(tmp_path, packages=[{"name": "b", "version": "1", "size": 3}], warnings=["look"])
    for path in ("b/__init__.py", "b/__pycache__/x.pyc", "b/x.pyc", "a.py", "bin/b"):
        (tmp_path / "site" / path).parent.mkdir(exist_ok=True)
        (tmp_path / "site" / path).write_text(path)
    (tmp_path / "site" / "bin" / "b").chmod(0o755)

    installed = read(tmp_path)

    assert [(file.path, file.executable) for file in installed.files] == [
        ("a.py", False),
        ("b/__init__.py", False),
        ("bin/b", True),
    ]
    assert b"".join(installed.files[1].chunks()) == b"b/__init__.py"
    assert installed.files[1].size == len("b/__init__.py")
    assert (installed.packages[0].name, installed.warnings) == ("b", ("look",))


@pytest.mark.parametrize("change", ["content", "mode", "name", "version"])
def test_the_digest_of_what_was_installed_is_of_its_content(tmp_path: Path, change: str) -> None:
    file = tmp_path / "site" / "a.py"
    write_result(tmp_path, packages=[{"name": "a", "version": "1", "size": 3}])
    file.write_text("1")
    before = read(tmp_path).digest()
    assert read(tmp_path).digest() == before
    if change == "content":
        file.write_text("2")
    elif change == "mode":
        file.chmod(0o755)
    elif change == "name":
        file.rename(file.with_name("b.py"))
    else:
        write_result(tmp_path, packages=[{"name": "a", "version": "2", "size": 3}])
    assert read(tmp_path).digest() != before


def test_an_error_of_the_container_is_the_builds(tmp_path: Path) -> None:
    error = {"field": "spec.build.requirements[3]", "message": "no version fits", "hint": "look"}
    write_result(tmp_path, error=error)
    with pytest.raises(BuildError, match=r"^spec\.build\.requirements\[3\]: no version fits; look$"):
        read(tmp_path)


@pytest.mark.parametrize("content", [None, "", "[]", "{}"])
def test_a_missing_or_broken_result_is_told(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "result.json").write_text(content)
    with pytest.raises(BuildError, match="left no result"):
        read(tmp_path)


def test_a_link_among_what_was_installed_is_refused(tmp_path: Path) -> None:
    write_result(tmp_path)
    (tmp_path / "site" / "out").symlink_to("/etc/passwd")
    with pytest.raises(BuildError, match="out is neither a file nor a folder"):
        read(tmp_path)
