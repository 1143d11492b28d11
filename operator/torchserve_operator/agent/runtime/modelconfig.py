"""The files by which the resource wins over what is baked into the image: MANIFEST.json and model-config.yaml.

TorchServe lets an archive's own model-config.yaml beat config.properties, and reads deviceIds nowhere else; so the
agent writes that file itself.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Dict, Optional

from .config import Bounds, Model
from .problem import ARCHIVE_BROKEN, IMAGE_UNSUITABLE, ProblemError

CONFIG_FILE = "model-config.yaml"

# PyYAML comes with TorchServe's requirements; the agent itself has none, and needs it at start only.
# Mappings go as lists of pairs: YAML's keys may be numbers, JSON's may not.
_PARSE = """
import json, sys

def plain(value):
    if isinstance(value, dict):
        return {"pairs": [[plain(key), plain(item)] for key, item in value.items()]}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    return value

try:
    import yaml
except ImportError as error:
    print(error, file=sys.stderr)
    sys.exit(3)
try:
    with open(sys.argv[1], encoding="utf-8") as file:
        value = yaml.safe_load(file)
    print(json.dumps(plain(value), default=str))
except Exception as error:
    print(" ".join(str(error).split()), file=sys.stderr)
    sys.exit(2)
"""


def merge(baked: Dict[str, Any], model: Model, bounds: Optional[Bounds]) -> Dict[str, Any]:
    """The keys of model-config.yaml: the image's own, under the resource's parameters, its settings and the policy."""
    merged = dict(baked)
    merged.update(model.parameters)
    merged.update(model.settings)
    if bounds is not None:
        merged["minWorkers"] = bounds.minimum
        merged["maxWorkers"] = max(bounds.maximum, 1)  # TorchServe ignores 0 here
    return merged


def manifest(original: Dict[str, Any], model: Model) -> Dict[str, Any]:
    """The archive's manifest with the resource's name and version, and our configuration file."""
    changed = dict(original)
    changed["model"] = dict(original.get("model") or {})
    changed["model"].update({"modelName": model.name, "modelVersion": model.version, "configFile": CONFIG_FILE})
    # TorchServe refuses a manifest without these, though nothing depends on their values.
    for key, value in (("createdOn", "01/01/1970 00:00:00"), ("runtime", "python"), ("archiverVersion", "0.0.0")):
        changed.setdefault(key, value)
    return changed


def read_manifest(path: str) -> Dict[str, Any]:
    """The JSON object at `path`. Raises ProblemError (ArchiveBroken) for anything else."""
    try:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
    except FileNotFoundError:
        message = (
            "%s is missing: a model directory is an exploded archive (torch-model-archiver --archive-format no-archive)"
        )
        raise ProblemError(ARCHIVE_BROKEN, message % path) from None
    except ValueError as error:
        raise ProblemError(ARCHIVE_BROKEN, "%s is no JSON manifest: %s" % (path, error)) from error
    if not isinstance(document, dict):
        raise ProblemError(ARCHIVE_BROKEN, "%s is no JSON manifest: not an object" % path)
    return document


def read_baked(path: str) -> Dict[str, Any]:
    """The mapping in the YAML file at `path`, read with the image's PyYAML in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _PARSE, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False
    )
    error = done.stderr.decode("utf-8", "replace").strip()
    if done.returncode == 3:
        raise ProblemError(IMAGE_UNSUITABLE, "the image's Python has no PyYAML, which TorchServe needs: %s" % error)
    if done.returncode != 0:
        raise ProblemError(ARCHIVE_BROKEN, "%s is no YAML: %s" % (path, error or "exit code %d" % done.returncode))
    value = json.loads(done.stdout.decode("utf-8"), object_hook=lambda pairs: dict(pairs["pairs"]))
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ProblemError(ARCHIVE_BROKEN, "%s is no YAML mapping" % path)
    return value
