"""Debian root file systems as base images: fetched where a registry answers, else made by debootstrap."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from testbed import cache, engine, images, system
from testbed.errors import TestbedError
from testbed.progress import step

HOST_CERTIFICATES = Path("/usr/local/share/ca-certificates")
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
TRIMMED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "var/cache/apt", "var/lib/apt/lists")
RECIPE = "3"
"""Part of the content key: raise it when what this module makes changes."""


def ensure_base(release: str, tag: str) -> None:
    """Make sure that ``tag`` is Debian ``release``, minimal, with apt, certificates and nothing else."""
    engine.ensure()
    if system.image_registry_answers():
        _fetched(release, tag)
    else:
        _made(release, tag, ["ca-certificates"])


def ensure_root(release: str, tag: str, packages: Sequence[str]) -> None:
    """Make sure that ``tag`` is Debian ``release`` with ``packages``, made by debootstrap."""
    engine.ensure()
    _made(release, tag, packages)


def _host_certificates() -> list[Path]:
    return sorted(HOST_CERTIFICATES.rglob("*.crt"))


def _environment() -> dict[str, str]:
    """What programs in the image need to trust what this machine trusts; nothing where nothing was added here."""
    if not _host_certificates():
        return {}
    return {"PIP_CERT": BUNDLE, "SSL_CERT_FILE": BUNDLE, "REQUESTS_CA_BUNDLE": BUNDLE}


def _fetched(release: str, tag: str) -> None:
    upstream = f"debian:{release}-slim"
    images.pull(upstream)
    certificates = _host_certificates()
    key = cache.content_key([RECIPE, images.image_id(upstream) or "", *(path.read_bytes() for path in certificates)])
    with cache.lock(f"image-{tag}"):
        if images.is_current(tag, key):
            return
        lines = [f"FROM {upstream}"]
        if certificates:
            lines += [
                "RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates",
                f"COPY *.crt {HOST_CERTIFICATES}/",
                "RUN update-ca-certificates",
                *(f"ENV {name}={value}" for name, value in _environment().items()),
            ]
        with cache.publish(cache.root() / "contexts" / f"debian-{release}") as context:
            context.mkdir()
            for path in certificates:
                shutil.copy(path, context / path.name)
            (context / "Dockerfile").write_text("\n".join(lines) + "\n")
            engine.docker("build", "-t", tag, "--label", f"{images.KEY_LABEL}={key}", context)


def _made(release: str, tag: str, packages: Sequence[str]) -> None:
    certificates = _host_certificates()
    key = cache.content_key([RECIPE, release, *packages, *(path.read_bytes() for path in certificates)])
    archive = cache.directory("debian") / f"{release}-{key}.tar.gz"
    with cache.lock(f"image-{tag}"):
        if images.is_current(tag, key):
            return
        if not archive.exists():
            _debootstrap(release, packages, archive)
        with step(f"importing {tag}"):
            changes = [
                "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                'CMD ["bash"]',
                f"LABEL {images.KEY_LABEL}={key}",
                *(f"ENV {name}={value}" for name, value in _environment().items()),
            ]
            engine.docker("import", *(word for change in changes for word in ("-c", change)), archive, tag)


def _debootstrap(release: str, packages: Sequence[str], archive: Path) -> None:
    if not system.is_root():
        raise TestbedError(
            f"making a Debian {release} base image needs root (debootstrap), as no image registry can be reached; "
            "run the same command with sudo, or where docker.io answers"
        )
    system.ensure_programs({"debootstrap": "debootstrap"})
    mirror = system.apt_mirror()
    with (
        step(f"making a Debian {release} root file system with debootstrap"),
        tempfile.TemporaryDirectory(prefix=".root-", dir=archive.parent) as workplace,
    ):
        root = Path(workplace) / "root"
        chosen = [f"--include={','.join(packages)}"] if packages else []
        system.run(["debootstrap", "--variant=minbase", *chosen, release, root, mirror])
        _trust_what_the_host_trusts(root)
        for place in TRIMMED:
            for path in (root / place).glob("*") if (root / place).is_dir() else ():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        with cache.publish(archive) as target:
            system.run(["tar", "--numeric-owner", "-I", "gzip -1", "-C", root, "-cf", target, "."])


def _trust_what_the_host_trusts(root: Path) -> None:
    certificates = _host_certificates()
    if not certificates:
        return
    place = root / HOST_CERTIFICATES.relative_to("/")
    place.mkdir(parents=True, exist_ok=True)
    for path in certificates:
        shutil.copy(path, place / path.name)
    system.run(["chroot", root, "update-ca-certificates"])
