"""`torchserve-operator builder run`: what the build's pod runs."""

from pathlib import Path

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
    from torchserve_operator.builder import process
    from torchserve_operator.builder.in_pod import surroundings

    places = process.Places(plan, push_config, ca, termination_log, port)
    process.leave(process.run(places, surroundings(run_dir)))
