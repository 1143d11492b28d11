"""Finds in models.log why a worker did not load: the last line of the Python exception.

Only exceptions from loading: those of requests can quote users' data, and this text ends up in a resource's status.
"""

from __future__ import annotations

import re
from typing import Dict, List, NamedTuple, Optional

from .problem import LOAD_FAILED, OUT_OF_MEMORY, WORKER_DIED, Problem

_RECORD = re.compile(r"^(\d{10,16}) (TRACE|DEBUG|INFO|WARN|ERROR|FATAL) +(\S+) +(\S+) ?(.*)$")
_STREAM = re.compile(r"^W-(\d+)-(.+?)(-stdout|-stderr)?$")
_EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*(: .*|:|)$")
_JAVA_EXCEPTION = re.compile(r"^(?:Caused by: )?[\w.$]+\.(\w+(?:Exception|Error))(?:: (.*))?$")
_FALLBACK = re.compile(r"^(ModuleNotFoundError|ImportError): No module named 'ts\.torch_handler\.")
"""TorchServe tries a handler that cannot be imported as one of its own next: the exception before says why."""
_ECHO = re.compile(r"^RuntimeError: \d{3} - ")
"""The worker's own end after a load error that it has logged in full before."""

_DIED = "Backend worker process died."
_STARTED = "Torch worker started."
_TRACEBACK = "Traceback (most recent call last):"
_CHAINED = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
_SILENT = "the worker's process ended while it loaded the model, and said nothing; the pod's log may have more"
_LENGTH = 300


class LoadError(NamedTuple):
    """One sign of a failed load."""

    model: str
    """The model's name with its version, as TorchServe writes it (digits_1.0), or the name alone."""
    worker: Optional[str]
    """The worker's id; None when the model itself was refused."""
    problem: Problem
    generic: bool
    """Says that the worker ended, and not why: any other word is better."""
    silent: bool = False
    """Holds only if no other word comes: TorchServe writes the same line after every failed load."""


class _Trace:
    """One stream's traceback, as it comes line by line."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.exceptions: List[str] = []
        self.inside = False
        """Between "Traceback" and the exception's line."""

    def add(self, line: str) -> bool:
        """Takes the next line; False when the traceback is over and the line is not its."""
        if line == _TRACEBACK:
            self.inside = True
        elif line in _CHAINED or not line.strip():
            self.inside = False
        elif self.inside and line.startswith((" ", "\t")):
            pass
        elif self.inside and _EXCEPTION.match(line):
            self.exceptions.append(line)
            self.inside = False
        elif not self.inside and self.exceptions and (line[0] in " \t" or self.exceptions[-1].endswith(":")):
            self.exceptions[-1] += " " + line.strip()
        else:
            return False
        return True

    def cause(self) -> Optional[str]:
        """The exception that tells most; None before the first."""
        if not self.exceptions:
            return None
        last = self.exceptions[-1]
        if len(self.exceptions) > 1 and _FALLBACK.match(last):
            return self.exceptions[-2]
        return last


class LoadErrors:
    """Reads models.log line by line (`%d{UNIX_MILLIS} %p %t %c{1} %m%n`)."""

    def __init__(self) -> None:
        self._traces: Dict[str, _Trace] = {}
        self._started: Dict[str, bool] = {}
        self._logged: Dict[str, bool] = {}
        """Workers whose load error was logged before they ended."""
        self._java: Optional[LoadError] = None
        """The record that a Java exception's lines may follow."""

    def feed(self, line: str) -> Optional[LoadError]:
        """The load error that this line completes or refines."""
        record = _RECORD.match(line)
        if record is None:
            return self._continue_java(line)
        self._java = None
        level, thread, logger, message = record.group(2), record.group(3), record.group(4), record.group(5)
        stream = _STREAM.match(thread)
        if stream is None:
            return self._server(logger, message)
        worker, model, end = stream.group(1), stream.group(2), stream.group(3)
        if end is None:
            return self._thread(level, worker, model, message)
        return self._worker(thread, worker, model, message.rstrip("\r"), stderr=end == "-stderr")

    def _worker(self, thread: str, worker: str, model: str, message: str, *, stderr: bool) -> Optional[LoadError]:
        reason = self._header(worker, message, stderr=stderr)
        if reason:
            self._traces[thread] = _Trace(reason)
            if stderr:
                self._traces[thread].add(message)
            return None
        trace = self._traces.get(thread)
        if trace is None:
            return None
        if not trace.add(message):
            del self._traces[thread]
            return None
        cause = trace.cause()
        if cause is None or (_ECHO.match(cause) and self._logged.get(worker)):
            return None
        self._logged[worker] = True
        reason = OUT_OF_MEMORY if cause.startswith(("MemoryError", "torch.cuda.OutOfMemoryError")) else trace.reason
        return LoadError(model, worker, Problem(reason, tidy(cause)), generic=False)

    def _header(self, worker: str, message: str, *, stderr: bool) -> Optional[str]:
        """The reason when this line begins a load error; also keeps track of what the worker has reached."""
        if stderr:
            # An exception that nobody catches, before the worker has reached its own error handling.
            return LOAD_FAILED if message == _TRACEBACK and not self._started.get(worker) else None
        if message == _STARTED:
            self._started[worker] = True
            self._logged[worker] = False
        elif message == _DIED:
            self._started[worker] = False
            return LOAD_FAILED
        elif message.startswith("Load model ") and " OOM, exception" in message:
            return OUT_OF_MEMORY
        elif message.startswith("Failed to load model "):
            return LOAD_FAILED
        return None

    def _thread(self, level: str, worker: str, model: str, message: str) -> Optional[LoadError]:
        """The server's thread for a worker: says that it ended, and seldom why."""
        if level in ("WARN", "ERROR") and message.startswith("Backend worker"):
            self._started[worker] = False
            self._java = LoadError(model, worker, Problem(WORKER_DIED, tidy(message)), generic=True)
        elif level == "WARN" and message.startswith("Load model failed: ") and message.endswith("error: Worker died."):
            return LoadError(model, worker, Problem(WORKER_DIED, _SILENT), generic=True, silent=True)
        return None

    def _server(self, logger: str, message: str) -> Optional[LoadError]:
        if logger == "ModelServer" and message.startswith("Failed to load model: "):
            name = message[len("Failed to load model: ") :].strip().rstrip("/").split("/")[-1]
            self._java = LoadError(name, None, Problem(LOAD_FAILED, tidy(message)), generic=False)
            return self._java
        return None

    def _continue_java(self, line: str) -> Optional[LoadError]:
        """The line after a record of ours that names the exception: `package.SomeException: message`."""
        found = _JAVA_EXCEPTION.match(line)
        if self._java is None or found is None:
            return None
        message = found.group(2) or found.group(1)
        self._java = self._java._replace(problem=Problem(self._java.problem.reason, tidy(message)))
        return self._java


def tidy(message: str) -> str:
    """One line that is the same in every pod and at every try: no addresses, no temporary directories."""
    text = " ".join(message.split())
    text = re.sub(r"\b0x[0-9a-fA-F]{4,}\b", "0x…", text)
    text = re.sub(r"(/[^\s'\":]*)?/models/[0-9a-f]{32}/", "", text)
    return text if len(text) <= _LENGTH else text[: _LENGTH - 1] + "…"
