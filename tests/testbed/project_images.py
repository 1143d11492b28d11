"""This project's own images and the ones the tests run against: what each is built from, and in which order.

``python -m testbed.project_images [NAME ...]`` builds the named ones (default: all) with what they stand on, pushes
them to the local registry and prints a line each: the tag and the reference by digest. What is unchanged is not built
again.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from testbed import images, registry
from testbed.errors import TestbedError

REPOSITORY = Path(__file__).resolve().parents[2]

RUNTIME = "torchserve-operator/torchserve:cpu"
OPERATOR = "torchserve-operator/operator:dev"
DIGITS = "torchserve-operator/digits:dev"
LEGACY = "torchserve-operator/legacy:test"
SCENARIOS = "torchserve-operator/scenarios:test"


@dataclass(frozen=True)
class ProjectImage:
    """One image: its build context, and where its build arguments come from.

    Attributes:
        tag: the image's name and tag.
        context: the build context, relative to the repository.
        debian: the Debian release that ``BASE_IMAGE`` is; None when the image stands on another of these.
        stands_on: build argument -> tag of another of these images.
        include: more files for the context, relative to the repository and to the context alike.
    """

    tag: str
    context: str
    debian: str | None = None
    stands_on: Mapping[str, str] = field(default_factory=dict)
    include: tuple[str, ...] = ()

    def build(self) -> str:
        """Build it, and before it what it stands on; return the image ID."""
        arguments = {"BASE_IMAGE": images.debian_base(self.debian)} if self.debian else {}
        for argument, tag in self.stands_on.items():
            named(tag).build()
            arguments[argument] = tag
        return images.build(REPOSITORY / self.context, self.tag, arguments, include=dict(_files(self.include)))


ALL = (
    ProjectImage(RUNTIME, "images/torchserve", debian="trixie"),
    ProjectImage(
        OPERATOR,
        "images/operator",
        debian="trixie",
        # The Dockerfile's context is the repository; only these are looked at, so that a change of a test or of the
        # documentation builds nothing.
        include=(
            "operator",
            "hatch_build.py",
            "pyproject.toml",
            "README.md",
            "LICENSE",
            "requirements/runtime.txt",
            "requirements/build.txt",
        ),
    ),
    ProjectImage(DIGITS, "examples/digits", stands_on={"RUNTIME_IMAGE": RUNTIME}),
    ProjectImage(LEGACY, "tests/images/legacy", debian="bookworm", stands_on={"DIGITS_IMAGE": DIGITS}),
    ProjectImage(SCENARIOS, "tests/images/scenarios", stands_on={"RUNTIME_IMAGE": RUNTIME}),
)


def named(tag: str) -> ProjectImage:
    """The image with this tag, or with this last part of a name (``digits``).

    Raises:
        TestbedError: there is none.
    """
    for image in ALL:
        if tag in {image.tag, image.tag.rpartition("/")[2].partition(":")[0]}:
            return image
    raise TestbedError(f"there is no project image {tag!r}; known are {', '.join(image.tag for image in ALL)}")


def ensure(*tags: str) -> dict[str, str]:
    """Build and push the images named (default: all); return tag -> reference by digest, as pods can use it."""
    references = {}
    for image in [named(tag) for tag in tags] or ALL:
        image.build()
        references[image.tag] = f"{registry.reference(image.tag).rpartition(':')[0]}@{images.push(image.tag)}"
    return references


def _files(paths: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    """The files under ``paths`` of the repository, without what is compiled from others of them."""
    for path in paths:
        place = REPOSITORY / path
        if not place.exists():
            raise TestbedError(f"{place} is missing: an image is built from it")
        for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if file.is_file() and file.suffix not in {".jar", ".pyc"}:
                yield str(file.relative_to(REPOSITORY)), file


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m testbed.project_images", description=__doc__)
    parser.add_argument("names", nargs="*", help="tags, or the last part of a name: digits (default: all)")
    for tag, reference in ensure(*parser.parse_args().names).items():
        print(f"{tag}  {reference}", flush=True)


if __name__ == "__main__":
    main()
