"""Notices a renewed certificate: the JVM reads its files at start only, so the pod must be replaced."""

from __future__ import annotations

from typing import NamedTuple, Optional

from .config import Tls
from .digest import sha256_hex


class Certificate(NamedTuple):
    """The mounted certificate and key."""

    changed: bool
    """They are not what the server was started with."""
    mounted: str
    """SHA-256 of both files, in hex: the same in every pod that has them."""


class CertificateWatch:
    """Compares the mounted files with what they were at start."""

    def __init__(self, tls: Optional[Tls]) -> None:
        self._tls = tls
        self._first: Optional[str] = None
        self._last: Optional[Certificate] = None

    def look(self) -> Optional[Certificate]:
        """What is mounted now; None without TLS, or as long as the files could not be read.

        While the kubelet swaps them, what was seen last counts.
        """
        now = self._fingerprint()
        if now is not None:
            self._first = self._first or now
            self._last = Certificate(now != self._first, now)
        return self._last

    def _fingerprint(self) -> Optional[str]:
        if self._tls is None:
            return None
        try:
            before = _read(self._tls.certificate)
            key = _read(self._tls.key)
            # The kubelet swaps a link above both files: the old one's and the new one's are no pair.
            if _read(self._tls.certificate) != before:
                return None
        except OSError:
            return None
        return sha256_hex((sha256_hex(before) + sha256_hex(key)).encode("ascii"))


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
