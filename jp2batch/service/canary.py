"""Small reads through the queue, to prove the service alive."""

import asyncio
import contextlib
import math
import secrets
from collections.abc import Mapping
from importlib.resources import files

from jp2batch.core.errors import ClusterLost
from jp2batch.core.request import Request
from jp2batch.service.dispatcher import Dispatcher
from jp2batch.service.problems import Busy, NotInTime
from jp2batch.service.reading import Reading
from jp2batch.service.worker_actor import Job
from jp2batch.storage.source import MemorySource, Source

ROOT = ""
"""Name of the root of the canary's image, and of no other."""

_PAUSE = 5.0  # seconds between reads, if the service is idle
_AGAIN = 0.2  # seconds until the next attempt after a failure
_SPARE = 15.0  # seconds beyond the deadline of a request, after which a read is no longer recent
_LAST = 60.0  # seconds after which workers that were started again still do not read
_IMAGE = files("jp2batch.service").joinpath("canary.jp2").read_bytes()


def open_canary(_request: Request, _options: Mapping[str, object]) -> Source:
    """Open the canary's image, which is in memory."""
    return MemorySource(_IMAGE)


class Canary:
    """Reads of a small image, whenever no other read has succeeded lately.

    Parameters
    ----------
    pool : Dispatcher
        The queue, and the workers behind it.
    deadline : float
        Seconds per request: as long can all places be busy.
    fatal : bool
        True to raise an error if nothing is read for long.
    """

    def __init__(self, pool: Dispatcher, deadline: float, *, fatal: bool) -> None:
        self._pool, self._deadline, self._lately = pool, deadline, deadline + _SPARE
        self._longest = self._lately + _LAST if fatal else math.inf

    @property
    def ready(self) -> bool:
        """True if a worker is ready, and a read has succeeded lately."""
        return self._pool.places > 0 and self._age() < self._lately

    async def keep(self) -> None:
        """Read again and again, until cancelled.

        Raises
        ------
        ClusterLost
            Nothing was read for long: stuck workers were restarted in vain.
        """
        begin = asyncio.get_running_loop().time()
        while min(self._age(), asyncio.get_running_loop().time() - begin) < self._longest:
            if self._age() > _PAUSE:
                await self._read()
            await asyncio.sleep(_PAUSE if self.ready else _AGAIN)
        raise ClusterLost("", f"no read has succeeded for {self._age():.0f} s", "see the log of its workers")

    def _age(self) -> float:
        return asyncio.get_running_loop().time() - self._pool.last_read

    async def _read(self) -> None:
        end = asyncio.get_running_loop().time() + self._deadline
        job = Job(secrets.token_hex(8), ROOT, Request("canary.jp2"), Reading(), end=end)
        with contextlib.suppress(Busy, NotInTime):
            await self._pool.run(job)
