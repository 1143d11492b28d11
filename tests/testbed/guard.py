"""The walls around the cluster: nothing in it speaks to the world, and nothing here speaks to another cluster.

Network: the cluster has a Docker network of its own, on a bridge with a name of its own, and one rule in the
hook that Docker keeps for administrators (DOCKER-USER) rejects whatever that bridge sends anywhere but to itself.
The machine itself can still be reached (its INPUT chain is another one): that is where tests run servers. A Service
address that nothing translates would otherwise leave by the machine's default route, and somebody there may answer.

Kubeconfig: tests create and destroy; they get a cluster only when its context is the testbed's own, or when the
person who named the kubeconfig named its context, too.
"""

import os
from pathlib import Path
from typing import Any

import yaml

from testbed import engine, system
from testbed.errors import TestbedError
from testbed.progress import say

CLUSTER = "torchserve-operator"
CONTEXT = f"kind-{CLUSTER}"
NETWORK = CLUSTER
BRIDGE = "tso-testbed0"
"""The bridge's interface name (at most 15 characters); fixed, so that the rule outlives the network."""

_RULE = ["-i", BRIDGE, "!", "-o", BRIDGE, "-j", "REJECT", "--reject-with", "icmp-admin-prohibited"]


def ensure_network() -> None:
    """Make the cluster's Docker network and the rule that keeps it to itself.

    Raises:
        TestbedError: neither this process nor a container of ``helper`` may change the packet filter.
    """
    engine.ensure()
    _ensure_rule()
    if engine.inspect("network", NETWORK) is None:
        option = f"com.docker.network.bridge.name={BRIDGE}"
        engine.docker("network", "create", "--driver", "bridge", "--opt", option, NETWORK)
        say(f"made the Docker network {NETWORK}; it reaches this machine and itself, nothing else")


def _iptables(*arguments: str) -> list[str]:
    """The iptables command: ours as root, else one in a container that shares the machine's network."""
    if system.is_root():
        system.ensure_programs({"iptables": "iptables"})
        return ["iptables", "-w", "10", *arguments]
    from testbed import nodeimage

    image = nodeimage.PUBLISHED
    return [
        *("docker", "run", "--rm", "--network=host", "--cap-add=NET_ADMIN", "--entrypoint=iptables", image),
        *("-w", "10", *arguments),
    ]


def rule_in_place() -> bool:
    """Whether the network guard's rule is there."""
    return system.succeeds(_iptables("-C", "DOCKER-USER", *_RULE))


def _ensure_rule() -> None:
    if rule_in_place():
        return
    try:
        system.run(_iptables("-I", "DOCKER-USER", "1", *_RULE))
    except TestbedError as error:
        raise TestbedError(f"the network guard could not be set up, so no pod may start: {error}") from error
    say(f"network guard in place: {BRIDGE} reaches itself and this machine only")


def own_kubeconfig(path: Path) -> dict[str, Any]:
    """The parsed kubeconfig, if what it points at may be used for tests.

    Its current context must be the testbed's own (``kind-torchserve-operator`` on a loopback address), or
    the one that ``TESTBED_CONTEXT`` names.

    Raises:
        TestbedError: it is no kubeconfig, or of somebody else's cluster.
    """
    try:
        config: dict[str, Any] = yaml.safe_load(path.read_text())
        context = config["current-context"]
        entry = next(item["context"] for item in config["contexts"] if item["name"] == context)
        server = next(item["cluster"]["server"] for item in config["clusters"] if item["name"] == entry["cluster"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, StopIteration) as error:
        raise TestbedError(f"{path} is not a kubeconfig with a current context: {error!r}") from error
    if context == os.environ.get("TESTBED_CONTEXT"):
        return config
    if context != CONTEXT:
        raise TestbedError(
            f"{path}: the current context is {context!r} ({server}), not the testbed's own {CONTEXT!r}. "
            f"If tests may create and delete things there, say so: TESTBED_CONTEXT={context}"
        )
    if not server.startswith(("https://127.0.0.1:", "https://localhost:")):
        raise TestbedError(f"{path}: context {CONTEXT!r} points at {server}, which is not on this machine")
    return config
