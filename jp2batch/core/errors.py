"""Errors of the package: path, problem, hint, in a single line.

Every error of the package derives from `Jp2BatchError`, and all are made of the same three texts, so that they survive
pickling between dask workers and become a record or an HTTP answer without being parsed.
"""

from collections.abc import Sequence
from typing import ClassVar, Self

from jp2batch.core.location import Location


class Jp2BatchError(Exception):
    """Base of all errors of this package.

    Parameters
    ----------
    path : str or Location
        The path or URL concerned, if any. Credentials are removed; a value other than text is dropped.
    problem : str
        Description of the problem.
    hint : str
        Advice to the user.
    """

    retryable: ClassVar[bool] = False
    """Whether the same request may succeed a little later."""

    def __init__(self, path: str | Location, problem: str, hint: str = "") -> None:
        self.path = _shown(path)
        super().__init__(self.path, problem, hint)
        self.args = (self.path, problem, hint)  # OSError keeps two of them only
        self.problem = problem
        self.hint = hint

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        hint = f" ({self.hint})" if self.hint else ""
        return " ".join(f"{where}{self.problem}{hint}".split())

    def at(self, path: str | Location) -> Self:
        """Return the same error with `path`.

        The format layer raises errors without a path, since it knows only bytes.
        """
        return type(self)(path, *self.args[1:])


def _shown(path: object) -> str:
    return Location.of(path).redacted if isinstance(path, str | Location) else ""


class ConfigurationError(Jp2BatchError):
    """A configuration value cannot be used."""


class OpenJpegNotFound(ConfigurationError):
    """No OpenJPEG library could be loaded."""


class InvalidRequest(Jp2BatchError, ValueError):
    """The request is wrong for every image."""


class InvalidPath(InvalidRequest):
    """The path is malformed, or leads out of its root."""


class InvalidRlevel(InvalidRequest):
    """The image does not have the requested resolution level."""


class InvalidWindow(InvalidRequest):
    """The window is malformed, outside the image, or empty at its level."""


class OutsideImage(InvalidWindow):
    """The map area does not meet the image."""


class ManifestError(InvalidRequest):
    """A manifest has bad rows, or no rows.

    Parameters
    ----------
    path, problem, hint : str
        As for `Jp2BatchError`.
    rows : tuple of (int, str), optional
        The number of each bad row, counted from 1, and its problem.
    unit : str, optional
        Unit of the numbers: lines of a text, or rows of a table.
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
        """Return the error for bad rows."""
        problem = f"{unit} {rows[0][0]}: {rows[0][1]}" if len(rows) == 1 else f"{len(rows)} bad rows"
        return cls(path, problem, "", tuple(rows), unit)

    @property
    def all_rows(self) -> str:
        """All bad rows in words; consecutive rows with equal problems are merged."""
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
    """The images do not fit into a cube, or leave gaps."""


class StorageError(Jp2BatchError, OSError):
    """The store did not deliver the bytes."""


class ImageNotFound(StorageError):
    """The object does not exist."""


class PermissionDenied(StorageError):
    """The store refuses access."""


class OutputError(StorageError):
    """The output cannot be written; its content is not at fault."""


class LeaseLost(OutputError):
    """Another run has taken over the output; this run has stopped."""


class StoreUnavailable(StorageError):
    """The store failed, but a later attempt may succeed.

    Parameters
    ----------
    path, problem, hint : str
        As for `Jp2BatchError`.
    retry_after : float, optional
        Seconds to wait, as demanded by the store.
    """

    retryable = True

    def __init__(self, path: str | Location, problem: str, hint: str = "", retry_after: float | None = None) -> None:
        super().__init__(path, problem, hint)
        self.args = (self.path, problem, hint, retry_after)
        self.retry_after = retry_after


class ObjectChanged(StoreUnavailable):
    """The object was replaced while it was being read."""


class RangesIgnored(StoreUnavailable):
    """The server, after sending ranges before, now sends only the whole object."""


class NotJpeg2000(Jp2BatchError, ValueError):
    """The object is something else than a JPEG 2000 image."""


class CorruptImage(Jp2BatchError, ValueError):
    """The image is damaged or cut short."""


class UnsupportedImage(Jp2BatchError, ValueError):
    """A valid image of a kind unsupported by this package."""


class MetadataError(Jp2BatchError, ValueError):
    """The product's metadata are missing, damaged or incomplete."""


class ImageTooLarge(Jp2BatchError, ValueError):
    """The result would be larger than the configured limit."""


class TooManyPixels(ImageTooLarge):
    """The result would have more pixels than an answer may have.

    Parameters
    ----------
    path, problem, hint : str
        As for `Jp2BatchError`.
    fits : int, optional
        The lowest rlevel with few enough pixels.
    """

    def __init__(self, path: str | Location, problem: str, hint: str = "", fits: int | None = None) -> None:
        super().__init__(path, problem, hint)
        self.args = (self.path, problem, hint, fits)
        self.fits = fits


class EncodingError(Jp2BatchError, ValueError):
    """OpenJPEG cannot encode the pixels with these parameters."""


class DecoderCrashed(Jp2BatchError):
    """Decoding the image crashes the process."""


class DecodeTimedOut(Jp2BatchError):
    """Decoding the image exceeded the time limit."""


class ClusterLost(Jp2BatchError):
    """The connection to the cluster was lost during the work."""


class ClusterMismatch(ConfigurationError):
    """Workers of a cluster lack this package, or have another version."""


class TooManyFailures(Jp2BatchError):
    """The run was stopped, because too many items failed."""


class UnexpectedError(Jp2BatchError):
    """An unexpected exception, such as a bug in this package."""
