"""Sends hundreds of images to a served model at the same time, and checks every single answer.

    pip install aiohttp numpy
    python client.py http://127.0.0.1:8080/predictions/efficientnet --images 400

Each image is one request: the bytes of a .npy file. Some of them are broken on purpose: those, and only those, must be
answered 400 with a reason. Exits with 1 when an answer is missing or is not what it should be, or when fewer than 95 %
of the images are told right.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass

import aiohttp
import numpy as np
from pictures import CLASSES, draw

SEED = 2000
REQUIRED = 0.95
BROKEN_EVERY = 20


@dataclass(frozen=True)
class Sample:
    """What is sent, and the class it has; None for a body that is no image."""

    body: bytes
    expected: str | None


@dataclass(frozen=True)
class Answer:
    """What came back: the status, the parsed body, and seconds."""

    status: int
    body: dict
    seconds: float


def npy(array: np.ndarray) -> bytes:
    """The bytes of a .npy file."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def broken(place: int, image: np.ndarray) -> bytes:
    """A body that looks like an image and is none, in one of four ways."""
    ways = (npy(image)[:-100], npy(image[:32]), npy(image.astype(np.float32)), b"GIF89a")
    return ways[place // BROKEN_EVERY % len(ways)]


def samples(count: int) -> list[Sample]:
    """Images that no training saw, each ``BROKEN_EVERY``-th broken."""
    images, labels = draw(count, SEED)
    return [
        Sample(broken(place, image), None)
        if place % BROKEN_EVERY == BROKEN_EVERY - 1
        else Sample(npy(image), CLASSES[label])
        for place, (image, label) in enumerate(zip(images, labels, strict=True))
    ]


async def ask(session: aiohttp.ClientSession, url: str, sample: Sample, turn: asyncio.Semaphore) -> Answer:
    """One request and its answer; its seconds begin when it is its turn."""
    headers = {"Content-Type": "application/octet-stream"}
    async with turn:
        began = time.monotonic()
        async with session.post(url, data=sample.body, headers=headers) as response:
            text = await response.text()
        seconds = time.monotonic() - began
    try:
        body = json.loads(text)
    except ValueError:
        body = {"text": text}
    return Answer(response.status, body if isinstance(body, dict) else {"text": text}, seconds)


async def ask_all(url: str, todo: list[Sample], concurrency: int) -> list[Answer | Exception]:
    """Answers in the order of the samples; an exception where none came."""
    turn = asyncio.Semaphore(concurrency)
    connector = aiohttp.TCPConnector(limit=concurrency)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=120)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        return await asyncio.gather(*(ask(session, url, sample, turn) for sample in todo), return_exceptions=True)


def faults(todo: list[Sample], answers: list[Answer | Exception]) -> list[str]:
    """What is wrong with the answers, a line each; a class told wrong is no fault but counts for the accuracy."""
    found = []
    for place, (sample, answer) in enumerate(zip(todo, answers, strict=True)):
        if isinstance(answer, Exception):
            found.append(f"image {place}: no answer: {type(answer).__name__}: {answer}")
        elif sample.expected is None and (answer.status != 400 or "error" not in answer.body):
            found.append(f"image {place}: is broken, expected 400 and an error, got {answer.status} {answer.body}")
        elif sample.expected is not None and (answer.status != 200 or answer.body.get("class") not in CLASSES):
            found.append(f"image {place}: expected 200 and a class, got {answer.status} {answer.body}")
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="e.g. http://127.0.0.1:8080/predictions/efficientnet")
    parser.add_argument("--images", type=int, default=400, help="how many (default: 400)")
    parser.add_argument("--concurrency", type=int, default=64, help="requests at a time (default: 64)")
    options = parser.parse_args()

    todo = samples(options.images)
    began = time.monotonic()
    answers = asyncio.run(ask_all(options.url, todo, options.concurrency))
    seconds = time.monotonic() - began

    wrong = faults(todo, answers)
    for line in wrong[:10]:
        print(line)
    if wrong:
        sys.exit(f"{len(wrong)} of {len(todo)} answers are not what they should be")
    good = [(s, a) for s, a in zip(todo, answers, strict=True) if s.expected is not None and isinstance(a, Answer)]
    share = sum(sample.expected == answer.body["class"] for sample, answer in good) / len(good)
    versions = Counter(answer.body["version"] for _, answer in good)
    slowest = max(answer.seconds for _, answer in good)
    print(f"{len(todo)} answers in {seconds:.1f} s, the slowest after {slowest:.2f} s")
    print(f"{len(todo) - len(good)} broken ones were refused, and none of their neighbours")
    print("answered by " + ", ".join(f"version {name}: {count}" for name, count in sorted(versions.items())))
    print(f"accuracy {100 * share:.1f} % on {len(good)} images")
    if share < REQUIRED:
        sys.exit(f"expected at least {100 * REQUIRED:.0f} %")


if __name__ == "__main__":
    main()
