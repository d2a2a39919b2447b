"""Answers on their way to clients that read slowly: how long, and how much at once."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer on its way."""

    size: int
    """Bytes of it."""
    drop: Callable[[], None]
    """Ends its connection."""
    late: asyncio.TimerHandle
    """Drops it when it has taken too long."""


class SendQueue:
    """The answers that are not sent yet. Where they are too much, the one that has been there longest is dropped.

    Parameters
    ----------
    most : int
        Bytes in all.
    patience : float
        Seconds for one.
    """

    def __init__(self, most: int, patience: float) -> None:
        self._most, self._patience = most, patience
        self._waiting: dict[asyncio.Future[None], Answer] = {}

    @property
    def bytes(self) -> int:
        """Bytes that wait."""
        return sum(answer.size for answer in self._waiting.values())

    def add(self, sent: "asyncio.Future[None]", size: int, drop: Callable[[], None]) -> None:
        """Watch over an answer: `sent` is done when it is sent, `drop` ends its connection."""
        if sent.done():
            return
        late = asyncio.get_running_loop().call_later(self._patience, self._drop, sent)
        self._waiting[sent] = Answer(size, drop, late)
        sent.add_done_callback(self._forget)
        while self.bytes > self._most and (oldest := next(iter(self._waiting))) is not sent:
            self._drop(oldest)

    def _drop(self, sent: "asyncio.Future[None]") -> None:
        """End a connection. Its answer counts no more, even if `sent` is never done."""
        answer = self._waiting[sent]
        self._forget(sent)
        answer.drop()

    def _forget(self, sent: "asyncio.Future[None]") -> None:
        answer = self._waiting.pop(sent, None)
        if answer is not None:
            answer.late.cancel()
