"""What kubectl goes on printing, line by line, while there is time: watches and followed logs."""

import subprocess
import tempfile
import threading
from collections.abc import Iterator

from testbed.cluster import Cluster
from testbed.errors import TestbedError


def lines(cluster: Cluster, *arguments: str, within: float) -> Iterator[str]:
    """Yield the lines that kubectl prints, until it ends or ``within`` seconds are over; whoever stops reading ends it.

    Raises:
        TestbedError: kubectl failed by itself; the message has its words.
    """
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(
            cluster.command(*arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=words, text=True
        )
        timer = threading.Timer(within, process.kill)
        timer.start()
        try:
            assert process.stdout is not None  # it is a pipe
            for line in process.stdout:
                yield line.rstrip("\n")
            status = process.wait()
        finally:
            timer.cancel()
            process.kill()
            process.wait()
        if status > 0:  # below zero: killed, by the timer
            words.seek(0)
            raise TestbedError(
                f"`kubectl {' '.join(arguments)}` exited with {status}: {words.read().decode(errors='replace').strip()}"
            )
