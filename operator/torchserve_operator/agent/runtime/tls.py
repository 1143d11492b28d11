"""Notices a renewed certificate: the JVM reads its files at start only, so the pod must be replaced."""

from __future__ import annotations

from typing import Optional, Tuple

from .config import Tls
from .digest import sha256_hex


class CertificateWatch:
    """Compares the mounted files with what they were at start."""

    def __init__(self, tls: Optional[Tls]) -> None:
        self._tls = tls
        self._first = self._fingerprint()

    def changed(self) -> Optional[bool]:
        """None without TLS. Unreadable for a moment (the kubelet swaps a link) is not changed."""
        if self._tls is None:
            return None
        now = self._fingerprint()
        if self._first is None:
            self._first = now
        return now is not None and now != self._first

    def _fingerprint(self) -> Optional[Tuple[str, str]]:
        if self._tls is None:
            return None
        try:
            with open(self._tls.certificate, "rb") as certificate, open(self._tls.key, "rb") as key:
                return sha256_hex(certificate.read()), sha256_hex(key.read())
        except OSError:
            return None
