"""Google Cloud Storage through gcsfs, over HTTP alone."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

from jp2batch.core.ranges import ByteRange
from jp2batch.storage.base_source import Meter
from jp2batch.storage.drivers.driver import Driver
from jp2batch.storage.drivers.http_driver import (
    CHUNK,
    HttpReply,
    confirmed_version,
    range_header,
    range_to_look_at,
    reply_of,
)
from jp2batch.storage.http_status import HttpStatusError
from jp2batch.storage.replies import Reply, Version


class GoogleObject(Driver):
    """An object of Google Cloud Storage, versioned by its generation.

    Sends its requests through the session of gcsfs, with its credentials. Methods above it tell no version, let the
    store decompress objects, and ask for the type of the bucket, over gRPC.
    """

    file_system = "gcsfs.core.GCSFileSystem"
    tells_version = True

    def __init__(self, fs: Any, path: str, meter: Meter, *, literal: str = "") -> None:
        super().__init__(fs, path, meter, literal=literal)
        logger = logging.getLogger("gcsfs")
        if logger.level == logging.NOTSET:  # it would write a traceback of each refusal, which it raises as well
            logger.setLevel(logging.CRITICAL)

    async def get(self, span: ByteRange, expected: Version | None) -> Reply:
        """Request a range once; see `driver.Driver`."""
        async with self._answer(range_header(span), "ifGenerationMatch", expected) as answer:
            if answer.status == 404:
                await self._check_bucket()
            return await reply_of(answer, span, expected, self._meter)

    async def look(self, expected: Version | None) -> Version:
        """Request the size and the version alone; see `driver.Driver`."""
        async with self._answer(range_to_look_at(expected), "ifGenerationNotMatch", expected) as answer:
            return await confirmed_version(answer, expected, self._meter)

    @asynccontextmanager
    async def _answer(self, span: str, condition: str, expected: Version | None) -> AsyncIterator[HttpReply]:
        bucket, key, version = self._split()
        if not key:
            raise IsADirectoryError(bucket)
        expected_generation = (expected.etag or "").strip('"') if expected else ""
        conditions = {condition: expected_generation} if expected_generation.isdecimal() else {}
        url = f"{self._fs._location}/download/storage/v1/b/{bucket}/o/{quote(key, safe='')}"
        # With this header, the store sends a compressed object as it is stored.
        headers = {"Range": span, "Accept-Encoding": "gzip"}
        async with self._ask(url, headers, alt="media", generation=version, **conditions) as response:
            sent = {name.lower(): value for name, value in response.headers.items()}
            if generation := sent.get("x-goog-generation"):
                sent["etag"] = f'"{generation}"'
            yield HttpReply(response.status, sent, response.content.iter_chunked(CHUNK))

    async def _check_bucket(self) -> None:
        """Tell a missing bucket from a missing object, if allowed."""
        bucket = self._split()[0]
        async with self._ask(f"{self._fs._location}/storage/v1/b/{bucket}", {}) as response:
            if response.status == 404:
                raise HttpStatusError(404, code="NoSuchBucket")

    @asynccontextmanager
    async def _ask(self, url: str, headers: dict[str, str], **parameters: str | None) -> AsyncIterator[Any]:
        from yarl import URL

        fs = self._fs
        await fs._set_session()
        self._meter.requested()
        async with fs.session.get(
            URL(url, encoded=True),
            params=fs._get_params(parameters),
            headers=fs._get_headers(headers),
            timeout=fs.requests_timeout,
            auto_decompress=False,
        ) as response:
            yield response
