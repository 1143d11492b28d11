"""What must not be in a log."""

from __future__ import annotations

import re
import urllib.parse


class Mask:
    """Takes out of texts what must not be in a log: user info, queries and fragments of URLs, and known secrets."""

    def __init__(self) -> None:
        self.secrets: list[str] = []

    def learn(self, url: str) -> None:
        """Remember the secrets of a URL, as written and decoded."""
        try:
            parts = urllib.parse.urlsplit(url)
        except ValueError:
            self.secrets.append(url)
            return
        user_info = parts.netloc.rpartition("@")[0]
        found = [user_info, *user_info.split(":", 1)[1:], parts.query]
        # A token is written as a user without a password.
        found += [user_info] if ":" not in user_info else []
        found += [urllib.parse.unquote(secret) for secret in found]
        self.secrets = sorted({*self.secrets, *(secret for secret in found if len(secret) > 3)}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Return the text without them."""
        for secret in self.secrets:
            text = text.replace(secret, "****")
        text = re.sub(r"(\b[a-z][a-z0-9+.-]*://)[^/@\s'\"]+@", r"\1", text, flags=re.IGNORECASE)
        return re.sub(r"(\b[a-z][a-z0-9+.-]*://[^\s'\"<>?#)]*)[?#][^\s'\"<>)]*", r"\1", text, flags=re.IGNORECASE)
