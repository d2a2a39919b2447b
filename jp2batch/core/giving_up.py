"""Check between the steps of a read, to end unwanted reads."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator

from jp2batch.core.errors import Jp2BatchError

_check: contextvars.ContextVar[Callable[[], None]] = contextvars.ContextVar("check", default=lambda: None)


class GivenUp(Jp2BatchError):
    """The client has disconnected."""


@contextlib.contextmanager
def checking(check: Callable[[], None]) -> Iterator[None]:
    """Call `check` between the steps of reads within a `with` block.

    It raises an error, e.g. `GivenUp`, to stop a read.
    """
    token = _check.set(check)
    try:
        yield
    finally:
        _check.reset(token)


def current_check() -> Callable[[], None]:
    """Return the check of the current context, for other threads."""
    return _check.get()
