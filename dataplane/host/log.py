"""The node's log: the original's text line or JSON, on standard output (drop-in.md 3.5).

Standard error stays empty, because launchers treat any line there as a failure: warnings and stray exceptions are
turned into lines here. Levels are the original's; `fail` and `fatal` are for what an operator must see.
"""

import json
import logging
import sys
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from cryptography.utils import CryptographyDeprecationWarning

LEVELS = {
    "trace": 5, "debug": logging.DEBUG, "info": logging.INFO, "fail": logging.WARNING, "fatal": logging.CRITICAL,
}  # fmt: skip
_NAMES = {5: "trace", 10: "debug", 20: "info", 30: "fail", 40: "fail", 50: "fatal"}


def configure(level: str, log_format: str) -> None:
    """Send every log record, warning and uncaught exception to standard output as one line each."""
    target = _Stdout(sys.stdout)
    target.setFormatter(_JsonLine() if log_format == "Json" else _TextLine())
    root = logging.getLogger()
    root.handlers[:] = [target]
    root.setLevel(LEVELS[level])
    logging.captureWarnings(True)
    warnings.simplefilter("ignore", ResourceWarning)
    warnings.simplefilter("ignore", CryptographyDeprecationWarning)  # of odd certificates that strangers show
    logging.raiseExceptions = False
    sys.excepthook = lambda kind, error, trace: logging.getLogger("host").critical(
        "uncaught exception", exc_info=(kind, error, trace)
    )
    sys.unraisablehook = lambda unraisable: logging.getLogger("host").warning(
        "ignored exception in %s: %r", unraisable.object, unraisable.exc_value
    )


def flush() -> None:
    """Bring lines out that wait: called every few milliseconds by the host's loop, and when the process ends."""
    for target in logging.getLogger().handlers:
        target.flush()


def line_writer(tag: str, file: str) -> Callable[[str], None]:
    """A function that writes lines of level info, for what is logged with every request.

    They look like all others, without the cost of a `logging` record: a tenth of what such a request costs. To be
    called after `configure`.
    """
    logger = logging.getLogger(tag)
    (target,) = logging.getLogger().handlers
    if not (
        isinstance(target, _Stdout) and isinstance(target.formatter, _TextLine) and logger.isEnabledFor(logging.INFO)
    ):
        return logger.info
    write, end = target.stream.write, target.terminator
    head = f"Z -0.000 0   [info ][{tag}] {Path(file).name}:0 | "
    known_s, known_text = 0, ""

    def write_line(text: str) -> None:
        nonlocal known_s, known_text
        now_s = time.time()
        second = int(now_s)
        if second != known_s:
            known_s, known_text = second, datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        write(f"{known_text}.{int((now_s - second) * 1_000_000):06}{head}{_escaped(text)}{end}")

    return write_line


class _Stdout(logging.StreamHandler[TextIO]):
    """Flushes at once only for what an operator must see: doing so for each request's line is a tenth of its cost."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.stream.write(self.format(record) + self.terminator)
            if record.levelno >= logging.WARNING:
                self.flush()
        except Exception:
            self.handleError(record)


class _TextLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
        level = _NAMES.get(record.levelno, "info")
        text = _one_line(self, record)
        return f"{moment}Z -0.000 0   [{level:<5}][{record.name}] {record.filename}:{record.lineno} | {text}"


class _JsonLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "h_ts": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "thread_id": "0",
            "level": _NAMES.get(record.levelno, "info"),
            "tag": record.name,
            "file": record.filename,
            "number": record.lineno,
            "msg": _one_line(self, record),
        }
        return json.dumps(line)


def _one_line(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    text = record.getMessage()
    if record.exc_info:
        text = f"{text}: {formatter.formatException(record.exc_info)}"
    return _escaped(text)


def _escaped(text: str) -> str:
    return text.replace("\n", "\\n") if "\n" in text else text
