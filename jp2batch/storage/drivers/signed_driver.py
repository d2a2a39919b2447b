"""Driver for objects behind a signer of links."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from jp2batch.core.ranges import ByteRange
from jp2batch.storage.drivers.driver import Driver
from jp2batch.storage.http_status import HttpStatusError, names_expiry
from jp2batch.storage.replies import Reply, Version

T = TypeVar("T")


class SignedObject(Driver):
    """An object, its link signed on first use and after a refusal.

    Parameters
    ----------
    make : callable
        Makes the driver of a signed link.
    sign : callable
        Returns a signed link; it may take long.
    """

    file_system = ""
    tells_version = True

    def __init__(self, make: Callable[[str], Driver], sign: Callable[[], str]) -> None:
        self._make, self._sign = make, sign
        self._current: Driver | None = None
        self._signing = asyncio.Lock()

    async def get(self, span: ByteRange, expected: Version | None) -> Reply:
        """Request a range; see `driver.Driver`."""
        return await self._try(lambda driver: driver.get(span, expected))

    async def look(self, expected: Version | None) -> Version:
        """Request the size and the version alone; see `driver.Driver`."""
        return await self._try(lambda driver: driver.look(expected))

    async def _try(self, act: Callable[[Driver], Awaitable[T]]) -> T:
        driver = await self._signed(None)
        try:
            return await act(driver)
        except HttpStatusError as error:
            if error.status not in (401, 403) and not names_expiry(error):
                raise
        return await act(await self._signed(driver))

    async def _signed(self, refused: Driver | None) -> Driver:
        """Return the driver of a link other than the `refused` link.

        Of concurrent requests with a refused link, the first has it signed.
        """
        async with self._signing:
            if self._current is None or self._current is refused:
                self._current = self._make(await asyncio.to_thread(self._sign))
            return self._current
