"""What the builder says: its progress, its result, its error. Pure.

The pod of a build runs a base image of its user's beside the builder: nothing that it says is taken for more than
words, and an image only for one of the repository that was asked for.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from torchserve_operator.status.report import text

_MI: Final = 1 << 20
_SOURCES: Final = 64


_STAGES: Final = {
    "resolve": "looking up the base image and the sources",
    "fetch": "fetching",
    "layers": "uploading layers",
    "base": "copying the base image's layers",
    "push": "pushing the image's manifest",
    "done": "done",
}
_MODEL_STAGES: Final = {
    "resolve": "looking up the source of model {}",
    "fetch": "fetching model {}",
    "layers": "uploading layer of model {}",
}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a build is.

    Attributes:
        stage: What it does, as the builder calls it.
        model: The model that it does it for, or nothing.
        done: Bytes sent, of all layers together.
        total: Bytes to be sent; 0 while nobody knows.
    """

    stage: str
    model: str = ""
    done: int = 0
    total: int = 0

    def __str__(self) -> str:
        words = _STAGES.get(self.stage, self.stage)
        if self.model and self.stage in _MODEL_STAGES:
            words = _MODEL_STAGES[self.stage].format(self.model)
        return f"{words}: {self.done // _MI} of {-(-self.total // _MI)} MiB" if self.total else words


@dataclass(frozen=True, slots=True)
class Result:
    """What a build made.

    Attributes:
        image: `REPOSITORY@sha256:…`.
        base: The base image as named.
        base_digest: What that stood for.
        sources: Each model's source, as it was.
    """

    image: str
    base: str
    base_digest: str
    sources: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a build ended without an image, in its own words."""

    field: str
    message: str
    hint: str

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.field, self.message))) + (f"; {self.hint}" if self.hint else "")


def parse_progress(body: Any) -> Progress:
    """Return the progress of a /status answer, whatever JSON it is.

    Raises:
        ValueError: It is none.
    """
    try:
        if body.get("schema") != 1:
            raise ValueError("the answer is no progress of schema 1")
        return Progress(
            stage=text(body["stage"], 100),
            model=text(body.get("model") or "", 128),
            done=_bytes(body.get("bytesDone") or 0),
            total=_bytes(body.get("bytesTotal") or 0),
        )
    except (AttributeError, KeyError, OverflowError, TypeError) as error:
        raise ValueError("the answer is no progress document") from error


def parse_termination(message: str, repository: str) -> Result | Failure | None:
    """Return what a container of a build said when it ended, or None where these are not its words.

    Args:
        message: The termination message.
        repository: Where the image was to go.
    """
    try:
        said = json.loads(message)
        if said.get("schema") != 1:
            return None
        if said.get("error"):
            return _failure(said["error"])
        image, base = said["image"], said.get("base") or {}
        if not re.fullmatch(re.escape(repository) + "@sha256:[0-9a-f]{64}", image):
            return None
        return Result(
            image=image,
            base=text(base.get("reference") or "", 1024),
            base_digest=text(base.get("digest") or "", 128),
            sources=tuple(
                (text(source["model"], 128), text(source["identity"], 512))
                for source in (said.get("sources") or ())[:_SOURCES]
            ),
        )
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return None


def _failure(error: Mapping[str, Any]) -> Failure:
    return Failure(
        field=text(error.get("field") or "", 256),
        message=text(error.get("message") or "the builder says nothing more", 1200),
        hint=text(error.get("hint") or "", 500),
    )


def _bytes(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value < 1 << 63:
        raise ValueError("the answer's count of bytes is none")
    return value
