"""SHA-256 without OpenSSL: `import hashlib` maps libcrypto, several MiB in every pod."""

from __future__ import annotations

from importlib import import_module


def sha256_hex(data: bytes) -> str:
    """The hex digest of `data`."""
    for name in ("_sha2", "_sha256", "hashlib"):  # Python 3.12 and newer; 3.8 to 3.11; whatever else there is
        try:
            return str(import_module(name).sha256(data).hexdigest())
        except ImportError:
            continue
    raise ImportError("this Python has no SHA-256")
