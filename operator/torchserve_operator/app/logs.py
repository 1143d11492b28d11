"""Logs with stable keys: time, level, logger, message, and what the call adds."""

import logging
import sys
from typing import Literal, TextIO

from pythonjsonlogger.json import JsonFormatter

_STANDARD = set(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime", "taskName"}


class _TextFormatter(logging.Formatter):
    """One line for people: the extra keys follow the message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = super().format(record)
        extra = {key: value for key, value in record.__dict__.items() if key not in _STANDARD}
        return line + "".join(f" {key}={value}" for key, value in extra.items())


def _in_one_line(record: logging.LogRecord) -> bool:
    """Take the traceback from what kopf logs: our own line, with the error, follows where watching broke off."""
    if record.name.startswith("kopf"):
        record.exc_info = record.exc_text = None
    return True


def set_up_logging(level: str, style: Literal["json", "text"], stream: TextIO | None = None) -> None:
    """Send all logs to standard error, or to another stream, in one style."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.addFilter(_in_one_line)
    if style == "json":
        handler.setFormatter(
            JsonFormatter(
                ["asctime", "levelname", "name", "message"],
                rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
                datefmt="%Y-%m-%dT%H:%M:%S%z",
            )
        )
    else:
        handler.setFormatter(_TextFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # kopf tells of each watch and each request; what matters of it is in our own lines
    logging.getLogger("kopf").setLevel(max(logging.getLevelName(level), logging.WARNING))
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
