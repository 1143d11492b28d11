"""Sends held-out digits to a served model and tells how many it got right.

    python predict.py http://127.0.0.1:8080/predictions/digits

Needs nothing but Python's standard library. Exits with 1 when a request fails or when fewer than 95 %
are right.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REQUIRED = 0.95
HELDOUT = Path(__file__).with_name("heldout.csv")


def read_digits(path: Path) -> list[tuple[list[int], int]]:
    """The file's digits: 64 pixels of 0..16 and the label."""
    rows = [[int(value) for value in line.split(",")] for line in path.read_text(encoding="ascii").splitlines()]
    return [(row[:-1], row[-1]) for row in rows]


def predict(opener: urllib.request.OpenerDirector, url: str, pixels: list[int], timeout: float) -> dict:
    """The server's answer: ``{"label": int, "probability": float}``.

    Raises ``urllib.error.URLError`` (``HTTPError`` with the server's status).
    """
    body = json.dumps({"pixels": pixels}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data=body, headers=headers)  # noqa: S310 - the user's own URL
    with opener.open(request, timeout=timeout) as response:
        return json.load(response)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="e.g. http://127.0.0.1:8080/predictions/digits")
    parser.add_argument("--count", type=int, default=None, help="how many digits (default: all)")
    parser.add_argument("--show", type=int, default=10, help="how many to print (default: 10)")
    parser.add_argument("--concurrency", type=int, default=4, help="requests at a time (default: 4)")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds a request (default: 30)")
    parser.add_argument("--digits", type=Path, default=HELDOUT, help="file of pixels and labels")
    options = parser.parse_args()

    digits = read_digits(options.digits)[: options.count]
    # Past any proxy of the environment: the server is near, and often on loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    right = 0
    with ThreadPoolExecutor(options.concurrency) as pool:
        answers = pool.map(lambda digit: predict(opener, options.url, digit[0], options.timeout), digits)
        try:
            for place, ((_, expected), answer) in enumerate(zip(digits, answers, strict=True)):
                right += answer["label"] == expected
                if place < options.show:
                    mark = "" if answer["label"] == expected else "   wrong"
                    sure = f"(probability {answer['probability']:.3f})"
                    print(f"predicted {answer['label']}  expected {expected}  {sure}{mark}")
        except urllib.error.HTTPError as error:
            pool.shutdown(cancel_futures=True)
            sys.exit(f"{options.url}: {error.code}: {error.read(500).decode(errors='replace')}")
        except OSError as error:
            pool.shutdown(cancel_futures=True)
            sys.exit(f"{options.url}: {error}")
    share = right / len(digits)
    print(f"accuracy {100 * share:.1f} % on {len(digits)} digits")
    if share < REQUIRED:
        sys.exit(f"expected at least {100 * REQUIRED:.0f} %")


if __name__ == "__main__":
    main()
