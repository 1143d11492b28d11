"""The base image's own pip: where its index is, and how it is run."""

from __future__ import annotations

import importlib.util
import os
import re
import ssl
import subprocess
import sys
from pathlib import Path

from .mask import Mask
from .plan import RequirementsError

INDEX_KEYS = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST")
NOT_OURS = ("PIP_TARGET", "PIP_USER", "PIP_PREFIX", "PIP_ROOT", "PIP_REQUIRE_VIRTUALENV", "PIP_DRY_RUN", "PIP_REPORT")
"""Settings that an image may have for its own use and that contradict a target folder."""

OLDEST_PIP = (22, 2)
"""The first that has `--dry-run` and `--report`."""


def index_settings(folder: Path, scratch: Path, mask: Mask) -> dict[str, str]:
    """Make pip's environment from a mounted Secret; an absent folder or key changes nothing."""
    settings = {}
    for key in INDEX_KEYS:
        file = folder / key
        if file.is_file():
            value = " ".join(file.read_text(encoding="utf-8").split())
            if value:
                settings[key] = value
    for url in settings.get("PIP_INDEX_URL", "").split() + settings.get("PIP_EXTRA_INDEX_URL", "").split():
        mask.learn(url)
        if not url.startswith(("https://", "http://")):
            raise RequirementsError("the index's URL does not begin with https://", field="spec.build.indexSecretName")
    authority = folder / "ca.crt"
    if authority.is_file():
        settings["PIP_CERT"] = str(bundle(authority, scratch))
    return settings


def bundle(authority: Path, scratch: Path) -> Path:
    """A CA bundle of what the image trusts and one more: pip takes one file, and an extra index may be public."""
    known = [os.environ.get(key, "") for key in ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")]
    known.append(ssl.get_default_verify_paths().cafile or "")
    pip = importlib.util.find_spec("pip")
    if pip and pip.origin:
        known.append(str(Path(pip.origin).parent / "_vendor" / "certifi" / "cacert.pem"))
    first = next((Path(file).read_bytes() for file in known if file and Path(file).is_file()), b"")
    path = scratch / "ca.pem"
    path.write_bytes(first + b"\n" + authority.read_bytes())
    return path


def say(line: str) -> None:
    """Write a line of the container's log at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Pip:
    """The image's own pip, in an environment of its own, its output masked and passed on."""

    def __init__(self, scratch: Path, settings: dict[str, str], mask: Mask) -> None:
        self.scratch = scratch
        self.mask = mask
        self.isolated = True
        folders = {name: scratch / name for name in ("work", "home", "cache", "tmp")}
        for folder in folders.values():
            folder.mkdir()
        self.work = folders["work"]
        inherited = {key: value for key, value in os.environ.items() if key not in NOT_OURS}
        for key in INDEX_KEYS:
            for url in inherited.get(key, "").split():
                mask.learn(url)
        self.environment = {
            **inherited,
            "HOME": str(folders["home"]),
            "TMPDIR": str(folders["tmp"]),
            # A cache for the two runs of this build: what the first loaded, the second has.
            "PIP_CACHE_DIR": str(folders["cache"]),
            "PIP_NO_INPUT": "1",
            "PIP_KEYRING_PROVIDER": "disabled",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_ROOT_USER_ACTION": "ignore",
            "PIP_PROGRESS_BAR": "off",
            "PIP_NO_COLOR": "1",
            "PIP_USER": "0",
            "PIP_RETRIES": "3",
            "PIP_DEFAULT_TIMEOUT": "30",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "PYTHONIOENCODING": "utf-8",
            # Builds from source: the same bytes each time.
            "PYTHONHASHSEED": "0",
            "SOURCE_DATE_EPOCH": "315532800",
            **settings,
        }

    def version(self) -> str:
        """Tell pip's version. A failure when there is none, or one that cannot do what is needed."""
        done = subprocess.run(
            [sys.executable, "-c", "import pip; print(pip.__version__)"],
            cwd=str(self.work),
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        version = done.stdout.decode().strip()
        if done.returncode != 0:
            raise RequirementsError(
                f"the base image's Python ({sys.executable}) has no pip",
                "use a base image with pip, or one that has the packages and leave requirements out",
                "spec.build.baseImage",
            )
        if tuple(int(number) for number in re.findall(r"\d+", version)[:2]) < OLDEST_PIP:
            needed = ".".join(map(str, OLDEST_PIP))
            raise RequirementsError(
                f"the base image has pip {version}, {needed} or newer is needed",
                "use a base image with a newer pip",
                "spec.build.baseImage",
            )
        return version

    def install(self, *arguments: str, lines: list[str], first_on_path: Path | None = None) -> tuple[int, list[str]]:
        """Run `pip install` on some lines; its exit code and masked output.

        Packages that come as source are built in isolation, with build tools from the index. An index without them
        gets a second try with those of the base image, for the rest of this build.
        """
        file = self.scratch / "requirements.txt"
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--no-compile", *arguments, "-r", str(file)]
        environment = self.with_first_on_path(first_on_path)
        code, output = self._run(command + ([] if self.isolated else ["--no-build-isolation"]), environment)
        tools = importlib.util.find_spec("setuptools") is not None
        if code != 0 and self.isolated and tools and any("build dependencies" in line for line in output):
            self.isolated = False
            say("requirements: the index has no build tools; trying with the base image's")
            code, output = self._run([*command, "--no-build-isolation"], environment)
        return code, output

    def with_first_on_path(self, folder: Path | None) -> dict[str, str]:
        """Return the environment with a folder before all others that Python looks into."""
        path = [str(folder or ""), self.environment.get("PYTHONPATH", "")]
        return {**self.environment, "PYTHONPATH": os.pathsep.join(filter(None, path))}

    def _run(self, command: list[str], environment: dict[str, str]) -> tuple[int, list[str]]:
        output: list[str] = []
        with subprocess.Popen(
            command,
            cwd=str(self.work),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        ) as process:
            for line in process.stdout or ():
                shown = self.mask(line.rstrip("\n"))
                say(shown)
                output.append(shown)
                del output[:-5000]
        said = "\n".join(output)
        if process.returncode != 0 and "(from versions: none)" in said and "build dependencies" not in said:
            output += self._unfetched(command, environment)
        return process.returncode, output

    def _unfetched(self, command: list[str], environment: dict[str, str]) -> list[str]:
        """Why there are no versions.

        Many versions of pip tell it to a log file only, and where they write one, the output lacks other things: so
        pip is asked a second time.
        """
        log = self.scratch / "pip.log"
        quick = {**environment, "PIP_LOG": str(log), "PIP_RETRIES": "0"}
        silent = subprocess.DEVNULL
        subprocess.run(command, cwd=str(self.work), env=quick, stdout=silent, stderr=silent, check=False)
        if not log.is_file():
            return []
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        return [self.mask(line) for line in lines if "Could not fetch URL" in line][-20:]
