"""``python -m testbed.demo up|down``: the operator's main job on a real cluster, from nothing to real predictions.

Everything that is already there is kept, so that an interrupted run goes on where it was and a second one is quick.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from typing import Any

import click

from testbed import cache, cluster, demo_objects, engine, gotools, guard, operator, project_images, registry, watch
from testbed.cluster import Cluster
from testbed.demo_objects import CLIENT, MODEL, NAMESPACE
from testbed.errors import TestbedError
from testbed.progress import say, step

READY_WITHIN = 240
"""Seconds for the resource; seen: 10 with the image on the node."""

GONE_WITHIN = 240
"""Seconds for a namespace to go: a model server may drain for as long as its longest request takes."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """The demo: a cluster, the operator, a TorchServeModel, real predictions."""


@main.command()
@click.option("--ready-within", default=READY_WITHIN, show_default=True, help="Seconds that the model has.")
def up(*, ready_within: int) -> None:
    """Run it; what it needs is made, found or gone on with. Ends with the accuracy on the held-out digits."""
    with cache.lock("demo"):
        with step("1/7 tools"):
            _tools()
        with step("2/7 cluster"):
            found = cluster.ensure()
        with step("3/7 images"):
            images = project_images.ensure(project_images.OPERATOR, project_images.DIGITS)
        digits = images[project_images.DIGITS]
        with step("4/7 operator"):
            operator.install(found)
        with step("5/7 TorchServeModel applied"):
            _apply(found, digits)
        with step("6/7 Ready"):
            url = _until_ready(found, ready_within)
        _say_what_runs(found, url)
        with step("7/7 predictions"):
            accuracy = _predict(found, digits, f"{url}/predictions/{MODEL}")
    print(accuracy, flush=True)


@main.command()
@click.option("--keep-cluster", is_flag=True, help="Remove what is in the cluster, not the cluster.")
def down(*, keep_cluster: bool) -> None:
    """Remove what the demo left running: in a cluster that was given its own objects, else the cluster and all."""
    if not os.environ.get("TESTBED_KUBECONFIG"):
        if shutil.which("docker") is None:
            say("there is no Docker here, so nothing of the demo runs")
            return
        engine.ensure()
    with cache.lock("demo"):
        found = cluster.current()
        given = found is not None and found.kubeconfig != cluster.kubeconfig()
        if found is not None and (given or keep_cluster):
            _remove(found)
        if not given and not keep_cluster:
            cluster.down()
            say(f"the cluster and its registry are gone; what was built stays in {cache.root()} and in Docker")


def _tools() -> None:
    engine.ensure()
    gotools.tools(["kind", "kubectl"])
    server = engine.docker("version", "--format", "{{.Server.Version}}")
    say(f"docker {server}, kubectl {gotools.KUBERNETES}, kind: in {cache.root()}")


def _apply(found: Cluster, image: str) -> None:
    phase = found.kubectl("get", "namespace", NAMESPACE, "--ignore-not-found", "-o", "jsonpath={.status.phase}")
    if phase == "Terminating":
        with step(f"waiting for the earlier namespace {NAMESPACE} to be gone"):
            wait = ["wait", "--for=delete", f"namespace/{NAMESPACE}", f"--timeout={GONE_WITHIN}s"]
            found.kubectl(*wait, timeout=GONE_WITHIN + 10)
    for line in _apply_all(found, demo_objects.namespace(), demo_objects.resource(image)):
        say(line)


def _apply_all(found: Cluster, *objects: dict[str, Any]) -> list[str]:
    items = {"apiVersion": "v1", "kind": "List", "items": objects}
    apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"]
    return found.kubectl(*apply, stdin=json.dumps(items)).splitlines()


def _until_ready(found: Cluster, within: int) -> str:
    """Show the table's line each time it changes, until the resource's present generation is Ready; return its URL."""
    tsm: dict[str, Any] = {}
    shown = ""
    for line in watch.lines(found, "-n", NAMESPACE, "get", "tsm", MODEL, "--watch", within=within):
        if (row := without_age(line)) != shown:
            say(f"    {line}")
            shown = row
        tsm = json.loads(found.kubectl("-n", NAMESPACE, "get", "tsm", MODEL, "-o", "json"))
        if is_ready(tsm):
            break
    if not is_ready(tsm):
        raise TestbedError(f"tsm/{MODEL} is not Ready after {within} s: {cause(tsm)}")
    if "True" not in shown.split():
        # The object was read before the watch told of it: the table's last line is still to be shown.
        say(f"    {found.kubectl('-n', NAMESPACE, 'get', 'tsm', MODEL, '--no-headers').rstrip()}")
    return str(tsm["status"]["url"])


def without_age(line: str) -> str:
    """A line of the table without its last column, which changes by itself."""
    return line.rpartition(" ")[0].rstrip()


def is_ready(tsm: dict[str, Any]) -> bool:
    """Whether a TorchServeModel says Ready of the generation that it has now."""
    ready = _ready(tsm)
    return ready.get("status") == "True" and ready.get("observedGeneration") == tsm["metadata"]["generation"]


def cause(tsm: dict[str, Any]) -> str:
    """Why a TorchServeModel is not Ready, in a line."""
    ready = _ready(tsm)
    if not ready:
        return "the operator has not written a status; see its log"
    return " ".join(f"{ready['reason']}: {ready['message']}".split())


def _ready(tsm: dict[str, Any]) -> dict[str, Any]:
    conditions = tsm.get("status", {}).get("conditions", [])
    return next((dict(condition) for condition in conditions if condition["type"] == "Ready"), {})


def _predict(found: Cluster, image: str, url: str) -> str:
    """Show what a client inside the cluster is answered by the Service at ``url``; return its last line.

    From outside, `kubectl port-forward` would speak with one pod, past the Service.
    """
    say(f"pod/{CLIENT} sends held-out digits to {url}")
    kubectl = ("-n", NAMESPACE)
    found.kubectl(*kubectl, "delete", "pod", CLIENT, "--ignore-not-found", "--wait", "--timeout=60s")
    _apply_all(found, demo_objects.client_files(), demo_objects.client(image, url))
    if _phase(found, {"Running", "Succeeded", "Failed"}, within=90) is None:
        pod = json.loads(found.kubectl(*kubectl, "get", "pod", CLIENT, "-o", "json"))
        raise TestbedError(f"the client does not start: {operator.pod_trouble([pod]) or pod['status']['phase']}")
    last = ""
    for line in watch.lines(found, *kubectl, "logs", "--follow", f"pod/{CLIENT}", within=300):
        if last:
            print(last, flush=True)
        last = line
    if _phase(found, {"Succeeded", "Failed"}, within=30) != "Succeeded":
        raise TestbedError(f"the predictions failed: {last or 'the client said nothing'}")
    return last


def _phase(found: Cluster, wanted: set[str], *, within: float) -> str | None:
    """The client's phase as soon as it is one of ``wanted``; None when it never is."""
    phases = watch.lines(
        *(found, "-n", NAMESPACE, "get", "pod", CLIENT, "--watch", "-o", "jsonpath={.status.phase}{'\\n'}"),
        within=within,
    )
    return next((phase for phase in phases if phase in wanted), None)


def _say_what_runs(found: Cluster, url: str) -> None:
    own = f", with a registry at {registry.host()}" if found.context == guard.CONTEXT else ""
    path = ""
    if shutil.which("kubectl") is None:
        path = f"  export PATH=$PATH:{shlex.quote(str(gotools.bin_directory(['kubectl'])))}\n"
    say(f"""What runs now goes on running:
  cluster   {found.context}{own}
  operator  deployment/{operator.DEPLOYMENT} in namespace {operator.NAMESPACE}
  model     tsm/{MODEL} in namespace {NAMESPACE}, for pods at {url}
To look around:
  export KUBECONFIG={shlex.quote(str(found.kubeconfig))}
{path}  kubectl --context {found.context} get tsm,pods -n {NAMESPACE}
  kubectl --context {found.context} describe tsm {MODEL} -n {NAMESPACE}
  kubectl --context {found.context} logs deployment/{MODEL} -n {NAMESPACE}
  kubectl --context {found.context} logs deployment/{operator.DEPLOYMENT} -n {operator.NAMESPACE}
To remove it: make clean-demo""")


def _remove(found: Cluster) -> None:
    """Remove the demo from a cluster that stays; the operator only when nobody else's model needs it."""
    with step(f"removing namespace {NAMESPACE}"):
        delete = ["delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait", f"--timeout={GONE_WITHIN}s"]
        found.kubectl(*delete, timeout=GONE_WITHIN + 10)
    if not operator.installed(found):
        return
    path = "jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name} {end}"
    others = found.kubectl("get", "tsm", "--all-namespaces", "-o", path).split()
    if others:
        say(f"the operator and its CRD stay: removing them would remove {', '.join(others)}")
    else:
        operator.uninstall(found)


def run() -> None:
    """The entry point: what goes wrong is said in a line, and the exit status tells of it."""
    try:
        main.main(standalone_mode=False)
    except click.Abort:
        say("interrupted: the same command goes on from here")
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except subprocess.TimeoutExpired as error:
        words = error.cmd if isinstance(error.cmd, str) else " ".join(map(str, error.cmd))
        say(f"error: `{words}` has not ended after {error.timeout:.0f} s")
        sys.exit(1)
    except (TestbedError, OSError) as error:
        say(f"error: {error}")
        sys.exit(1)


if __name__ == "__main__":
    run()
