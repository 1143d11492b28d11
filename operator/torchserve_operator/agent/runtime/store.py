"""Lays out the model store that TorchServe gets.

One directory per model, of links into the image, with our own manifest and configuration.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from typing import Dict, List, Optional

from .archive import TAR_SUFFIXES, is_archive, unpack
from .config import Bounds, Model
from .modelconfig import CONFIG_FILE, manifest, merge, read_baked, read_manifest
from .problem import ARCHIVE_BROKEN, ARCHIVE_MISSING, Problem, ProblemError
from .yamltext import dump_document

MANIFEST = os.path.join("MAR-INF", "MANIFEST.json")
LISTED = 8
"""How many entries of the model store a message names at most."""


def lay_out(image_store: str, models: List[Model], bounds: Dict[str, Bounds], target: str) -> Dict[str, Problem]:
    """Makes `target` anew with a directory for each model. Returns the problems by model name; none: all is there.

    An emptyDir outlives its containers: what an earlier one left, half-done perhaps, is removed first.
    """
    if os.path.lexists(target):
        shutil.rmtree(target)
    os.makedirs(target)
    problems = {}
    for model in models:
        try:
            _lay_out_one(image_store, model, bounds.get(model.name), os.path.join(target, model.name))
        except ProblemError as error:
            problems[model.name] = error.problem
        except OSError as error:
            problems[model.name] = Problem(ARCHIVE_BROKEN, _os_error(error))
    return problems


def _lay_out_one(image_store: str, model: Model, bounds: Optional[Bounds], target: str) -> None:
    source = find(image_store, model)
    require_readable(source)
    os.mkdir(target)
    if os.path.isdir(source):
        _link(source, target)
    else:
        unpack(source, target)
    original = read_manifest(os.path.join(target, MANIFEST))
    baked_file = (original.get("model") or {}).get("configFile")
    baked = {}
    if baked_file:
        baked_path = os.path.join(target, str(baked_file))
        if os.path.isfile(baked_path):
            baked = read_baked(baked_path)
    _replace(os.path.join(target, MANIFEST), json.dumps(manifest(original, model), indent=1))
    _replace(os.path.join(target, CONFIG_FILE), dump_document(merge(baked, model, bounds)))


def find(image_store: str, model: Model) -> str:
    """The model's directory or archive. Raises ProblemError (ArchiveMissing) with what is there instead."""
    if model.path is not None:
        looked = [os.path.join(image_store, model.path)]
    else:
        looked = [os.path.join(image_store, model.name + suffix) for suffix in ("", ".mar", *TAR_SUFFIXES)]
    folder = os.path.dirname(looked[0])
    _require_reachable(folder)
    for path in looked:
        if os.path.isdir(path) or (os.path.isfile(path) and is_archive(path)):
            return path
    where = looked[0] if model.path is not None else "%s (or %s.mar)" % (looked[0], model.name)
    if os.path.isfile(looked[0]):
        raise ProblemError(ARCHIVE_BROKEN, "%s is neither a directory nor a .mar or .tar.gz file" % looked[0])
    raise ProblemError(ARCHIVE_MISSING, "%s is not in the image; %s" % (where, _listing(folder)))


def _require_reachable(folder: str) -> None:
    """Raises ProblemError (ArchiveBroken) naming the first closed directory on the way to `folder`, it included.

    Upstream's images close the home directory to all but their own user; everything below looks missing then.
    """
    parent = os.path.dirname(folder)
    if parent not in ("", folder):
        _require_reachable(parent)
    if os.path.isdir(folder):
        _require(folder, os.X_OK)


def _listing(folder: str) -> str:
    try:
        names = sorted(name + ("/" if os.path.isdir(os.path.join(folder, name)) else "") for name in os.listdir(folder))
    except FileNotFoundError:
        parent = os.path.dirname(folder)
        return (
            "%s does not exist" % folder
            if parent in ("", folder) or not os.path.isdir(parent)
            else ("%s does not exist, and %s" % (folder, _listing(parent)))
        )
    except OSError as error:
        return _os_error(error)
    if not names:
        return "%s is empty" % folder
    more = ", …" if len(names) > LISTED else ""
    return "%s has %s%s" % (folder, ", ".join(names[:LISTED]), more)


def require_readable(root: str) -> None:
    """Raises ProblemError (ArchiveBroken) naming the first file or directory that this process may not read.

    TorchServe's worker would report such a file as "not found", and try for ever.
    """
    if not os.path.isdir(root):
        _require(root, os.R_OK)
        return
    _require(root, os.R_OK | os.X_OK)
    for folder, folders, files in os.walk(root):
        for name in sorted(folders):
            _require(os.path.join(folder, name), os.R_OK | os.X_OK)
        for name in sorted(files):
            path = os.path.join(folder, name)
            if os.path.islink(path) and not os.path.exists(path):
                raise ProblemError(ARCHIVE_BROKEN, "%s is a link to nothing (%s)" % (path, os.readlink(path)))
            _require(path, os.R_OK)


def _require(path: str, mode: int) -> None:
    if os.access(path, mode):
        return
    about = os.stat(path)
    raise ProblemError(
        ARCHIVE_BROKEN,
        "%s is not readable by user %d (mode %04o, owner %d:%d): chmod -R a+rX the model store in the image"
        % (path, os.geteuid(), stat.S_IMODE(about.st_mode), about.st_uid, about.st_gid),
    )


def _os_error(error: OSError) -> str:
    return "%s: %s" % (error.filename, error.strerror) if error.filename else str(error)


def _link(source: str, target: str) -> None:
    """Links the entries of `source` into `target`; MAR-INF is a directory of its own, as its manifest is replaced."""
    for name in os.listdir(source):
        path = os.path.join(source, name)
        if name == "MAR-INF" and os.path.isdir(path):
            os.mkdir(os.path.join(target, name))
            for inner in os.listdir(path):
                os.symlink(os.path.join(path, inner), os.path.join(target, name, inner))
        else:
            os.symlink(path, os.path.join(target, name))


def _replace(path: str, text: str) -> None:
    """Writes a file of our own in the place of a link or an unpacked file."""
    if os.path.lexists(path):
        os.unlink(path)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
