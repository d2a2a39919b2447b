"""Log to stderr as lines of JSON."""

import logging
import sys
import traceback
from datetime import UTC, datetime

import orjson

FIELDS = "fields"
"""Attribute of a log record with additional fields."""

_TEXT_LOGGERS = ("distributed", "tornado", "bokeh")  # loggers to which dask adds its own handlers


class JsonFormatter(logging.Formatter):
    """Format log records as lines of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a log record as a line of JSON."""
        line: dict[str, object] = {
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
    """Write all logs of this process to stderr as JSON lines."""
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
