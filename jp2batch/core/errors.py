"""What can go wrong, said in one line: the path, the problem, the hint.

Every error of the package derives from `Jp2BatchError`, and all are made of the same three texts, so that they survive
pickling between dask workers and become a record or an HTTP answer without being parsed.
"""

from collections.abc import Sequence
from typing import ClassVar, Self

from jp2batch.core.location import Location

__all__ = [
    "ClusterLost",
    "ClusterMismatch",
    "ConfigurationError",
    "CorruptImage",
    "CubeMismatch",
    "DecodeTimedOut",
    "DecoderCrashed",
    "EncodingError",
    "ImageNotFound",
    "ImageTooLarge",
    "InvalidPath",
    "InvalidRequest",
    "InvalidRlevel",
    "InvalidWindow",
    "Jp2BatchError",
    "ManifestError",
    "MetadataError",
    "NotJpeg2000",
    "ObjectChanged",
    "OpenJpegNotFound",
    "OutputError",
    "PermissionDenied",
    "RangesIgnored",
    "StorageError",
    "StoreUnavailable",
    "TooManyPixels",
    "UnexpectedError",
    "UnsupportedImage",
]


class Jp2BatchError(Exception):
    """Base of all errors of this package.

    Parameters
    ----------
    path : str or Location
        The path or URL concerned, if any. It is kept without credentials, and not if it is no text.
    problem : str
        What was wrong.
    hint : str
        What to do about it.
    """

    retryable: ClassVar[bool] = False
    """Whether the same request may succeed a little later."""

    def __init__(self, path: str | Location, problem: str, hint: str = "") -> None:
        self.path = _shown(path)
        super().__init__(self.path, problem, hint)
        self.problem = problem
        self.hint = hint

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        hint = f" ({self.hint})" if self.hint else ""
        return " ".join(f"{where}{self.problem}{hint}".split())

    def at(self, path: str | Location) -> Self:
        """Return the same error, naming `path`: the format layer does not know what it is reading."""
        return type(self)(path, *self.args[1:])


def _shown(path: object) -> str:
    return Location.of(path).redacted if isinstance(path, str | Location) else ""


class ConfigurationError(Jp2BatchError):
    """A configuration value cannot be used."""


class OpenJpegNotFound(ConfigurationError):
    """No OpenJPEG library could be loaded."""


class InvalidRequest(Jp2BatchError, ValueError):
    """The request itself is wrong, whatever the image."""


class InvalidPath(InvalidRequest):
    """The path is malformed, or leads out of its root."""


class InvalidRlevel(InvalidRequest):
    """The image does not have that resolution level."""


class InvalidWindow(InvalidRequest):
    """The window is malformed, outside the image, or holds no sample at that level."""


class ManifestError(InvalidRequest):
    """A manifest has bad rows, or none at all; the one error of several lines, where several rows are bad.

    Parameters
    ----------
    path, problem, hint : str
        As for `Jp2BatchError`.
    rows : tuple of (int, str), optional
        The number of each bad row, counted from 1, and what is wrong with it.
    unit : str, optional
        What the numbers count: lines of a text, or rows of a table.
    """

    _SHOWN: ClassVar[int] = 100

    def __init__(
        self,
        path: str | Location,
        problem: str,
        hint: str = "",
        rows: tuple[tuple[int, str], ...] = (),
        unit: str = "line",
    ) -> None:
        super().__init__(path, problem, hint)
        self.args = (self.path, problem, hint, rows, unit)
        self.rows = rows
        self.unit = unit

    @classmethod
    def of(cls, path: str | Location, rows: Sequence[tuple[int, str]], unit: str = "line") -> Self:
        """Return the error that names these bad rows."""
        problem = f"{unit} {rows[0][0]}: {rows[0][1]}" if len(rows) == 1 else f"{len(rows)} bad rows"
        return cls(path, problem, "", tuple(rows), unit)

    @property
    def all_rows(self) -> str:
        """All bad rows in words; what is wrong with rows that follow each other is said once."""
        if len(self.rows) < 2:
            return super().__str__()
        runs: list[tuple[int, int, str]] = []
        for number, message in self.rows:
            if runs and runs[-1][1:] == (number - 1, message):
                runs[-1] = (runs[-1][0], number, message)
            else:
                runs.append((number, number, message))
        named = [
            f"{self.unit} {first}: {message}" if first == last else f"{self.unit}s {first}-{last}: {message}"
            for first, last, message in runs
        ]
        return "\n".join([f"{len(self.rows)} bad rows in {self.path or 'the manifest'}", *named])

    def __str__(self) -> str:
        if len(self.rows) < 2:
            return super().__str__()
        named = [f"{self.unit} {number}: {message}" for number, message in self.rows[: self._SHOWN]]
        more = [f"… and {len(self.rows) - self._SHOWN} more"] if len(self.rows) > self._SHOWN else []
        return "\n".join([f"{len(self.rows)} bad rows in {self.path or 'the manifest'}", *named, *more])


class CubeMismatch(InvalidRequest):
    """The images do not fit into one cube, or do not fill it."""


class StorageError(Jp2BatchError, OSError):
    """The store did not give the bytes."""


class ImageNotFound(StorageError):
    """There is no such object."""


class PermissionDenied(StorageError):
    """The store refuses access."""


class OutputError(StorageError):
    """The output cannot be written, which is no fault of what was to be written."""


class StoreUnavailable(StorageError):
    """The store failed in a way that may pass.

    Parameters
    ----------
    path, problem, hint : str
        As for `Jp2BatchError`.
    retry_after : float, optional
        Seconds that the store asks to be left alone.
    """

    retryable = True

    def __init__(self, path: str | Location, problem: str, hint: str = "", retry_after: float | None = None) -> None:
        super().__init__(path, problem, hint)
        self.args = (self.path, problem, hint, retry_after)
        self.retry_after = retry_after


class ObjectChanged(StoreUnavailable):
    """The object was replaced while it was being read."""


class RangesIgnored(StoreUnavailable):
    """The server, which gave ranges of the object before, sends only the whole of it."""


class NotJpeg2000(Jp2BatchError, ValueError):
    """The object is something else than a JPEG 2000 image."""


class CorruptImage(Jp2BatchError, ValueError):
    """The image is damaged or cut short."""


class UnsupportedImage(Jp2BatchError, ValueError):
    """A valid image that this package does not turn into an array."""


class MetadataError(Jp2BatchError, ValueError):
    """The metadata of the product are not there, are damaged, or do not tell what is needed."""


class ImageTooLarge(Jp2BatchError, ValueError):
    """The result would be larger than the configured limit."""


class TooManyPixels(ImageTooLarge):
    """The result would have more pixels than an answer may have.

    Parameters
    ----------
    path, problem, hint : str
        As for `Jp2BatchError`.
    fits : int, optional
        The lowest rlevel at which it would not.
    """

    def __init__(self, path: str | Location, problem: str, hint: str = "", fits: int | None = None) -> None:
        super().__init__(path, problem, hint)
        self.args = (self.path, problem, hint, fits)
        self.fits = fits


class EncodingError(Jp2BatchError, ValueError):
    """OpenJPEG does not code these pixels in this way."""


class DecoderCrashed(Jp2BatchError):
    """Decoding the image ends the process that does it."""


class DecodeTimedOut(Jp2BatchError):
    """Decoding the image took longer than it may."""


class ClusterLost(Jp2BatchError):
    """The cluster is gone in the midst of the work."""


class ClusterMismatch(ConfigurationError):
    """The workers of a cluster have another version of this package, or none."""


class UnexpectedError(Jp2BatchError):
    """Something went wrong that this package does not know of."""
