"""Appending layers, on a real registry."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.base_images import Pushed, digest_of, push_image, push_index
from testbed.builds import BASE_LAYERS, Builder, model, plan_for
from testbed.image_reader import ImageReader
from testbed.oci_registry import OciRegistry
from testbed.registryproxy import RegistryProxy
from torchserve_operator.builder import files
from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.layers import SITE, LayerSource


def test_the_image_has_the_bases_layers_and_one_for_each_model(
    builder: Builder, base: Pushed, image: ImageReader
) -> None:
    result = builder.build(model("cats", b"meow"), model("dogs", b"woof" * 100_000))
    manifest = image.manifest(result.digest)
    digests = [layer["digest"] for layer in manifest["layers"]]
    assert digests[:2] == list(base.layers)
    assert [layer.digest for layer in result.layers] == digests[2:]
    assert image.config(result.digest)["rootfs"]["diff_ids"] == digests
    assert [image.blob(digest) for digest in digests[:2]] == list(BASE_LAYERS)
    entry, content = image.layer(digests[3])["home/model-server/model-store/dogs/model.pt"]
    assert content == b"woof" * 100_000
    assert (entry.uid, entry.gid, entry.mtime, entry.mode) == (0, 0, 0, 0o644)


def test_the_image_says_what_it_was_made_of(builder: Builder, base: Pushed, image: ImageReader) -> None:
    result = builder.build(model("cats", b"meow"))
    manifest = image.manifest("latest")
    assert manifest["annotations"]["org.opencontainers.image.base.digest"] == base.digest
    assert manifest["annotations"]["org.opencontainers.image.base.name"] == f"{base.name}:1"
    assert manifest["annotations"]["dev.torchserve-operator.key"] == result.key
    assert manifest["layers"][-1]["annotations"]["dev.torchserve-operator.layer"] == "model cats"


def test_the_tags_and_the_contents_own_tag_name_the_image(builder: Builder, image: ImageReader) -> None:
    result = builder.build(model("cats", b"meow"), tags=["1.0", "prod"])
    own = f"b-{result.key.removeprefix('sha256:')[:16]}"
    assert image.tags() == {"1.0", "prod", own}
    assert {image.digest(tag) for tag in image.tags()} == {result.digest}
    assert result.image == f"{image.host}/{image.path}@{result.digest}"


def test_the_same_inputs_give_the_same_digest(registry: OciRegistry, builder: Builder, space: str) -> None:
    first = builder.build(model("cats", b"meow"))
    elsewhere = builder.build(model("cats", b"meow"), repository=f"{registry.host}/{space}/elsewhere")
    assert first.digest == elsewhere.digest
    assert not elsewhere.layers[0].reused


def test_an_unchanged_build_reads_manifests_and_nothing_else(
    through_proxy: Builder, proxy: RegistryProxy, image: ImageReader
) -> None:
    first = through_proxy.build(model("cats", b"meow"))
    seen = len(proxy.requests)

    def unread() -> tuple[files.File, ...]:
        raise AssertionError("the source was read")

    source = model("cats", b"")
    unchanged = LayerSource(source.name, source.root, source.identity, source.key, unread, "", "cats")
    second = through_proxy.build(unchanged)
    assert second.digest == first.digest == image.digest("latest")
    assert second.layers[0].reused
    assert second.bytes_uploaded == 0
    later = proxy.requests[seen:]
    assert {request.method for request in later} <= {"GET", "HEAD"}
    config = image.manifest(f"{first.digest}")["config"]["digest"]
    assert [r.path for r in later if "/blobs/" in r.path and config not in r.path and "/base/" not in r.path] == []


def test_a_tag_that_was_moved_is_moved_back_by_an_unchanged_build(builder: Builder, image: ImageReader) -> None:
    first = builder.build(model("cats", b"meow"))
    builder.build(model("cats", b"hiss", identity="etag:new"))
    assert image.digest("latest") != first.digest
    assert builder.build(model("cats", b"meow")).digest == first.digest == image.digest("latest")


def test_one_changed_model_uploads_one_layer(builder: Builder) -> None:
    first = builder.build(model("cats", b"meow"), model("dogs", b"woof"))
    second = builder.build(
        model("cats", b"meow"), model("dogs", b"WOOF", identity="etag:2"), previous=first.image, tags=[]
    )
    assert [layer.reused for layer in second.layers] == [True, False]
    assert second.layers[0] == first.layers[0].model_copy(update={"reused": True})
    assert second.layers[1].digest != first.layers[1].digest


def test_without_a_previous_image_the_layers_of_a_tags_image_are_taken(builder: Builder) -> None:
    builder.build(model("cats", b"meow"))
    second = builder.build(model("cats", b"meow"), model("dogs", b"woof"))
    assert [layer.reused for layer in second.layers] == [True, False]


def test_a_previous_image_that_is_gone_costs_an_upload_and_no_more(builder: Builder) -> None:
    gone = f"{builder.plan['repository']}@{digest_of(b'gone')}"
    assert not builder.build(model("cats", b"meow"), previous=gone).layers[0].reused


def test_blobs_of_the_same_registry_are_mounted_and_not_sent(through_proxy: Builder, proxy: RegistryProxy) -> None:
    result = through_proxy.build(model("cats", b"meow"))
    assert len([path for path in proxy.asked("POST") if "mount=" in path]) == len(BASE_LAYERS)
    assert len(proxy.asked("PATCH")) == 2  # the model's layer, the config
    assert result.bytes_uploaded < len(BASE_LAYERS[0])


def test_blobs_of_another_registry_are_copied(registry: OciRegistry, base: Pushed, space: str, tmp_path: Path) -> None:
    with OciRegistry(tmp_path / "other") as other:
        mirrors = {host: f"http://{host}" for host in (registry.host, other.host)}
        builder = Builder(plan_for(registry.host, space, mirrors) | {"repository": f"{other.host}/copy/image"})
        result = builder.build(model("cats", b"meow"))
        image = ImageReader(other.host, "copy/image")
        assert tuple(image.blob(digest) for digest in base.layers) == BASE_LAYERS
        assert result.bytes_uploaded > len(BASE_LAYERS[0])


def test_of_an_index_the_platforms_image_is_taken(
    registry: OciRegistry, builder: Builder, image: ImageReader, space: str
) -> None:
    images = {
        f"linux/{name}": push_image(registry.host, f"{space}/base", name, [name.encode()], architecture=name)
        for name in ("amd64", "arm64")
    }
    push_index(registry.host, f"{space}/base", "1", images)
    result = builder.build(model("cats", b"meow"), platform="linux/arm64")
    assert result.base is not None
    assert result.base.digest == images["linux/arm64"].digest
    assert image.config(result.digest)["architecture"] == "arm64"


def test_a_platform_that_the_index_has_not_is_an_error_with_those_it_has(
    registry: OciRegistry, builder: Builder, space: str
) -> None:
    arm = push_image(registry.host, f"{space}/base", "arm", [b"arm"], architecture="arm64")
    push_index(registry.host, f"{space}/base", "1", {"linux/arm64": arm})
    with pytest.raises(BuildError, match=r"spec\.build\.baseImage: .* no image for linux/amd64; it has linux/arm64"):
        builder.build(model("cats", b"meow"))


def test_an_image_of_dockers_format_keeps_it(
    registry: OciRegistry, builder: Builder, image: ImageReader, space: str
) -> None:
    push_image(registry.host, f"{space}/base", "1", [b"docker"], docker=True)
    manifest = image.manifest(builder.build(model("cats", b"meow")).digest)
    assert manifest["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    assert manifest["layers"][-1]["mediaType"] == "application/vnd.docker.image.rootfs.diff.tar"
    assert manifest["config"]["mediaType"] == "application/vnd.docker.container.image.v1+json"


def test_requirements_come_first_on_the_python_path(
    registry: OciRegistry, builder: Builder, image: ImageReader, space: str
) -> None:
    push_image(registry.host, f"{space}/base", "1", [b"x"], env=["PATH=/bin", "PYTHONPATH=/old"])
    site = LayerSource("requirements", SITE, "sha256:1", "key", lambda: (files.of_bytes("a.py", b"A = 1"),))
    env = image.config(builder.build(site).digest)["config"]["Env"]
    assert env == ["PATH=/bin", f"PYTHONPATH={SITE}:/old"]


def test_a_large_file_goes_through_a_small_memory(builder: Builder, image: ImageReader, tmp_path: Path) -> None:
    place = tmp_path / "weights"
    place.write_bytes(os.urandom(1 << 20) * 24 + b"odd")

    def chunks() -> Iterator[bytes]:
        with place.open("rb") as file:
            while piece := file.read(1 << 20):
                yield piece

    result = builder.build(model("big", [files.File("w.bin", place.stat().st_size, chunks)]))
    layer = image.layer(result.layers[0].digest)
    assert layer["home/model-server/model-store/big/w.bin"][1] == place.read_bytes()


def test_a_base_that_is_not_there_is_named(builder: Builder) -> None:
    with pytest.raises(BuildError, match=r"spec\.build\.baseImage: .* has no .*/base:2; check its name and tag"):
        builder.build(model("cats", b"meow"), base=builder.plan["base"].removesuffix(":1") + ":2")


def test_a_tag_of_another_resources_image_is_left_alone(builder: Builder, image: ImageReader) -> None:
    first = builder.build(model("cats", b"meow"))
    with pytest.raises(BuildError, match=r"spec\.build\.tags: the tag latest of .* is the image of team/digits"):
        builder.build(model("cats", b"hiss"), owner="team/other")
    assert image.digest("latest") == first.digest
