"""Retries: transient failures and the wait before the next attempt.

A single policy for all stores; retries of drivers are switched off.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from jp2batch.core.config import RetryPolicy
from jp2batch.core.errors import ObjectChanged, RangesIgnored, StoreUnavailable

T = TypeVar("T")

_ATTEMPTS_AT_RANGES = 2  # a single node of many may ignore Range; if all do, the object is read otherwise


def backoff_seconds(failed: int, error: StoreUnavailable, policy: RetryPolicy, luck: float) -> float | None:
    """Return the seconds to wait after a failure; None to give up.

    Parameters
    ----------
    failed : int
        Number of failed attempts.
    error : StoreUnavailable
        The last failure. Its `retry_after`, the store's demand, is a lower bound.
    policy : RetryPolicy
        Attempts and waits allowed.
    luck : float
        A random number from 0 to 1, so that waits of many clients do not coincide.
    """
    asked = error.retry_after or 0.0
    attempts = min(policy.attempts, _ATTEMPTS_AT_RANGES) if isinstance(error, RangesIgnored) else policy.attempts
    if failed >= attempts or asked > policy.longest_wait or isinstance(error, ObjectChanged):
        return None
    grown = policy.first_wait * 2.0 ** min(failed - 1, 30)
    return asked + min(grown, policy.longest_wait) * (0.5 + luck / 2)


async def retried(
    attempt: Callable[[], Awaitable[T]],
    policy: RetryPolicy,
    count: Callable[[], None],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> T:
    """Repeat an attempt until it succeeds or fails permanently.

    `count` is called before each retry.

    Raises
    ------
    Jp2BatchError
        The error of the last attempt.
    """
    failed = 0
    while True:
        try:
            return await attempt()
        except StoreUnavailable as error:
            failed += 1
            seconds = backoff_seconds(failed, error, policy, random.random())  # noqa: S311  # no secret
            if seconds is None:
                raise
        count()
        await sleep(seconds)


def retried_now(attempt: Callable[[], T], policy: RetryPolicy, count: Callable[[], None] = lambda: None) -> T:
    """Repeat a blocking attempt, without an event loop; see `retried`."""

    async def once() -> T:
        return attempt()

    async def sleep(seconds: float) -> None:
        time.sleep(seconds)  # on purpose: no event loop runs this

    try:
        retried(once, policy, count, sleep).send(None)
    except StopIteration as done:  # nothing suspends it
        result: T = done.value
        return result
    raise AssertionError
