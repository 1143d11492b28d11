"""The stop from outside the JVM, for a TorchServe that our classes do not fit.

Nothing outside can tell a keep-alive client to go away, so such clients are cut at the bound; those that open new
connections lose nothing (facts measured on a real cluster: docs/architecture.md).
"""

from __future__ import annotations

import socket
import struct
from typing import Optional

QUIET = 0.5
"""Seconds without a request after which nothing is on its way any more."""
TIE = 10.0
"""Seconds for which a connection counts as busy when answer and request came in the same clock tick."""

_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST_DUMP = 0x301
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_INET_DIAG_INFO = 2
_ESTABLISHED, _CLOSE_WAIT = 1, 8


def busy_connections(port: int) -> int:
    """Connections to `port` that wait for an answer: their last data was received after the last was sent.

    Read from the kernel (sock_diag over netlink), which needs no privilege. Raises OSError where that is not possible.
    """
    return sum(_busy(family, port) for family in (socket.AF_INET, socket.AF_INET6))


def _busy(family: int, port: int) -> int:
    netlink = getattr(socket, "AF_NETLINK", None)
    if netlink is None:
        raise OSError("no netlink here")
    with socket.socket(netlink, socket.SOCK_RAW, 4) as connection:  # NETLINK_SOCK_DIAG
        connection.settimeout(2)
        states = (1 << _ESTABLISHED) | (1 << _CLOSE_WAIT)
        body = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 1 << (_INET_DIAG_INFO - 1), 0, states) + bytes(48)
        head = struct.pack("=IHHII", 16 + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST_DUMP, 1, 0)
        connection.send(head + body)
        count = 0
        while True:
            data = connection.recv(1 << 16)
            while len(data) >= 16:
                length, kind = struct.unpack_from("=IH", data)
                if kind in (_NLMSG_ERROR, _NLMSG_DONE):
                    return count
                count += _waits(data[16:length], port)
                data = data[(length + 3) & ~3 :]


def _waits(message: bytes, port: int) -> bool:
    """One inet_diag_msg (72 bytes) and its attributes, of which tcp_info is looked at."""
    if struct.unpack_from(">H", message, 4)[0] != port:
        return False
    attributes = message[72:]
    while len(attributes) >= 4:
        length, kind = struct.unpack_from("=HH", attributes)
        if length < 4:
            return False
        if kind == _INET_DIAG_INFO and length >= 4 + 160:
            return _tcp_waits(attributes[4:length])
        attributes = attributes[(length + 3) & ~3 :]
    return False


def _tcp_waits(info: bytes) -> bool:
    sent_ago, received_ago = struct.unpack_from("=I", info, 44)[0], struct.unpack_from("=I", info, 52)[0]  # ms
    received = struct.unpack_from("=Q", info, 128)[0] > 1
    answered = struct.unpack_from("=I", info, 156)[0] > 0
    # Both in one clock tick: an answer within 4 ms, or a new request right after one. Busy while that is young.
    tie = received_ago == sent_ago and received_ago < TIE * 1000
    return bool(received and (not answered or received_ago < sent_ago or tie))


class OutsideDrain:
    """Decides when a plain server may be stopped. Times are seconds of one monotonic clock."""

    def __init__(self, begun: float, minimum: float, maximum: float) -> None:
        self._begun = begun
        self._minimum = minimum
        self._maximum = maximum
        self._quiet_since: Optional[float] = None

    def done(self, now: float, *, busy: bool) -> bool:
        """To be asked a few times a second."""
        if busy:
            self._quiet_since = None
        elif self._quiet_since is None:
            self._quiet_since = now
        if now - self._begun >= self._maximum:
            return True
        quiet = self._quiet_since is not None and now - self._quiet_since >= QUIET
        return quiet and now - self._begun >= self._minimum
