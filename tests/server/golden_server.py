"""A real TorchServe, started by the agent with the generated files of a golden spec, in a container like a pod's."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import shutil
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from serving import AGENT, HANDLER, Served, docker, write_model

from torchserve_operator.agent.bundle import agent_bundle
from torchserve_operator.api.parse import parse_resource
from torchserve_operator.desired.sizing import size

GOLDEN = Path(__file__).parents[1] / "golden"

_FETCH = "import sys,urllib.request as u; sys.stdout.write(u.urlopen(sys.argv[1], timeout=10).read().decode())"


class GoldenServer(Served):
    """One running container.

    Attributes:
        spec: The resource that its files were made of.
        models: The models' names; the first has one worker, the others none.
    """

    def __init__(self, container: str, folder: Path, spec: dict[str, Any]) -> None:
        super().__init__(container, folder, tls="tls" in spec.get("server", {}))
        self.spec = spec
        self.models = [model["name"] for model in spec["models"]]

    def inside(self, url: str) -> str:
        """The body of a URL, asked for in the container: management and metrics are on its loopback."""
        return self.execute("python", "-c", _FETCH, url)

    def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str]]:
        """Status and headers (in lower case) of a GET on the inference port."""
        with contextlib.closing(self.connection()) as connection:
            connection.request("GET", path, headers=headers or {})
            response = connection.getresponse()
            response.read()
            return response.status, {name.lower(): value for name, value in response.getheaders()}


@contextlib.contextmanager
def serve_golden(
    name: str, folder: Path, image: str, *, handler: str = HANDLER, baked: str | None = None
) -> Iterator[GoldenServer]:
    """Starts a container with the files of a golden spec; removes it afterwards."""
    golden = GOLDEN / name
    resource = yaml.safe_load((golden / "spec.yaml").read_text())
    agent = json.loads((golden / "agent.json").read_text())
    mounts = _files(golden, folder, agent) | _models(folder, agent, handler, baked)
    line = ["run", "--detach", "--read-only", "--cap-drop", "ALL", "--user", "1000:1000"]
    line += ["--security-opt", "no-new-privileges", "--label", "torchserve-operator-test=golden"]
    for path in ("/tmp", "/run/torchserve", "/home/torchserve"):
        line += ["--tmpfs", f"{path}:exec,mode=1777"]
    for target, source in mounts.items():
        line += ["--volume", f"{source}:{target}:ro"]
    if agent["memoryLimitBytes"]:
        line += ["--memory", str(agent["memoryLimitBytes"])]
    variables = {"HOME": "/home/torchserve", **size(parse_resource(resource)).environment}
    variables |= {item["name"]: item["value"] for item in resource["spec"].get("pod", {}).get("env", [])}
    for variable, value in variables.items():
        line += ["--env", f"{variable}={value}"]
    container = f"tso-golden-{uuid.uuid4().hex[:12]}"
    docker(*line, "--name", container, "--entrypoint", "python", image, "-B", f"{AGENT}/agent/agent.pyz")
    try:
        yield GoldenServer(container, folder, resource["spec"])
    finally:
        docker("rm", "--force", "--volumes", container)


def _files(golden: Path, folder: Path, agent: dict[str, Any]) -> dict[str, Path]:
    """Writes what the pod's ConfigMaps and Secret hold; where each is mounted."""
    for part in ("agent", "server", "policy", "tls"):
        (folder / part).mkdir()
    bundle = agent_bundle()
    (folder / "agent" / "agent.pyz").write_bytes(bundle.pyz)
    (folder / "agent" / "graceful.jar").write_bytes(bundle.jar)
    for file in ("config.properties", "log4j2.xml", "agent.json", "metrics.yaml"):
        if (golden / file).exists():
            shutil.copy(golden / file, folder / "server" / file)
    # One worker in all: what a bound does is not shown here, and every worker is a Python process with torch.
    bounds = {m["name"]: {"minWorkers": int(i == 0), "maxWorkers": 1} for i, m in enumerate(agent["models"])}
    (folder / "policy" / "policy.json").write_text(json.dumps({"schema": 1, "models": bounds}))
    if agent["tls"]:
        _write_certificate(folder / "tls")
    return {f"{AGENT}/{part}": folder / part for part in ("agent", "server", "policy", "tls")}


def _models(folder: Path, agent: dict[str, Any], handler: str, baked: str | None) -> dict[str, Path]:
    """Writes each model where the resource says that the image has it."""
    mounts = {agent["modelStore"]: folder / "store"}
    for index, model in enumerate(agent["models"]):
        path = Path(model["path"] or model["name"])
        if path.is_absolute():
            mounts[str(path.parent)] = folder / f"elsewhere-{index}"
            place = folder / f"elsewhere-{index}" / path.name
        else:
            place = folder / "store" / path
        if place.suffix == ".mar":
            exploded = folder / f"exploded-{index}"
            write_model(exploded, model["name"], handler=handler, baked=baked)
            place.parent.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(place, "w") as archive:
                for file in sorted(exploded.rglob("*")):
                    archive.write(file, file.relative_to(exploded))
        else:
            write_model(place, model["name"], handler=handler, baked=baked)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return mounts


def _write_certificate(folder: Path) -> None:
    """A Secret of type kubernetes.io/tls, self-signed."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "digits")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "tls.crt").write_bytes(certificate.public_bytes(pem))
    (folder / "tls.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
