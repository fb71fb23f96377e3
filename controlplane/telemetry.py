"""Structured logs: one JSON object a line, with names agreed in one place.

Never logged: keys, shares, private values, tokens, SAS URLs, query strings and bodies.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TextIO

# The `extra=` fields that reach the log; anything else given to a logger is dropped.
FIELDS = ("request_id", "correlation_id", "resource_id", "operation_id", "instance", "node", "method", "path")
NUMBERS = ("status", "elapsed_ms", "view", "seqno")


class JsonFormatter(logging.Formatter):
    """`{"at", "level", "logger", "message", ...fields}`; an exception adds its type and traceback."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in (*FIELDS, *NUMBERS) if hasattr(record, name)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure_logging(level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send every logger of this process to `stream` (stderr) as JSON lines."""
    target = logging.StreamHandler(stream or sys.stderr)
    target.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [target]
    root.setLevel(level)
