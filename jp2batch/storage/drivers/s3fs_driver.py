"""Driver for S3 over s3fs."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from jp2batch.core.ranges import ByteRange
from jp2batch.storage.drivers.driver import Driver
from jp2batch.storage.drivers.http_driver import (
    CHUNK,
    HttpReply,
    confirmed_version,
    no_chunks,
    range_header,
    range_to_look_at,
    reply_of,
)
from jp2batch.storage.http_status import response_of, status_of
from jp2batch.storage.replies import Reply, Version

_BUCKETS = "before-call.s3.HeadBucket"
_WITHOUT_A_BODY = (304, 416)  # botocore raises these statuses; both are valid answers


class S3Object(Driver):
    """An object behind the S3 protocol.

    It calls the client below s3fs's own retries, which multiply with botocore's to 25 attempts per range.
    """

    file_system = "s3fs.core.S3FileSystem"
    tells_version = True

    async def get(self, span: ByteRange, expected: Version | None) -> Reply:
        """Request a range once; see `driver.Driver`."""
        condition = {"IfMatch": expected.etag} if expected and expected.has_tag else {}
        async with self._answer(Range=range_header(span), **condition) as answer:
            reply = await reply_of(answer, span, expected, self._meter)
        if self._path.endswith("/") and reply.version.size == 0:  # a folder's placeholder
            raise IsADirectoryError(self._path)
        return reply

    async def look(self, expected: Version | None) -> Version:
        """Request the size and the version alone; see `driver.Driver`."""
        condition = {"IfNoneMatch": expected.etag} if expected and expected.has_tag else {}
        async with self._answer(Range=range_to_look_at(expected), **condition) as answer:
            return await confirmed_version(answer, expected, self._meter)

    @asynccontextmanager
    async def _answer(self, **parameters: object) -> AsyncIterator[HttpReply]:
        try:
            got = await self._get_object(**parameters)
        except Exception as error:
            if status_of(error) not in _WITHOUT_A_BODY:
                raise
            got = response_of(error)
        metadata, body = got["ResponseMetadata"], got.get("Body")
        try:
            chunks = no_chunks() if body is None else body.iter_chunks(CHUNK)
            yield HttpReply(metadata["HTTPStatusCode"], metadata["HTTPHeaders"], chunks)
        finally:
            if body is not None:
                body.close()

    async def _get_object(self, **parameters: object) -> Mapping[str, Any]:
        bucket, key, version = self._split()
        if not key:
            raise IsADirectoryError(bucket)
        slashes = self._path[len(self._path.rstrip("/")) :]  # older s3fs strips them
        key = key if key.endswith(slashes) else key + slashes
        await self._fs.set_session()
        client = await self._fs.get_s3(bucket)
        client.meta.events.register_last(_BUCKETS, _without_redirect, unique_id=_BUCKETS)
        method = client.get_object
        parameters |= {"Bucket": bucket, "Key": key} | ({"VersionId": version} if version else {})
        self._meter.requested()
        answer: Mapping[str, Any] = {}
        try:
            answer = await method(**self._fs._get_s3_method_kwargs(method, self._fs.req_kw, **parameters))
        except Exception as error:
            answer = response_of(error)
            raise
        finally:
            self._meter.requested(answer.get("ResponseMetadata", {}).get("RetryAttempts", 0))
        return answer


def _without_redirect(context: dict[str, Any], **_: object) -> None:
    """Let botocore seek the region of a bucket once.

    If the reply to HEAD is a redirect as well, it would go on until the stack is full.
    """
    context.get("s3_redirect", {})["redirected"] = True
