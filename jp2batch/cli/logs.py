"""Logs on the command line: own warnings as messages, none of libraries."""

import contextlib
import logging
from collections.abc import Iterator

from jp2batch.cli.messages import say
from jp2batch.core.config import dask_value

_SILENT = ("asyncio", "distributed", "distributed.client", "distributed.gc", "tornado", "tornado.application")


class _Messages(logging.Handler):
    """Print records as messages."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record in a line."""
        say(" ".join(record.getMessage().split()))


@contextlib.contextmanager
def logs_as_messages(*, quiet: bool) -> Iterator[None]:
    """Print own warnings as messages in a `with` block, if not quiet.

    Logs of distributed, tornado and asyncio, of broken connections say, are dropped, unless dask's configuration has
    a section `logging`.
    """
    messages = _Messages(logging.ERROR if quiet else logging.WARNING)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_only_handler("jp2batch", messages))
        if not dask_value("logging"):
            if not logging.root.handlers and logging.lastResort:  # distributed, when imported, adds none then
                stack.enter_context(_only_handler("", logging.lastResort))
            for name in _SILENT:
                stack.enter_context(_only_handler(name, logging.NullHandler()))
        yield


@contextlib.contextmanager
def _only_handler(name: str, handler: logging.Handler) -> Iterator[None]:
    """Let a logger have a single handler for a `with` block."""
    logger = logging.getLogger(name)
    before = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [handler], False
    try:
        yield
    finally:
        logger.handlers, logger.propagate = before
