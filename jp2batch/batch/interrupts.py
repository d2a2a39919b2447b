"""Delay interrupts of a batch to a safe moment."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def interrupted_between() -> Iterator[Callable[[], None]]:
    """Delay the first interrupt until the yielded function is called.

    A second interrupt is raised at once. An interrupt during a call of the client would make distributed print
    tracebacks.
    """
    asked: list[int] = []

    def note(number: int, *_: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    def check() -> None:
        if asked:
            raise KeyboardInterrupt

    with _on_signals(note, signal.SIGINT, signal.SIGTERM):
        yield check


@contextlib.contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Handle SIGTERM as SIGINT: raise KeyboardInterrupt."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with _on_signals(interrupt, signal.SIGTERM):
        yield


@contextlib.contextmanager
def _on_signals(handler: Callable[..., None], *numbers: signal.Signals) -> Iterator[None]:
    """Install a signal handler; do nothing outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, other in before.items():
            signal.signal(number, other)
