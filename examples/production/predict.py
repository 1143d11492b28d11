"""Asks a served model for a day at a time over five held-out weeks, and tells how far off it was.

    python predict.py https://localhost:8443/predictions/forecast --ca tls.crt

Needs nothing but Python's standard library. Exits with 1 when a request fails, or when the answers are not at least a
quarter better than the same hour of yesterday.
"""

from __future__ import annotations

import argparse
import json
import ssl
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from features import HISTORY, HORIZON
from town import read

REQUIRED = 0.75
HELDOUT = Path(__file__).with_name("heldout.csv")


def forecast(opener: urllib.request.OpenerDirector, url: str, history: list[dict[str, Any]]) -> list[float]:
    """The server's answer for the 24 hours after ``history``, in MW.

    Raises ``urllib.error.URLError`` (``HTTPError`` with the server's status).
    """
    body = json.dumps({"history": history}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data=body, headers=headers)  # noqa: S310 - the user's own URL
    with opener.open(request, timeout=30) as response:
        return json.load(response)["demand"]


def error(guess: list[float], truth: list[dict[str, Any]]) -> float:
    """Mean absolute error in MW."""
    return sum(abs(value - row["demand"]) for value, row in zip(guess, truth, strict=True)) / len(truth)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="e.g. https://localhost:8443/predictions/forecast")
    parser.add_argument("--ca", type=Path, help="the certificate, or its authority's, that the server is trusted by")
    parser.add_argument("--show", type=int, default=5, help="how many days to print (default: 5)")
    options = parser.parse_args()

    trusted = ssl.create_default_context(cafile=str(options.ca) if options.ca else None)
    # Past any proxy of the environment: the server is near, and often on loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusted))
    table = read(HELDOUT)
    days = range(HISTORY, len(table), HORIZON)
    network = yesterday = 0.0
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda at: forecast(opener, options.url, table[at - HISTORY : at]), days)
        try:
            for place, (at, answer) in enumerate(zip(days, answers, strict=True)):
                truth = table[at : at + HORIZON]
                off, guess_off = error(answer, truth), error([row["demand"] for row in table[at - HORIZON : at]], truth)
                network, yesterday = network + off, yesterday + guess_off
                if place < options.show:
                    print(f"{truth[0]['time'][:10]}  off by {off:.2f} MW, yesterday's hours by {guess_off:.2f} MW")
        except urllib.error.HTTPError as failed:
            pool.shutdown(cancel_futures=True)
            sys.exit(f"{options.url}: {failed.code}: {failed.read(500).decode(errors='replace')}")
        except OSError as failed:
            pool.shutdown(cancel_futures=True)
            sys.exit(f"{options.url}: {failed}")
    network, yesterday = network / len(days), yesterday / len(days)
    print(f"mean absolute error {network:.2f} MW over {len(days)} days; yesterday's hours: {yesterday:.2f} MW")
    if network > REQUIRED * yesterday:
        sys.exit(f"expected at most {REQUIRED} of the error of yesterday's hours")


if __name__ == "__main__":
    main()
