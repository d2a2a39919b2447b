"""The interface of drivers: an object of a store, read in ranges."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from jp2batch.core.ranges import ByteRange
from jp2batch.storage.base_source import Meter
from jp2batch.storage.replies import Reply, Version


class Driver(ABC):
    """An object of a store.

    It caches nothing, runs on fsspec's event loop, and serves any number of `get` at once. It counts its requests and
    bytes on the meter. Errors of the driver pass through unchanged.
    """

    file_system: ClassVar[str]
    """Class of fsspec's file system; a name, to avoid importing it."""
    tells_version: ClassVar[bool]
    """Whether every reply tells the version; `look` is then redundant."""

    is_cancellable: ClassVar[bool] = True
    """Whether a cancelled request ends, as opposed to a thread."""

    def __init__(self, fs: Any, path: str, meter: Meter, *, literal: str = "") -> None:
        self._fs, self._path, self._meter, self._literal = fs, path, meter, literal

    def _split(self) -> tuple[str, str, str | None]:
        """Return the bucket, the key and the version of the object.

        A literal key has no version: drivers would find it in the text.
        """
        bucket, key, version = self._fs.split_path(self._path.removesuffix(self._literal))
        if not self._literal:
            return bucket, key, version
        return bucket, f"{key.rstrip('/')}/{self._literal}" if key else self._literal, None

    @staticmethod
    def repeat_nothing(fs: Any) -> None:
        """Let a file system make each request once: `retry` repeats them itself."""
        if isinstance(getattr(fs, "retries", None), int):
            fs.retries = 1

    @abstractmethod
    async def get(self, span: ByteRange, expected: Version | None) -> Reply:
        """Request a range once.

        While no version is `expected`, a reply with the whole body is accepted; afterwards it is refused.
        """

    @abstractmethod
    async def look(self, expected: Version | None) -> Version:
        """Request the size and the version alone, past all caches.

        Returns `expected` if the object still has it. Never uses HEAD: a link signed for GET may refuse it.
        """
