"""The command line: `validate` and `render` work offline, `run` is the operator.

Exit codes: 0 valid, 1 invalid, 2 used wrongly. What was found goes to standard output, notes to standard error.
"""

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click

from torchserve_operator.api.errors import InvalidResourceError
from torchserve_operator.api.names import KIND
from torchserve_operator.app.builder_cli import build, builder

if TYPE_CHECKING:
    # What reads and writes YAML is imported where it is used: a build, which starts in this module, too, needs none.
    from torchserve_operator.app.manifests import Resource, Unreadable

Command = TypeVar("Command", bound=Callable[..., Any])

INVALID = 1
USAGE = 2


def _tell_version(context: click.Context, _parameter: click.Parameter, asked: bool) -> None:
    """Print the version; click's own option would look it up before anybody asks."""
    if not asked or context.resilient_parsing:
        return
    from importlib import metadata

    try:
        version = metadata.version("torchserve-operator")
    except metadata.PackageNotFoundError:
        version = "0 (not installed)"
    click.echo(f"torchserve-operator, version {version}")
    context.exit()


def _source_option(command: Command) -> Command:
    return click.option(
        "-f",
        "--filename",
        "source",
        required=True,
        metavar="FILE|DIR|-",
        help="A manifest, a folder of manifests, or - for standard input.",
    )(command)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_tell_version,
    help="Show the version and exit.",
)
def main() -> None:
    """One TorchServeModel becomes a running, truthful TorchServe deployment."""


@main.command()
@_source_option
def validate(source: str) -> None:
    """Check TorchServeModels and print every error with its field; no cluster is needed."""
    from torchserve_operator.app.manifests import Unreadable

    valid = invalid = 0
    for found in _found(source):
        if isinstance(found, Unreadable):
            invalid += 1
            click.echo(f"{found.where}: {found.message}")
            continue
        try:
            check(found.body)
            valid += 1
        except InvalidResourceError as error:
            invalid += 1
            for problem in error.errors:
                click.echo(f"{found.where}: {problem}")
    click.echo(f"{valid} valid, {invalid} invalid", err=True)
    sys.exit(INVALID if invalid else 0)


@main.command()
@_source_option
def render(source: str) -> None:
    """Print every object that TorchServeModels become, as YAML; no cluster is needed."""
    import yaml

    from torchserve_operator.app.manifests import Unreadable
    from torchserve_operator.desired.render import render as render_resource

    failed = False
    for found in _found(source):
        if isinstance(found, Unreadable):
            failed = True
            click.echo(f"{found.where}: {found.message}", err=True)
            continue
        try:
            check(found.body)
            objects = render_resource(found.body)
        except InvalidResourceError as error:
            failed = True
            for problem in error.errors:
                click.echo(f"{found.where}: {problem}", err=True)
            continue
        click.echo(
            yaml.safe_dump_all(objects, sort_keys=False, width=120, allow_unicode=True, explicit_start=True), nl=False
        )
    sys.exit(INVALID if failed else 0)


@main.command()
def run() -> None:
    """Run the operator. Its settings are environment variables, TORCHSERVE_OPERATOR_*."""
    from torchserve_operator.app.main import run as run_operator
    from torchserve_operator.app.settings import SettingsError, read_settings

    try:
        settings = read_settings()
    except SettingsError as error:
        for problem in error.problems:
            click.echo(f"Error: {problem}", err=True)
        sys.exit(USAGE)
    sys.exit(run_operator(settings))


main.add_command(build)
main.add_command(builder)


def check(body: dict[str, Any]) -> None:
    """Check a resource by schema and by what goes beyond it.

    Raises:
        InvalidResourceError: With every error found in it.
    """
    from torchserve_operator.api.parse import parse_resource
    from torchserve_operator.desired.checks import cross_checks

    errors = cross_checks(parse_resource(body))
    if errors:
        raise InvalidResourceError(errors)


def _found(source: str) -> "Iterator[Resource | Unreadable]":
    """Yield the resources and what cannot be read; say on standard error what is passed over."""
    from torchserve_operator.app.manifests import Other, find

    try:
        for found in find(source):
            if isinstance(found, Other):
                click.echo(f"{found.where}: skipped, it is {found.kind} and no {KIND}", err=True)
            else:
                yield found
    except OSError as error:
        raise click.UsageError(str(error)) from None


if __name__ == "__main__":
    main()
