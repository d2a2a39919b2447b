"""Which faults pass, and how long to wait before the next try. One policy for all stores: drivers' own are off."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from jp2batch.core.config import RetryPolicy
from jp2batch.core.errors import ObjectChanged, RangesIgnored, StoreUnavailable

T = TypeVar("T")

_ATTEMPTS_AT_RANGES = 2  # one node of many may not know them; a server that has unlearned them is read otherwise


def backoff_seconds(failed: int, error: StoreUnavailable, policy: RetryPolicy, luck: float) -> float | None:
    """Return the seconds to wait after a failure; None: give up.

    Parameters
    ----------
    failed : int
        How many attempts have failed.
    error : StoreUnavailable
        How the last one did. Its `retry_after`, what the store asked for, is a lower bound.
    policy : RetryPolicy
        What is allowed.
    luck : float
        A random number from 0 to 1: waits of many clients must not fall together.
    """
    asked = error.retry_after or 0.0
    attempts = min(policy.attempts, _ATTEMPTS_AT_RANGES) if isinstance(error, RangesIgnored) else policy.attempts
    if failed >= attempts or asked > policy.longest_wait or isinstance(error, ObjectChanged):
        return None
    grown = policy.first_wait * 2.0 ** min(failed - 1, 30)
    return asked + min(grown, policy.longest_wait) * (0.5 + luck / 2)


def retried_now(attempt: Callable[[], T], policy: RetryPolicy) -> T:
    """Do as `retried` does with an attempt that blocks: a write."""
    failed = 0
    while True:
        try:
            return attempt()
        except StoreUnavailable as error:
            failed += 1
            seconds = backoff_seconds(failed, error, policy, random.random())  # noqa: S311  # no secret
            if seconds is None:
                raise
        time.sleep(seconds)


async def retried(attempt: Callable[[], Awaitable[T]], policy: RetryPolicy, count: Callable[[], None]) -> T:
    """Make an attempt until it succeeds, or fails in a way that does not pass; `count` is told of each retry.

    Raises
    ------
    Jp2BatchError
        That of the last attempt.
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
        await asyncio.sleep(seconds)
