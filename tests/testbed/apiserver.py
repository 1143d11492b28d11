"""A real kube-apiserver on a real etcd, on this machine's loopback, in seconds: for tests of the API alone.

There are no nodes. With ``controller_manager=True`` deployments make pods (that stay Pending), owners' children are
garbage collected and namespaces go away.
"""

import contextlib
import json
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from testbed import gotools, system
from testbed.audit import AuditLog
from testbed.errors import TestbedError

START_TIMEOUT = 60.0
"""Seconds until /readyz; seen: 4 on two cores."""
STOP_TIMEOUT = 10.0
TOKEN = "testbed"
"""The administrator's, of a server on the loopback that lives for one test run."""
AUDIT_POLICY = Path(__file__).parent / "cluster_files" / "audit-policy.yaml"
_ATTEMPTS = 3
"""Between choosing a free port and listening at it somebody else may take it."""


class ApiServer:
    """A running API server while the ``with`` block lasts.

    The servers die with the thread that started them, even if it is killed. Everything they wrote is removed.

    Args:
        controller_manager: run kube-controller-manager, too.
        arguments: further arguments for kube-apiserver.

    Attributes:
        url: ``https://127.0.0.1:PORT``.
        token: a bearer token of group system:masters.
        ca: the certificate to trust (PEM).
        kubeconfig: a kubeconfig with all of it.
        audit: the audit log.
    """

    token = TOKEN

    def __init__(self, *, controller_manager: bool = False, arguments: Sequence[str] = ()) -> None:
        self._with_controllers = controller_manager
        self._arguments = list(arguments)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        names = ["etcd", "kube-apiserver", *(["kube-controller-manager"] if self._with_controllers else [])]
        self._programs = gotools.tools(names)
        self._directory = Path(tempfile.mkdtemp(prefix="testbed-api-"))
        self.ca = self._directory / "certs" / "apiserver.crt"
        self.kubeconfig = self._directory / "kubeconfig"
        self.audit = AuditLog(self._directory / "audit.log")
        self._write_secrets()
        try:
            self._start_on_free_ports()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in reversed(list(self._running)):
            self._stop(name)
        shutil.rmtree(self._directory, ignore_errors=True)

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = 60) -> str:
        """Run kubectl against this server and return its output; raises TestbedError with its words."""
        command: list[str | Path] = [gotools.tool("kubectl"), "--kubeconfig", self.kubeconfig, *arguments]
        return system.run(command, stdin=stdin.encode() if stdin is not None else None, timeout=timeout)

    def outage(self) -> None:
        """Stop serving (etcd keeps everything) until ``recover``."""
        self._stop("kube-apiserver")

    def recover(self) -> None:
        """Serve again, at the same address, after an ``outage``."""
        self._start_apiserver()

    def log(self, name: str = "kube-apiserver") -> str:
        """What a server wrote to its log."""
        return (self._directory / f"{name}.log").read_text(errors="replace")

    def _write_secrets(self) -> None:
        (self._directory / "tokens.csv").write_text(f'{TOKEN},admin,admin,"system:masters"\n')
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        (self._directory / "service-accounts.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
            )
        )

    def _start_on_free_ports(self) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                self._etcd_url = f"http://127.0.0.1:{_free_port()}"
                self._port = _free_port()
                self.url = f"https://127.0.0.1:{self._port}"
                self._start_etcd()
                self._start_apiserver()
                break
            except TestbedError as error:
                if attempt + 1 == _ATTEMPTS or "address already in use" not in str(error):
                    raise
                for name in reversed(list(self._running)):
                    self._stop(name)
        self.kubeconfig.write_text(yaml.safe_dump(self._kubeconfig()))
        if self._with_controllers:
            self._start_controller_manager()

    def _kubeconfig(self) -> dict[str, object]:
        name = "testbed-apiserver"
        cluster = {"server": self.url, "certificate-authority": str(self.ca)}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": cluster}],
            "users": [{"name": name, "user": {"token": TOKEN}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        }

    def _start_etcd(self) -> None:
        self._start(
            "etcd",
            f"--data-dir={self._directory / 'etcd'}",
            f"--listen-client-urls={self._etcd_url}",
            f"--advertise-client-urls={self._etcd_url}",
            "--listen-peer-urls=http://127.0.0.1:0",
            "--unsafe-no-fsync",  # the data does not outlive the test anyway
            "--log-level=warn",
        )
        self._wait("etcd", f"{self._etcd_url}/health")

    def _start_apiserver(self) -> None:
        key = self._directory / "service-accounts.key"
        self._start(
            "kube-apiserver",
            f"--etcd-servers={self._etcd_url}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self._port}",
            f"--cert-dir={self.ca.parent}",
            f"--token-auth-file={self._directory / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            f"--audit-policy-file={AUDIT_POLICY}",
            f"--audit-log-path={self.audit.path}",
            "--endpoint-reconciler-type=none",
            # Without a controller manager nobody makes the default ServiceAccounts that this plug-in asks for.
            *([] if self._with_controllers else ["--disable-admission-plugins=ServiceAccount"]),
            *self._arguments,
        )
        self._wait("kube-apiserver", f"{self.url}/readyz")

    def _start_controller_manager(self) -> None:
        self._start(
            "kube-controller-manager",
            f"--kubeconfig={self.kubeconfig}",
            f"--service-account-private-key-file={self._directory / 'service-accounts.key'}",
            "--leader-elect=false",
            "--secure-port=0",
        )

    def _start(self, name: str, *arguments: str) -> None:
        # A test run that is killed must not leave servers behind: the kernel kills them with their parent.
        command = ["setpriv", "--pdeathsig", "KILL", "--", str(self._programs[name]), *arguments]
        with (self._directory / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._directory
            )

    def _stop(self, name: str) -> None:
        process = self._running.pop(name, None)
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _wait(self, name: str, url: str) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not self._healthy(url):
            if self._running[name].poll() is not None:
                raise TestbedError(f"{name} exited with {self._running[name].returncode}:\n{self.log(name)[-3000:]}")
            if time.monotonic() > deadline:
                raise TestbedError(f"{name} is not ready after {START_TIMEOUT:.0f} s:\n{self.log(name)[-3000:]}")
            time.sleep(0.05)

    def _healthy(self, url: str) -> bool:
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
        with contextlib.suppress(OSError, urllib.error.HTTPError):
            context = ssl.create_default_context(cafile=str(self.ca)) if url.startswith("https") else None
            with urllib.request.urlopen(request, timeout=2, context=context) as answer:
                body = answer.read()
                return bool(answer.status == 200 and (b"ok" in body or json.loads(body).get("health") == "true"))
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
