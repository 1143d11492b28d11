"""The model store that the agent lays out, from directories and archives."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from torchserve_operator.agent.runtime.config import Bounds, Model
from torchserve_operator.agent.runtime.modelconfig import merge
from torchserve_operator.agent.runtime.store import lay_out
from torchserve_operator.agent.runtime.yamltext import dump, dump_document

MANIFEST = {
    "createdOn": "x",
    "runtime": "python",
    "model": {"modelName": "baked", "modelVersion": "9", "handler": "h.py"},
}


def model(name: str = "net", path: str | None = None, **keys: Any) -> Model:
    return Model(name, "1.0", path, keys.pop("settings", {}), keys)


def directory(folder: Path, **manifest: Any) -> Path:
    (folder / "MAR-INF").mkdir(parents=True)
    (folder / "MAR-INF" / "MANIFEST.json").write_text(json.dumps({**MANIFEST, **manifest}))
    (folder / "h.py").write_text("pass")
    return folder


def problems(image: Path, *models: Model, target: Path) -> dict[str, tuple[str, str]]:
    return {name: tuple(found) for name, found in lay_out(str(image), list(models), {}, str(target)).items()}


def test_a_directory_becomes_links_with_our_manifest_and_configuration(tmp_path: Path) -> None:
    directory(tmp_path / "image" / "net")
    target = tmp_path / "store"
    (target / "left over").mkdir(parents=True)
    bounds = {"net": Bounds(2, 3)}
    found = lay_out(str(tmp_path / "image"), [model(settings={"batchSize": 4}, free=[1])], bounds, str(target))
    assert found == {}
    assert sorted(path.name for path in target.iterdir()) == ["net"]
    assert (target / "net" / "h.py").readlink() == tmp_path / "image" / "net" / "h.py"
    manifest = json.loads((target / "net" / "MAR-INF" / "MANIFEST.json").read_text())
    assert manifest["model"] == {
        "modelName": "net",
        "modelVersion": "1.0",
        "handler": "h.py",
        "configFile": "model-config.yaml",
    }
    config = yaml.safe_load((target / "net" / "model-config.yaml").read_text())
    assert config == {"batchSize": 4, "free": [1], "minWorkers": 2, "maxWorkers": 3}
    untouched = json.loads((tmp_path / "image" / "net" / "MAR-INF" / "MANIFEST.json").read_text())
    assert untouched == MANIFEST


@pytest.mark.parametrize("suffix", [".mar", ".tar.gz", ".tgz"])
def test_an_archive_is_unpacked(tmp_path: Path, suffix: str) -> None:
    source = directory(tmp_path / "source")
    (source / "bin").mkdir()
    (source / "bin" / "tool").write_text("tool")
    (source / "bin" / "tool").chmod(0o755)
    (tmp_path / "image").mkdir()
    archive = tmp_path / "image" / f"net{suffix}"
    if suffix == ".mar":
        with zipfile.ZipFile(archive, "w") as file:
            for path in source.rglob("*"):
                file.write(path, path.relative_to(source))
    else:
        with tarfile.open(archive, "w:gz") as file:
            file.add(source, ".")
    assert problems(tmp_path / "image", model(), target=tmp_path / "store") == {}
    assert (tmp_path / "store" / "net" / "h.py").read_text() == "pass"
    assert (tmp_path / "store" / "net" / "bin" / "tool").stat().st_mode & 0o111


@pytest.mark.parametrize("name", ["../escape", "/escape", "a/../../escape", "..\\escape"])
@pytest.mark.parametrize("suffix", [".mar", ".tar.gz"])
def test_an_archive_that_would_leave_its_directory_is_refused(tmp_path: Path, name: str, suffix: str) -> None:
    (tmp_path / "image").mkdir()
    archive = tmp_path / "image" / f"net{suffix}"
    if suffix == ".mar":
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr(name, "x")
    else:
        with tarfile.open(archive, "w:gz") as file:
            entry = tarfile.TarInfo(name)
            entry.size = 1
            file.addfile(entry, io.BytesIO(b"x"))
    found = problems(tmp_path / "image", model(), target=tmp_path / "store")
    reason, message = found["net"]
    assert reason == "ArchiveBroken"
    assert "leaves the archive" in message
    assert not list(tmp_path.rglob("escape"))


def test_links_in_a_tar_are_refused(tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    with tarfile.open(tmp_path / "image" / "net.tgz", "w:gz") as file:
        entry = tarfile.TarInfo("h.py")
        entry.type = tarfile.SYMTYPE
        entry.linkname = "/etc/passwd"
        file.addfile(entry)
    assert "link or device" in problems(tmp_path / "image", model(), target=tmp_path / "store")["net"][1]


def test_problems_name_the_path_and_what_is_there_instead(tmp_path: Path) -> None:
    image = tmp_path / "image"
    directory(image / "bert")
    (image / "resnet.mar").write_bytes(b"no zip")
    (image / "model.pt").write_bytes(b"")
    (image / "bare").mkdir()
    directory(image / "bad-config", model={**MANIFEST["model"], "configFile": "c.yaml"})
    (image / "bad-config" / "c.yaml").write_text("a: [1")
    models = [
        model("net"),
        model("named", path="sub/net.mar"),
        model("resnet"),
        model("weights", path="model.pt"),
        model("bare"),
        model("bad-config"),
    ]
    found = problems(image, *models, target=tmp_path / "store")
    there = f"{image} has bad-config/, bare/, bert/, model.pt, resnet.mar"
    assert found["net"] == ("ArchiveMissing", f"{image}/net (or net.mar) is not in the image; {there}")
    assert found["named"] == (
        "ArchiveMissing",
        f"{image}/sub/net.mar is not in the image; {image}/sub does not exist, and {there}",
    )
    assert found["resnet"] == ("ArchiveBroken", f"{image}/resnet.mar cannot be unpacked: File is not a zip file")
    assert found["weights"] == ("ArchiveBroken", f"{image}/model.pt is neither a directory nor a .mar or .tar.gz file")
    assert found["bare"][0] == "ArchiveBroken"
    assert found["bare"][1].startswith(f"{tmp_path}/store/bare/MAR-INF/MANIFEST.json is missing")
    assert found["bad-config"][1].startswith(f"{tmp_path}/store/bad-config/c.yaml is no YAML: while parsing")


def test_the_resource_wins_key_by_key() -> None:
    baked = {"batchSize": 1, "minWorkers": 9, "handler": {"a": 1}, "kept": True, "deviceIds": [3]}
    asked = model(settings={"batchSize": 4, "deviceIds": [0]}, handler={"b": 2}, batchSize=7)
    assert merge(baked, asked, Bounds(1, 2)) == {
        "batchSize": 4,
        "minWorkers": 1,
        "maxWorkers": 2,
        "handler": {"b": 2},
        "kept": True,
        "deviceIds": [0],
    }


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@settings(deadline=None)
@given(values)
def test_whatever_json_can_say_comes_back_from_yaml(value: Any) -> None:
    assert yaml.safe_load(dump(value)) == value


def test_keys_that_are_no_strings_stay_what_they_are() -> None:
    value = {1: "a", False: "b", "c": {2.5: None}}
    assert yaml.safe_load(dump_document(value)) == value
