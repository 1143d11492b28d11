"""The image registry beside the cluster: one reference that both this machine and the pods can use.

A container on the cluster's network, published on this machine's loopback only. ``docker push`` takes
``127.0.0.1:5055/NAME`` without TLS, as Docker trusts the loopback; on the nodes containerd is told that this very
name means the registry's container (``certs.d/127.0.0.1:5055/hosts.toml``). What was pushed stays in the cache.
"""

import os
import time
import urllib.request
from pathlib import Path

from testbed import cache, engine, guard, images, system
from testbed.errors import TestbedError
from testbed.progress import step

NAME = f"{guard.CLUSTER}-registry"
PUBLISHED = "registry:2.8.3"
LOCAL_IMAGE = "testbed/registry:debian"
HERE = Path(__file__).parent / "registry"


def port() -> int:
    """The port on the loopback and in the references: 5055, or ``$TESTBED_REGISTRY_PORT``."""
    return int(os.environ.get("TESTBED_REGISTRY_PORT", "5055"))


def host() -> str:
    """The registry's part of every reference: ``127.0.0.1:5055``."""
    return f"127.0.0.1:{port()}"


def reference(tag: str) -> str:
    """The name under which pods and this machine both find the local image ``tag``."""
    return tag if tag.startswith(f"{host()}/") else f"{host()}/{tag}"


def write_hosts_toml(directory: Path) -> None:
    """Write containerd's certs.d directory for the nodes."""
    place = directory / host()
    place.mkdir(parents=True, exist_ok=True)
    server = f"http://{NAME}:{port()}"
    (place / "hosts.toml").write_text(
        f'server = "{server}"\n\n[host."{server}"]\n  capabilities = ["pull", "resolve"]\n'
    )


def answers() -> bool:
    """Whether the registry serves."""
    try:
        with urllib.request.urlopen(f"http://{host()}/v2/", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def ensure() -> None:
    """Make sure that the registry runs."""
    engine.ensure()
    with cache.lock("registry"):
        if _running() and answers():
            return
        guard.ensure_network()
        image = _image()
        with step(f"starting the image registry at {host()}"):
            remove()
            engine.docker(
                *("run", "-d", "--name", NAME, "--network", guard.NETWORK, "--restart", "unless-stopped"),
                *("--label", f"{guard.CLUSTER}.testbed=registry"),
                *("-p", f"{host()}:{port()}", "-v", f"{cache.directory('registry')}:/var/lib/registry"),
                *("-v", f"{HERE / 'config.yml'}:/etc/docker/registry/config.yml:ro"),
                *("-e", f"REGISTRY_HTTP_ADDR=:{port()}", image),
            )
            _wait()


def remove() -> None:
    """Remove the registry's container (not what was pushed)."""
    if engine.inspect("container", NAME) is not None:
        engine.docker("rm", "-f", NAME)


def _running() -> bool:
    found = engine.inspect("container", NAME)
    return bool(found and found["State"]["Running"] and guard.NETWORK in found["NetworkSettings"]["Networks"])


def _image() -> str:
    if system.image_registry_answers():
        images.pull(PUBLISHED)
        return PUBLISHED
    base = images.debian_base("trixie")
    images.build(HERE, LOCAL_IMAGE, {"BASE_IMAGE": base})
    return LOCAL_IMAGE


def _wait() -> None:
    deadline = time.monotonic() + 30
    while not answers():
        if time.monotonic() > deadline:
            raise TestbedError(f"the registry does not answer at {host()}:\n{engine.docker('logs', NAME)[-2000:]}")
        time.sleep(0.1)
