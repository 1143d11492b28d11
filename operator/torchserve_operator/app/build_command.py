"""`torchserve-operator build`: the same builder on a laptop or in a CI job, so that a digest can be pinned first."""

import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
from rich.progress import Progress as Bar

from torchserve_operator.api.build import BuildSpec
from torchserve_operator.api.errors import InvalidResourceError
from torchserve_operator.api.spec import TorchServeModelSpec
from torchserve_operator.app.credential_helpers import read_keychain
from torchserve_operator.builder import process
from torchserve_operator.builder.build import FIELD_REPOSITORY
from torchserve_operator.builder.build import build as build_image
from torchserve_operator.builder.cancel import Cancellation
from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.image import FIELD_BASE
from torchserve_operator.builder.in_pod import surroundings
from torchserve_operator.builder.plan import Plan, Result
from torchserve_operator.builder.progress import Progress
from torchserve_operator.builder.reference import parse
from torchserve_operator.builder.registry import Registries
from torchserve_operator.builder.requirements import Requirements, from_lines, from_text
from torchserve_operator.builder.transport import Transport
from torchserve_operator.desired.build_plan import BuildDefaults, build_plan


class Laptop:
    """What a build has where there is no cluster.

    Args:
        push_config: A dockerconfigjson; None or absent: anonymous.
        ca: Certificates that are trusted, too.
        mirrors: Registry → URL.
        allow_http: Whether sources may be read by plain HTTP.
        claims: Folders that stand for claims.
        secrets: For Secrets.
        config_maps: For ConfigMaps.
        requirements: What the requirements program left; None where it did not run.
    """

    def __init__(
        self,
        *,
        push_config: Path | None,
        ca: Path | None,
        mirrors: Mapping[str, str],
        allow_http: bool,
        claims: Mapping[str, Path],
        secrets: Mapping[str, Path],
        config_maps: Mapping[str, Path],
        requirements: Path | None,
    ) -> None:
        self._push_config = push_config
        self._ca = ca
        self._defaults = BuildDefaults(registry_mirrors=mirrors, allow_http_sources=allow_http)
        self._folders = {"claim_folders": claims, "secret_folders": secrets, "config_map_folders": config_maps}
        self._config_maps = config_maps
        self._requirements = requirements

    def build(self, body: Mapping[str, Any], spec: TorchServeModelSpec, build: BuildSpec) -> Result | BuildError:
        """Build the image of a resource, with a bar on a terminal."""
        progress = Progress()
        with _bar(progress) as show:
            return process.supervised(
                lambda cancellation: self._build(body, spec, build, progress, cancellation), meanwhile=show
            )

    def _build(
        self,
        body: Mapping[str, Any],
        spec: TorchServeModelSpec,
        build: BuildSpec,
        progress: Progress,
        cancellation: Cancellation,
    ) -> Result:
        requirements = self._asked_for(build)
        resource = {"namespace": "default", **body["metadata"]}
        plan = Plan.model_validate(
            build_plan(
                resource,
                spec,
                build,
                self._defaults,
                requirements=[line.text for line in requirements.lines],
            )
        )
        with tempfile.TemporaryDirectory(prefix="torchserve-operator-") as folder, contextlib.ExitStack() as stack:
            run_dir = Path(folder)
            if self._requirements is not None:
                (run_dir / "requirements").symlink_to(self._requirements.resolve())
            transport = stack.enter_context(contextlib.closing(Transport(self._ca)))
            hosts = [parse(plan.base, FIELD_BASE).registry, parse(plan.repository, FIELD_REPOSITORY).registry]
            keychain = read_keychain(self._push_config, hosts)
            registries = Registries(transport, keychain, plan.registry_mirrors, cancellation)
            made = surroundings(run_dir, ca_file=self._ca, ambient_credentials=True, by_content=True, **self._folders)
            return build_image(plan, made(plan, registries, progress, cancellation))

    def _asked_for(self, build: BuildSpec) -> Requirements:
        source = build.requirements_from
        if source is None:
            found = from_lines(build.requirements)
        else:
            field = "spec.build.requirementsFrom"
            folder = self._config_maps.get(source.config_map_name)
            if folder is None or not (folder / source.key).is_file():
                hint = f"give its folder: --config-map {source.config_map_name}=DIR"
                raise BuildError(field, f"there is no ConfigMap {source.config_map_name} with {source.key}", hint)
            found = from_text((folder / source.key).read_text(), field)
        if found.lines and self._requirements is None:
            hint = "run the requirements program in a container of it and give what it leaves: --requirements DIR"
            raise BuildError("spec.build.requirements", "are installed by the pip of the base image", hint)
        return found


def build_all(resources: Iterator[tuple[str, Mapping[str, Any]]], laptop: Laptop, *, print_digest: bool) -> int:
    """Build the images of resources, one after another; return the exit code.

    Args:
        resources: Where each is, and its body.
        laptop: What builds.
        print_digest: Whether only the images' references go to standard output.
    """
    from torchserve_operator.api.parse import parse_resource
    from torchserve_operator.app.cli import check

    built = 0
    for where, body in resources:
        try:
            check(dict(body))
            spec = parse_resource(body)
        except InvalidResourceError as error:
            for problem in error.errors:
                click.echo(f"{where}: {problem}", err=True)
            return process.FAILED
        if spec.build is None:
            click.echo(f"{where}: skipped, it has no spec.build", err=True)
            continue
        found = laptop.build(body, spec, spec.build)
        if print_digest and isinstance(found, Result):
            click.echo(found.image)
        elif (code := process.tell(found, None)) != process.BUILT:
            return code
        built += 1
    if not built:
        click.echo("Error: there is nothing to build", err=True)
        return process.FAILED
    return process.BUILT


@contextlib.contextmanager
def _bar(progress: Progress) -> Iterator[Callable[[], None]]:
    """Show a bar on standard error while the block lasts; yield what brings it up to date."""
    console = Console(file=sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("resolve", total=None)

        def show() -> None:
            now = progress.snapshot()
            words = f"{now['stage']} {now['model']}".strip()
            bar.update(task, description=words, completed=now["bytesDone"], total=now["bytesTotal"] or None)

        yield show
