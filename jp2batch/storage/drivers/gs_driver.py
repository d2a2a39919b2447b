"""Google Cloud Storage through gcsfs, over HTTP alone."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from jp2batch.core.errors import ImageNotFound
from jp2batch.core.ranges import ByteRange
from jp2batch.storage.base_source import Meter
from jp2batch.storage.drivers.driver import Driver
from jp2batch.storage.http_status import HttpStatusError
from jp2batch.storage.replies import Reply, Version


class GoogleObject(Driver):
    """An object of Google Cloud Storage.

    It calls the base class of gcsfs. Its subclass asks for the type of the bucket before each read, over gRPC; a client
    without this right asks again and again, and one behind a firewall waits for a minute.
    """

    file_system = "gcsfs.core.GCSFileSystem"
    tells_version = False

    def __init__(self, fs: Any, path: str, meter: Meter, *, literal: str = "") -> None:
        super().__init__(fs, path, meter, literal=literal)
        logger = logging.getLogger("gcsfs")
        if logger.level == logging.NOTSET:  # it would write a traceback of each refusal, which it raises as well
            logger.setLevel(logging.CRITICAL)

    async def get(self, span: ByteRange, expected: Version | None) -> Reply:  # noqa: ARG002  (it never sends a whole body)
        """Request a range once; see `driver.Driver`."""
        from gcsfs.core import GCSFileSystem

        data = await self._ask(GCSFileSystem._cat_file, self._path, start=span.start, end=span.stop)
        self._meter.received(len(data))
        return Reply(data)

    async def look(self, expected: Version | None) -> Version:  # noqa: ARG002  (it takes no conditions)
        """Request the size and the version alone; see `driver.Driver`."""
        from gcsfs.core import GCSFileSystem

        self._fs.invalidate_cache(self._path)
        try:
            told = await self._ask(GCSFileSystem._get_object, self._path)
        except FileNotFoundError:
            await self._check_bucket()
            raise
        return Version(int(told["size"]), f'"{told["generation"]}"')

    async def _check_bucket(self) -> None:
        """Tell a missing bucket from a missing object, if allowed."""
        from gcsfs.core import GCSFileSystem

        try:
            await self._ask(GCSFileSystem._call, "GET", "b/{}", self._fs.split_path(self._path)[0], json_out=True)
        except FileNotFoundError:
            raise ImageNotFound("", "there is no such bucket: 404 NoSuchBucket", "check its name") from None
        except Exception:  # noqa: BLE001  # clients of public buckets mostly may not ask
            return

    async def _ask(self, function: Callable[..., Awaitable[Any]], *arguments: object, **options: object) -> Any:
        self._meter.requested()
        try:
            return await function(self._fs, *arguments, **options)
        except OSError as error:
            if str(error).startswith("Forbidden"):
                raise HttpStatusError(403) from None
            raise
