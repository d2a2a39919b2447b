"""The log: a line of JSON for each request, and for whatever else there is to say."""

import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

import orjson

FIELDS = "fields"
"""The attribute of a log record that holds what a line has besides the usual."""

_TEXT_LOGGERS = ("distributed", "tornado", "bokeh")  # dask gives these handlers of their own


class JsonFormatter(logging.Formatter):
    """Formats records as lines of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info and record.exc_info[0]:
            line["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        return orjson.dumps(line, default=str).decode()


def log_to_stderr() -> None:
    """Let all logs of this process be lines of JSON on stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("jp2batch").setLevel(logging.INFO)
    for name in _TEXT_LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.setLevel(logging.WARNING)
        logger.propagate = True
