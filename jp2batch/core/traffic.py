"""Traffic: requests to stores and bytes from them, added up."""

from dataclasses import dataclass

from jp2batch.core import display


@dataclass(slots=True)
class Traffic:
    """Store requests, bytes fetched and file sizes of many reads."""

    requests: int = 0
    """Number of store requests."""
    bytes_read: int = 0
    """Bytes fetched."""
    bytes_whole: int = 0
    """Size of the files in bytes."""

    def add(self, requests: int, bytes_read: int, bytes_whole: int = 0) -> None:
        """Add the traffic of a read."""
        self.requests += requests
        self.bytes_read += bytes_read
        self.bytes_whole += bytes_whole

    def __str__(self) -> str:
        return display.share(self.bytes_read, self.bytes_whole)
