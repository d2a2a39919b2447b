"""Answers on their way: each counts until it is sent or dropped, and no longer."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from jp2batch.service.send_queue import SendQueue


class Sending:
    """Answers that an outbox watches over, and those that it has dropped."""

    def __init__(self, most: int, patience: float) -> None:
        self.outbox = SendQueue(most, patience)
        self.dropped: list[str] = []
        self.some_dropped = asyncio.Event()

    def add(self, name: str, size: int) -> "asyncio.Future[None]":
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.outbox.add(sent, size, lambda: self._drop(name))
        return sent

    def _drop(self, name: str) -> None:
        self.dropped.append(name)
        self.some_dropped.set()


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(coroutine, 20))


def test_an_answer_counts_until_it_is_sent():
    async def sent() -> None:
        sending = Sending(100, 0.01)
        done = sending.add("a", 60)
        assert sending.outbox.bytes == 60
        done.set_result(None)
        await asyncio.sleep(0.05)  # beyond its time
        assert (sending.outbox.bytes, sending.dropped) == (0, [])

    run(sent())


def test_an_answer_whose_connection_is_gone_counts_no_more():
    async def gone() -> None:
        sending = Sending(100, 60)
        sending.add("a", 60).cancel()
        failed = sending.add("b", 30)
        failed.set_exception(OSError())
        failed.exception()
        await asyncio.sleep(0)
        assert (sending.outbox.bytes, sending.dropped) == (0, [])

    run(gone())


def test_the_oldest_are_dropped_once_and_count_no_more():
    async def crowded() -> None:
        sending = Sending(100, 60)
        for name in "abcd":
            sending.add(name, 50)
        assert (sending.outbox.bytes, sending.dropped) == (100, ["a", "b"])
        sending.add("e", 500)
        assert (sending.outbox.bytes, sending.dropped) == (500, ["a", "b", "c", "d"])

    run(crowded())


def test_an_answer_that_takes_too_long_counts_no_more_even_if_nothing_tells_its_end():
    async def late() -> None:
        sending = Sending(100, 0.001)
        sent = sending.add("a", 60)
        await sending.some_dropped.wait()
        assert (sending.outbox.bytes, sending.dropped) == (0, ["a"])
        sent.set_result(None)
        await asyncio.sleep(0)
        assert sending.outbox.bytes == 0

    run(late())
