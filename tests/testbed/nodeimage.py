"""The image of the cluster's nodes: kind's published one, or, where no image registry answers, one made here.

What is made here is Debian packages (systemd, runc, CNI plug-ins, nftables) and programs built from Go modules, with
the control plane's images already in containerd's store, so that a cluster starts without a single pull.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from testbed import cache, debian, engine, gotools, images, ociarchive
from testbed.errors import TestbedError
from testbed.progress import step

PUBLISHED = "kindest/node:v1.37.0@sha256:a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5"
"""The node image that the pinned kind names as its own default."""

LOCAL = f"testbed/node:{gotools.KUBERNETES}"
REPOSITORY = "node.local"
"""kubeadm's imageRepository on nodes made here: a name that no registry has."""

RECIPE = "1"
"""Part of the content key: raise it when what this module makes of the same parts changes."""

SOURCES = Path(__file__).parent / "node"

# systemd of later Debian releases refuses cgroup v1, which machines of this kind may have.
RELEASE = "bookworm"
PACKAGES = (
    "ca-certificates",
    "conntrack",
    "containernetworking-plugins",
    "curl",
    "dbus",
    "ebtables",
    "ethtool",
    "iproute2",
    "ipset",
    "iptables",
    "jq",
    "kmod",
    "mount",
    "nftables",
    "procps",
    "runc",
    "socat",
    "systemd",
    "systemd-sysv",
    "util-linux",
)
NETWORK_PROGRAMS = ("/usr/sbin/xtables-nft-multi", "/usr/sbin/nft", "/usr/sbin/conntrack", "/usr/bin/kmod")

_IN_USR_LOCAL_BIN = ("containerd", "containerd-shim-runc-v2", "ctr", "crictl", "coredns")
_IN_USR_BIN = ("kubeadm", "kubelet", "kubectl")
IMAGES = {
    # program -> tag that this kubeadm asks for
    "kube-apiserver": gotools.KUBERNETES,
    "kube-controller-manager": gotools.KUBERNETES,
    "kube-scheduler": gotools.KUBERNETES,
    "kube-proxy": gotools.KUBERNETES,
    "etcd": f"{gotools.ETCD}-0",
    "coredns": gotools.COREDNS,
    "pause": "3.10.2",
    "netagent": "v1",
}
_NEED_NETWORK_PROGRAMS = ("kube-proxy", "netagent")


def ensure_local() -> str:
    """Make the node image when it is missing or not of this content; return its tag."""
    engine.ensure()
    programs = gotools.tools([*_IN_USR_LOCAL_BIN, *_IN_USR_BIN, *IMAGES])
    # A program's place in the cache has its content key in it.
    places = (
        str(path.relative_to(cache.root())) if path.is_relative_to(cache.root()) else str(path.stat().st_size)
        for _, path in sorted(programs.items())
    )
    recipe = [RECIPE, debian.RECIPE, RELEASE, *PACKAGES, *NETWORK_PROGRAMS, str(IMAGES)]
    key = cache.content_key([*recipe, *places, *cache.tree_parts(SOURCES)])
    with cache.lock("node-image"):
        if not images.is_current(LOCAL, key):
            with step(f"making the node image {LOCAL}"):
                _make(programs, key)
    return LOCAL


def _make(programs: dict[str, Path], key: str) -> None:
    root = f"testbed/node-root:{RELEASE}"
    debian.ensure_root(RELEASE, root, PACKAGES)
    base = f"testbed/node-base:{gotools.KUBERNETES}"
    version = cache.directory("node") / "version"
    version.write_text(f"{gotools.KUBERNETES}\n")  # kind wants exactly one line
    included = {f"bin/{name}": programs[name] for name in (*_IN_USR_LOCAL_BIN, *_IN_USR_BIN)}
    included["rootfs/kind/version"] = version
    images.build(SOURCES, base, {"BASE_IMAGE": root}, include=included)
    with _container(base) as container, cache.publish(cache.directory("node") / f"{key}.tar") as archive:
        with step("putting the control plane's images into the node image"):
            ociarchive.write(archive, _preloaded(programs, _network_root(base)))
            _import(container, archive)
        with step("committing the node image"):
            changes = ['ENTRYPOINT ["/usr/local/bin/node-entrypoint"]', "CMD []", f"LABEL {images.KEY_LABEL}={key}"]
            engine.docker("commit", *(word for change in changes for word in ("--change", change)), container, LOCAL)
    (cache.directory("node") / f"{key}.tar").unlink(missing_ok=True)


def _preloaded(programs: dict[str, Path], network_root: bytes) -> Iterator[ociarchive.Image]:
    for name, tag in IMAGES.items():
        place = f"/usr/local/bin/{name}"
        base = network_root if name in _NEED_NETWORK_PROGRAMS else b""
        yield ociarchive.Image(f"{REPOSITORY}/{name}:{tag}", [place], {place: programs[name]}, base)


def _network_root(base: str) -> bytes:
    """A root file system of nft, iptables and what they need, for pods that change the packet filter."""
    collect = (SOURCES / "collect").read_text()
    command = ["run", "--rm", "--network=none", "--entrypoint=bash", base, "-c", collect, "collect", *NETWORK_PROGRAMS]
    with cache.publish(cache.directory("node") / "network-root.tar") as target:
        engine.docker_into(command, target)
    return (cache.directory("node") / "network-root.tar").read_bytes()


@contextlib.contextmanager
def _container(image: str) -> Iterator[str]:
    container = engine.docker("run", "-d", "--network=none", "--entrypoint=sleep", image, "infinity")
    try:
        yield container
    finally:
        engine.docker("rm", "-f", container)


def _import(container: str, archive: Path) -> None:
    """Import into the container's own containerd; without unpacking, as an overlay cannot lie on Docker's overlay."""
    engine.docker("exec", "-d", container, "sh", "-c", "exec containerd >/run/containerd.log 2>&1")
    deadline = time.monotonic() + 30
    while not _serves(container):
        if time.monotonic() > deadline:
            raise TestbedError(f"containerd: {engine.docker('exec', container, 'cat', '/run/containerd.log')[-2000:]}")
        time.sleep(0.1)
    pinned = "--label=io.cri-containerd.pinned=pinned"
    words = ["ctr", "--namespace=k8s.io", "images", "import", "--no-unpack", "--digests", pinned, "-"]
    engine.docker_pipe(["exec", "-i", container, *words], archive)
    engine.docker("exec", container, "sh", "-c", "pkill -x containerd; while pgrep -x containerd; do sleep 0.1; done")
    engine.docker("exec", container, "sh", "-c", "rm -rf /run/containerd /run/containerd.log")


def _serves(container: str) -> bool:
    try:
        engine.docker("exec", container, "ctr", "version")
    except TestbedError:
        return False
    return True
