"""Limit time and memory of responses to slow clients."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """A response being sent."""

    size: int
    """Size in bytes."""
    drop: Callable[[], None]
    """Function to close its connection."""
    late: asyncio.TimerHandle
    """Timer to drop the response."""


class SendQueue:
    """Responses being sent; above a size, the oldest is dropped.

    Parameters
    ----------
    most : int
        Limit of all responses in bytes.
    patience : float
        Limit of a response in seconds.
    """

    def __init__(self, most: int, patience: float) -> None:
        self._most, self._patience = most, patience
        self._waiting: dict[asyncio.Future[None], Answer] = {}

    @property
    def bytes(self) -> int:
        """Size of all unsent responses in bytes."""
        return sum(answer.size for answer in self._waiting.values())

    def add(self, sent: "asyncio.Future[None]", size: int, drop: Callable[[], None]) -> None:
        """Add a response: `sent` is its future, `drop` closes the connection."""
        if sent.done():
            return
        late = asyncio.get_running_loop().call_later(self._patience, self._drop, sent)
        self._waiting[sent] = Answer(size, drop, late)
        sent.add_done_callback(self._forget)
        while self.bytes > self._most and (oldest := next(iter(self._waiting))) is not sent:
            self._drop(oldest)

    def _drop(self, sent: "asyncio.Future[None]") -> None:
        """Close a connection; its response no longer counts, sent or not."""
        answer = self._waiting[sent]
        self._forget(sent)
        answer.drop()

    def _forget(self, sent: "asyncio.Future[None]") -> None:
        answer = self._waiting.pop(sent, None)
        if answer is not None:
            answer.late.cancel()
