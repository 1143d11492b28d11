import json
from typing import Any

import pytest

from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.image import (
    Base,
    Extras,
    Layer,
    Platform,
    check_base,
    check_manifest,
    choose,
    compose,
    layers_by_key,
    parse_config,
    parse_platform,
)
from torchserve_operator.builder.registry import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST

AMD64 = Platform("linux", "amd64")
LAYER = Layer("model cats", "sha256:key", "sha256:" + "c" * 64, 1536)
EXTRAS = Extras("sha256:all", "team/digits", labels={"models": "cats 1.0"})


def _base(**changes: Any) -> Base:
    config = {
        "os": "linux",
        "architecture": "amd64",
        "created": "2026-01-01T00:00:00Z",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["serve"], "Labels": {"vendor": "x"}},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:one"]},
        "history": [{"created_by": "base"}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": changes.pop("media_type", OCI_MANIFEST),
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "sha256:cfg", "size": 1},
        "layers": changes.pop("layers", [{"mediaType": "l", "digest": "sha256:1", "size": 1}]),
        "annotations": {"kept": "yes"},
    }
    return Base("r.example/base:1", "sha256:base", manifest["mediaType"], manifest, {**config, **changes})


def _composed(base: Base, *layers: Layer, extras: Extras = EXTRAS) -> tuple[dict[str, Any], dict[str, Any]]:
    made = compose(base, layers, extras)
    return json.loads(made.config), json.loads(made.manifest)


def _index(*platforms: str) -> dict[str, Any]:
    entries = []
    for number, text in enumerate(platforms):
        system, architecture, *variant = text.split("/")
        platform = {"os": system, "architecture": architecture} | ({"variant": variant[0]} if variant else {})
        entries.append({"digest": f"sha256:{number}", "platform": platform})
    return {"manifests": entries}


@pytest.mark.parametrize(
    ("there", "wanted", "expected"),
    [
        (["linux/arm64", "linux/amd64"], "linux/amd64", "sha256:1"),
        (["linux/arm64/v8", "linux/amd64"], "linux/arm64", "sha256:0"),
        (["linux/arm64"], "linux/arm64/v8", "sha256:0"),
        (["linux/arm/v6", "linux/arm/v7"], "linux/arm", "sha256:1"),
        (["unknown/unknown", "linux/amd64"], "linux/amd64", "sha256:1"),
    ],
)
def test_the_platforms_manifest_is_chosen(there: list[str], wanted: str, expected: str) -> None:
    assert choose(_index(*there), parse_platform(wanted), "r.example/base:1") == expected


@pytest.mark.parametrize(
    ("there", "names"),
    [
        (["linux/s390x", "linux/arm64/v8", "unknown/unknown"], "linux/arm64/v8, linux/s390x"),
        (["windows/amd64"], "windows/amd64"),
        ([], "no image"),
    ],
)
def test_a_missing_platform_is_an_error_with_those_there_are(there: list[str], names: str) -> None:
    with pytest.raises(BuildError, match=f"has no image for linux/amd64; it has {names}; ") as caught:
        choose(_index(*there), AMD64, "r.example/base:1")
    assert caught.value.field == "spec.build.baseImage"


@pytest.mark.parametrize("text", ["linux", "linux/", "a/b/c/d", ""])
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(BuildError, match=r"spec\.build\.platform"):
        parse_platform(text)


def test_layers_are_appended_to_the_bases() -> None:
    config, manifest = _composed(_base(), LAYER)
    assert [layer["digest"] for layer in manifest["layers"]] == ["sha256:1", LAYER.digest]
    assert manifest["layers"][1] == {
        "mediaType": "application/vnd.oci.image.layer.v1.tar",
        "digest": LAYER.digest,
        "size": 1536,
        "annotations": {
            "dev.torchserve-operator.layer": "model cats",
            "dev.torchserve-operator.layer-key": "sha256:key",
        },
    }
    assert config["rootfs"]["diff_ids"] == ["sha256:one", LAYER.digest]
    assert [entry["created_by"] for entry in config["history"]] == ["base", "torchserve-operator"]


def test_what_the_base_has_stays() -> None:
    config, manifest = _composed(_base(), LAYER)
    assert config["config"]["Cmd"] == ["serve"]
    assert config["config"]["Env"] == ["PATH=/bin"]
    assert config["config"]["Labels"] == {"vendor": "x", "models": "cats 1.0"}
    assert config["created"] == "2026-01-01T00:00:00Z"
    assert manifest["annotations"]["kept"] == "yes"


def test_a_base_without_a_history_gets_none() -> None:
    config, _ = _composed(_base(history=None), LAYER)
    assert not config["history"]


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        (None, ["PYTHONPATH=/site"]),
        (["A=1"], ["A=1", "PYTHONPATH=/site"]),
        (["PYTHONPATH=/a:/b", "A=1"], ["A=1", "PYTHONPATH=/site:/a:/b"]),
        (["PYTHONPATH=/site:/b"], ["PYTHONPATH=/site:/b"]),
    ],
)
def test_the_folder_comes_first_on_the_python_path(env: list[str] | None, expected: list[str]) -> None:
    base = _base(config={"Env": env})
    config, _ = _composed(base, extras=Extras("k", "o", "/site"))
    assert config["config"]["Env"] == expected


def test_the_order_of_keys_in_the_bases_documents_does_not_count() -> None:
    base = _base()
    turned = Base(
        base.reference,
        base.digest,
        base.media_type,
        dict(reversed(base.manifest.items())),
        dict(reversed(base.config.items())),
    )
    assert compose(base, [LAYER], EXTRAS).digest == compose(turned, [LAYER], EXTRAS).digest


def test_an_image_of_dockers_format_stays_one() -> None:
    _, manifest = _composed(_base(media_type=DOCKER_MANIFEST), LAYER)
    assert manifest["layers"][1]["mediaType"] == "application/vnd.docker.image.rootfs.diff.tar"
    assert manifest["config"]["mediaType"] == "application/vnd.docker.container.image.v1+json"


def test_the_layers_of_an_earlier_image_are_known_by_their_keys() -> None:
    _, manifest = _composed(_base(), LAYER)
    assert layers_by_key(manifest) == {LAYER.key: LAYER}


def test_a_compressed_layer_is_not_taken_for_ours() -> None:
    _, manifest = _composed(_base(), LAYER)
    manifest["layers"][1]["mediaType"] += "+gzip"
    assert layers_by_key(manifest) == {}


def test_each_blob_of_the_base_is_wanted_once_and_foreign_ones_never() -> None:
    empty = {"mediaType": "l", "digest": "sha256:e", "size": 1}
    foreign = {
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "digest": "sha256:f",
        "size": 1,
    }
    assert _base(layers=[empty, foreign, empty]).blobs == [empty]


@pytest.mark.parametrize(
    ("media_type", "manifest"),
    [
        ("application/vnd.docker.distribution.manifest.v1+prettyjws", {"schemaVersion": 1, "fsLayers": []}),
        (OCI_INDEX, {"manifests": []}),
        (DOCKER_LIST, {"manifests": []}),
        ("", {}),
        (OCI_MANIFEST, {"config": {}, "layers": {}}),
        (OCI_MANIFEST, {"config": {"mediaType": "application/vnd.cncf.helm.config.v1+json"}, "layers": []}),
    ],
)
def test_what_is_no_image_cannot_be_appended_to(media_type: str, manifest: dict[str, Any]) -> None:
    with pytest.raises(BuildError, match=r"spec\.build\.baseImage: r\.example/base:1 is"):
        check_manifest(media_type, manifest, "r.example/base:1")


def test_a_base_for_another_platform_is_named() -> None:
    with pytest.raises(BuildError, match="is for linux/arm64, not for linux/amd64"):
        check_base(_base(architecture="arm64"), AMD64)


def test_a_base_whose_documents_disagree_is_broken() -> None:
    with pytest.raises(BuildError, match="is broken: 1 layers, 0 diff_ids"):
        check_base(_base(rootfs={}), AMD64)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff"])
def test_a_config_that_is_none_is_refused(content: bytes) -> None:
    with pytest.raises(BuildError, match="its config is no JSON object"):
        parse_config(content, "r.example/base:1")
