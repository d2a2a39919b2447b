"""Answers on their way to clients that read slowly: how long, and how much at once."""

import asyncio
from collections.abc import Callable


class Outbox:
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
        self._waiting: dict[asyncio.Future[None], tuple[int, Callable[[], None]]] = {}

    @property
    def bytes(self) -> int:
        """Bytes that wait."""
        return sum(size for size, _ in self._waiting.values())

    def add(self, sent: "asyncio.Future[None]", size: int, drop: Callable[[], None]) -> None:
        """Watch over an answer: `sent` is done when it is sent, `drop` ends its connection."""
        if sent.done():
            return
        self._waiting[sent] = size, drop
        late = asyncio.get_running_loop().call_later(self._patience, drop)
        sent.add_done_callback(self._waiting.pop)
        sent.add_done_callback(lambda _: late.cancel())
        total = self.bytes
        for other, (other_size, drop_other) in list(self._waiting.items()):
            if total <= self._most or other is sent:
                break
            total -= other_size
            drop_other()
