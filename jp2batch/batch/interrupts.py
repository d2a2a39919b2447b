"""What interrupts mean to a batch: it ends where that does no harm, and what is recorded is kept."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def interrupted_between() -> Iterator[Callable[[], None]]:
    """Let the first interrupt wait until what is returned is called; the second does not wait.

    In the midst of a call of the client it makes distributed stumble, which nobody needs to read about.
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
    """Let SIGTERM do what SIGINT does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with _on_signals(interrupt, signal.SIGTERM):
        yield


@contextlib.contextmanager
def _on_signals(handler: Callable[..., None], *numbers: signal.Signals) -> Iterator[None]:
    """Let a handler have signals, where that is possible: in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, other in before.items():
            signal.signal(number, other)
