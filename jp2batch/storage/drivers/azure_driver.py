"""Driver for Azure Blob Storage over adlfs."""

from typing import Any

from jp2batch.core.ranges import ByteRange
from jp2batch.storage.drivers.driver import Driver
from jp2batch.storage.drivers.http_driver import unsatisfied
from jp2batch.storage.errors import status_of
from jp2batch.storage.replies import Reply, Version, content_range


class AzureBlob(Driver):
    """An object of Azure Blob Storage.

    Calls azure-storage-blob directly: adlfs's own method tells no version, and repeats requests itself.
    """

    tells_version = True

    async def get(self, span: ByteRange, expected: Version | None) -> Reply:
        """Request a range once; see `driver.Driver`."""
        headers: dict[str, str] = {}

        def note(response: Any) -> None:
            headers.update((name.lower(), value) for name, value in response.http_response.headers.items())

        self._meter.requested()
        options = {"retry_total": 0, "raw_response_hook": note, **_condition(expected, "IfNotModified")}
        try:
            stream = await self._blob().download_blob(span.start, span.stop - span.start, **options)
            data: bytes = await stream.readall()
        except Exception as error:
            if status_of(error) != 416:
                raise
            return unsatisfied(span, headers)
        self._meter.received(len(data))
        given, size = content_range(headers.get("content-range"))
        return Reply(data, Version(size, headers.get("etag")), given)

    async def look(self, expected: Version | None) -> Version:
        """Request the size and the version alone; see `driver.Driver`."""
        self._meter.requested()
        options = {"retry_total": 0, **_condition(expected, "IfModified")}
        try:
            found = await self._blob().get_blob_properties(**options)
        except Exception as error:
            if status_of(error) == 304 and expected is not None:
                return expected
            raise
        return Version(found.size, found.etag)

    def _blob(self) -> Any:
        container, key, _ = self._split()
        if not key:
            raise IsADirectoryError(container)
        return self._fs.service_client.get_blob_client(container, key)


def _condition(expected: Version | None, name: str) -> dict[str, Any]:
    from azure.core import MatchConditions

    return {"etag": expected.etag, "match_condition": MatchConditions[name]} if expected and expected.has_tag else {}
