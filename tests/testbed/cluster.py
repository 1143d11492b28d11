"""The one door to a cluster: `ensure()` gives one, made, found or named by the person, and says which.

The same cluster comes out of both ways: kind, one control plane and two workers, nftables kube-proxy, NetworkPolicies
enforced, an audit log on this machine, a registry beside it, no way out of it.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from testbed import cache, engine, gotools, guard, images, kindconfig, nodeimage, registry, system
from testbed.errors import TestbedError
from testbed.progress import say, step

WORKERS = 2
"""Draining a node needs another one for its pods."""

HERE = Path(__file__).parent
_READY_TIMEOUT = 180
"""Seconds for nodes and system pods; seen: 30."""


@dataclass(frozen=True)
class Cluster:
    """A running cluster.

    Attributes:
        kubeconfig: a kubeconfig whose current context is this cluster.
        context: that context's name.
        audit_log: the API server's audit log (JSON lines, level Metadata) on this machine; None for a
            cluster that was given.
    """

    kubeconfig: Path
    context: str
    audit_log: Path | None

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = 120) -> str:
        """Run kubectl against this cluster and return its output.

        Raises:
            TestbedError: kubectl failed, or the kubeconfig no longer is this cluster's.
        """
        return system.run(
            self.command(*arguments), stdin=stdin.encode() if stdin is not None else None, timeout=timeout
        )

    def command(self, *arguments: str) -> list[str]:
        """The words that run kubectl against this cluster, for who reads its output while it runs.

        Raises:
            TestbedError: the kubeconfig no longer is this cluster's.
        """
        guard.own_kubeconfig(self.kubeconfig)
        program = str(gotools.tool("kubectl"))
        return [program, "--kubeconfig", str(self.kubeconfig), "--context", self.context, *arguments]


def ensure(workers: int = WORKERS) -> Cluster:
    """Give a healthy cluster: the one that ``$TESTBED_KUBECONFIG`` names, the one that runs, or a new one."""
    given = os.environ.get("TESTBED_KUBECONFIG")
    if given:
        return _given(Path(given))
    engine.ensure()
    with cache.lock("cluster"):
        guard.ensure_network()
        registry.ensure()
        local = _node_image_is_local()
        image = nodeimage.ensure_local() if local else nodeimage.PUBLISHED
        if not local:
            images.pull(image)
        config = _write_config(workers, local=local)
        key = cache.content_key([config, images.image_id(image) or ""])
        if _recorded().partition("\n")[2] == _record(key).partition("\n")[2] and healthy(workers):
            say(f"the cluster is up and healthy: context {guard.CONTEXT}, kubeconfig {kubeconfig()}")
            if _recorded() != _record(key):
                # Somebody may be at work in it: what is healthy is only ever taken away by `down`.
                say("it was made from an older recipe; `make cluster-down cluster` makes it anew")
        else:
            _create(image, workers)
            (_state() / "record").write_text(_record(key))
    return _own()


def down() -> None:
    """Delete the cluster, the registry's container and the network; caches, images and pushed images stay."""
    engine.ensure()
    with cache.lock("cluster"):
        _delete()
        registry.remove()
        if engine.inspect("network", guard.NETWORK) is not None:
            engine.docker("network", "rm", guard.NETWORK)


def kubeconfig() -> Path:
    """The place of the cluster's kubeconfig; nobody's default kubeconfig is read or written."""
    return _state() / "kubeconfig"


def current() -> Cluster | None:
    """The running cluster, None when there is none; nothing is started."""
    given = os.environ.get("TESTBED_KUBECONFIG")
    if given:
        return _given(Path(given))
    return _own() if kubeconfig().exists() and _nodes() else None


def healthy(workers: int = WORKERS) -> bool:
    """Whether every node and every system pod is Ready, and there are as many nodes as there should be."""
    if not kubeconfig().exists() or len(_nodes()) != workers + 1 or not guard.rule_in_place():
        return False
    try:
        _wait_ready(workers, timeout=60)
    except TestbedError as error:
        say(f"the cluster is not healthy, making it anew: {str(error).splitlines()[-1]}")
        return False
    return True


def _state() -> Path:
    return cache.directory("cluster")


def _own() -> Cluster:
    guard.own_kubeconfig(kubeconfig())
    return Cluster(kubeconfig(), guard.CONTEXT, _state() / "audit" / kindconfig.AUDIT_LOG)


def _given(path: Path) -> Cluster:
    config = guard.own_kubeconfig(path)
    say(f"using the cluster of TESTBED_KUBECONFIG={path}, context {config['current-context']}")
    return Cluster(path, config["current-context"], None)


def _node_image_is_local() -> bool:
    """Which way to go, said with its reason."""
    if images.image_id(nodeimage.PUBLISHED) is None and not system.image_registry_answers():
        say("no image registry answers: the node image is made here, from Debian packages and Go modules")
        return True
    if _needs_stand_in():
        say("privileged containers lack CAP_SYS_RESOURCE here: the node image is made here, as it does without")
        return True
    say(f"kind's own node image: {nodeimage.PUBLISHED.partition('@')[0]}")
    return False


def _needs_stand_in() -> bool:
    return not system.capability_in_bounding_set(system.CAP_SYS_RESOURCE)


def _write_config(workers: int, *, local: bool) -> str:
    state = _state()
    (state / "audit").mkdir(exist_ok=True)
    registry.write_hosts_toml(state / "certs.d")
    policy = state / "audit-policy.yaml"
    shutil.copy(HERE / "cluster_files" / "audit-policy.yaml", policy)
    cgroup_v1 = engine.docker("info", "--format", "{{.CgroupVersion}}") == "1"
    config = kindconfig.render(workers=workers, state=state, audit_policy=policy, local=local, cgroup_v1=cgroup_v1)
    (state / "kind.yaml").write_text(config)
    return config + policy.read_text() + (HERE / "cluster_files" / "Corefile").read_text()


def _create(image: str, workers: int) -> None:
    with step(f"creating the cluster: 1 control plane, {workers} workers"):
        _delete()
        for old in (_state() / "audit").iterdir():
            old.unlink()
        config = _state() / "kind.yaml"
        _kind("create", "cluster", "--config", config, "--image", image, "--kubeconfig", kubeconfig(), "--wait", "0s")
    with step("waiting for nodes and system pods"):
        _keep_names_inside()
        _wait_ready(workers, timeout=_READY_TIMEOUT)


def _delete() -> None:
    if _nodes():
        with step("deleting the cluster"):
            _kind("delete", "cluster", "--name", guard.CLUSTER, "--kubeconfig", kubeconfig())
    kubeconfig().unlink(missing_ok=True)
    (_state() / "record").unlink(missing_ok=True)


def _nodes() -> list[str]:
    label = f"label=io.x-k8s.kind.cluster={guard.CLUSTER}"
    return engine.docker("ps", "-aq", "--no-trunc", "--filter", label).split()


def _kind(*arguments: str | Path) -> None:
    environment = {
        "KIND_EXPERIMENTAL_DOCKER_NETWORK": guard.NETWORK,
        "PATH": os.environ.get("PATH", os.defpath),
        "DOCKER_CLI_HINTS": "false",
    }
    if _needs_stand_in():
        say("no CAP_SYS_RESOURCE here: kind runs behind a stand-in for the docker client that asks for all but that")
        environment |= _stand_in()
    system.run([gotools.tool("kind"), *arguments], env=environment, timeout=300)


def _stand_in() -> Mapping[str, str]:
    real = shutil.which("docker")
    if real is None:
        raise TestbedError("no docker client on the PATH")
    path = os.environ.get("PATH", os.defpath)
    return {"PATH": f"{nodeimage.SOURCES / 'standin'}{os.pathsep}{path}", "TESTBED_DOCKER": real}


def _recorded() -> str:
    path = _state() / "record"
    return path.read_text() if path.exists() else ""


def _record(key: str) -> str:
    """What the cluster was made from, and the containers that it is."""
    return "\n".join([key, *sorted(_nodes())]) + "\n"


def _keep_names_inside() -> None:
    """Give CoreDNS a configuration that asks nobody outside, in place of kubeadm's."""
    cluster = _own()
    patch = json.dumps({"data": {"Corefile": (HERE / "cluster_files" / "Corefile").read_text()}})
    cluster.kubectl("-n", "kube-system", "patch", "configmap", "coredns", "--type=merge", "--patch", patch)
    cluster.kubectl("-n", "kube-system", "rollout", "restart", "deployment/coredns")


def _wait_ready(workers: int, timeout: int) -> None:
    cluster = _own()
    within = f"--timeout={timeout}s"
    names = cluster.kubectl("get", "nodes", "-o", "name", timeout=timeout).split()
    if len(names) != workers + 1:
        raise TestbedError(f"{len(names)} nodes are registered, {workers + 1} were asked for")
    cluster.kubectl("wait", "--for=condition=Ready", "nodes", "--all", within, timeout=timeout + 10)
    for rolled in cluster.kubectl("-n", "kube-system", "get", "daemonsets,deployments", "-o", "name").split():
        cluster.kubectl("-n", "kube-system", "rollout", "status", rolled, within, timeout=timeout + 10)
    system_pods = ["wait", "--for=condition=Ready", "pods", "-l", "tier=control-plane", within]
    cluster.kubectl("-n", "kube-system", *system_pods, timeout=timeout + 10)
