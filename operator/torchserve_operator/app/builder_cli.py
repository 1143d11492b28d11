"""Builds from the command line: `builder run` is what the build's pod runs, `build` is for people and pipelines."""

import gc
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from torchserve_operator.api.names import AGENT_PORT, BUILD_DIR

_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.group(hidden=True)
def builder() -> None:
    """What runs in the pod of a build."""


@builder.command()
@click.option("--plan", type=_FILE, default=f"{BUILD_DIR}/plan/plan.json", show_default=True, help="What to build.")
@click.option(
    "--push-config",
    type=_FILE,
    default=f"{BUILD_DIR}/docker/config.json",
    show_default=True,
    help="Credentials for registries, a dockerconfigjson.",
)
@click.option("--ca", type=_FILE, default=f"{BUILD_DIR}/ca/ca.crt", show_default=True, help="Trusted certificates.")
@click.option(
    "--run-dir", type=_FOLDER, default=BUILD_DIR, show_default=True, help="Sources, requirements and scratch space."
)
@click.option("--termination-log", type=_FILE, help="Where the result goes, as JSON.")
@click.option("--port", type=click.IntRange(0, 65535), default=AGENT_PORT, show_default=True, help="Of GET /status.")
def run(*, plan: Path, push_config: Path, ca: Path, run_dir: Path, termination_log: Path | None, port: int) -> None:
    """Build the image of a plan. Exit codes: 0 built, 1 failed, 75 failed for now, 143 cancelled."""
    # Imports make objects and no garbage: looking for some was a thirteenth of the time that they take.
    gc.disable()
    from torchserve_operator.builder import process
    from torchserve_operator.builder.in_pod import surroundings

    gc.enable()
    places = process.Places(plan, push_config, ca, termination_log, port)
    process.leave(process.run(places, surroundings(run_dir)))


def _pairs(
    check: Callable[[str], Any], what: str
) -> Callable[[click.Context, click.Parameter, tuple[str, ...]], dict[str, Any]]:
    """Return a callback that parses `NAME=VALUE` options."""

    def parse(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
        found = {}
        for text in values:
            name, equals, value = text.partition("=")
            if not (name and equals and value):
                raise click.BadParameter(f'"{text}" is not {what}')
            found[name] = check(value)
        return found

    return parse


def _folder(text: str) -> Path:
    if not Path(text).is_dir():
        raise click.BadParameter(f"{text} is no folder")
    return Path(text)


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise click.BadParameter(f"{text} is no URL: write http://HOST:PORT or https://HOST:PORT")
    return text


_FOLDERS = _pairs(_folder, "NAME=DIR")


@click.command()
@click.option(
    "-f", "--filename", "source", required=True, metavar="FILE|DIR|-", help="TorchServeModels with spec.build."
)
@click.option(
    "--push-config",
    type=_FILE,
    default=Path.home() / ".docker" / "config.json",
    help="Credentials for registries. Default: ~/.docker/config.json.",
)
@click.option(
    "--ca", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Trusted certificates, in PEM."
)
@click.option("--claim", "claims", multiple=True, callback=_FOLDERS, metavar="NAME=DIR", help="A claim's content.")
@click.option("--secret", "secrets", multiple=True, callback=_FOLDERS, metavar="NAME=DIR", help="A Secret's keys.")
@click.option(
    "--config-map", "config_maps", multiple=True, callback=_FOLDERS, metavar="NAME=DIR", help="A ConfigMap's keys."
)
@click.option(
    "--registry-mirror",
    "mirrors",
    multiple=True,
    callback=_pairs(_url, "HOST=URL"),
    metavar="HOST=URL",
    help="Where a registry is reached that is known by another name; http:// is allowed.",
)
@click.option(
    "--requirements",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="What the requirements program left in a container of the base image.",
)
@click.option("--allow-http", is_flag=True, help="Read sources by plain HTTP, too.")
@click.option("--print-digest", is_flag=True, help="Print only the image's reference, by digest.")
def build(*, source: str, print_digest: bool, **options: Any) -> None:
    """Build the images of TorchServeModels and push them; no cluster is needed."""
    from torchserve_operator.app.build_command import Laptop, build_all
    from torchserve_operator.builder import process

    laptop = Laptop(**options)
    process.leave(build_all(_resources(source), laptop, print_digest=print_digest))


def _resources(source: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    from torchserve_operator.app.manifests import Other, Unreadable, find

    try:
        for found in find(source):
            if isinstance(found, Unreadable):
                click.echo(f"{found.where}: {found.message}", err=True)
                sys.exit(1)
            if not isinstance(found, Other):
                yield found.where, found.body
    except OSError as error:
        raise click.UsageError(str(error)) from None
