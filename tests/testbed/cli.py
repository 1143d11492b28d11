"""``python -m testbed``: the tools, the cluster and the images, for people and for make."""

import sys

import click

from testbed import cluster, gotools, guard, lock, registry
from testbed.errors import TestbedError
from testbed.progress import say


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """A real Kubernetes for the tests: made here, cached, and kept away from everything else."""


@main.command()
@click.argument("names", nargs=-1)
def tools(names: tuple[str, ...]) -> None:
    """Build the pinned programs (all of them, or those NAMES) and print their paths."""
    for name, path in gotools.tools(names or gotools.PROGRAMS).items():
        click.echo(f"{name}\t{path}")


@main.command("lock")
@click.option("--upgrade", is_flag=True, help="Take the newest versions that pyproject.toml allows.")
def lock_requirements(upgrade: bool) -> None:
    """Write requirements/*.txt from pyproject.toml: versions and hashes, no addresses."""
    lock.lock(upgrade=upgrade)


@main.group("cluster")
def cluster_group() -> None:
    """The kind cluster and the registry beside it."""


@cluster_group.command()
@click.option("--workers", default=cluster.WORKERS, show_default=True, help="Nodes beside the control plane's.")
def up(workers: int) -> None:
    """Bring the cluster up, or find it up; print the path of its kubeconfig."""
    click.echo(cluster.ensure(workers).kubeconfig)


@cluster_group.command()
def down() -> None:
    """Delete the cluster and the registry's container; caches and pushed images stay."""
    cluster.down()


@cluster_group.command()
def status() -> None:
    """Say what runs, and where its files are; exits with 1 when no cluster does."""
    found = cluster.current()
    if found is None:
        raise TestbedError("no cluster runs; `make cluster` brings it up")
    click.echo(f"context     {found.context}")
    click.echo(f"kubeconfig  {found.kubeconfig}")
    click.echo(f"audit log   {found.audit_log or 'not known: the cluster was given'}")
    click.echo(f"registry    {registry.host()} ({'answers' if registry.answers() else 'does not answer'})")
    click.echo(f"guard       {'in place' if guard.rule_in_place() else 'MISSING: no way out of the cluster is barred'}")
    click.echo(found.kubectl("get", "nodes", "-o", "wide").rstrip())
    click.echo(found.kubectl("get", "pods", "-A", "-o", "wide").rstrip())


@cluster_group.command("kubeconfig")
def kubeconfig_path() -> None:
    """Print the path of the cluster's kubeconfig, for `export KUBECONFIG=$(...)`."""
    found = cluster.current()
    if found is None:
        raise TestbedError("no cluster runs; `make cluster` brings it up")
    click.echo(found.kubeconfig)


def run() -> None:
    """The entry point: the testbed's own errors are a line for people, not a traceback."""
    try:
        main()
    except TestbedError as error:
        say(f"error: {error}")
        sys.exit(1)
