"""Result of a request, in memory."""

import pickle
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Self

import cloudpickle

from jp2batch.core import display
from jp2batch.core.display import format_bytes
from jp2batch.core.errors import Jp2BatchError, UnexpectedError
from jp2batch.core.request import Request
from jp2batch.image.preview import thumbnail
from jp2batch.image.read import Stats

_PICKLED = "return a value that can be pickled"

Status = Literal["ok", "failed", "outside"]
"""Status of an item; "outside" has an area elsewhere."""


@dataclass(frozen=True, slots=True, repr=False)
class Result:
    """Outcome of a request: its value or error, and statistics."""

    request: Request
    """The request."""
    status: Status
    """Outcome: "ok", "failed", or "outside": the area does not meet the image."""
    value: Any = field(default=None, repr=False)
    """A DataArray or the dict of the web service.

    None without pixels, or if the worker has written them.
    """
    error: Jp2BatchError | None = None
    """Reason of a failure, or of no pixels."""
    stats: Stats | None = None
    """Statistics of the read; None if it never began."""
    attempts: int = 1
    """Number of attempts; more than 1 if a worker died."""
    shape: tuple[int, ...] | None = None
    """Shape of the pixels: (rows, columns), or (bands, rows, columns)."""
    dtype: str | None = None
    """Type of the pixels."""
    size: int = 0
    """Size of the file in bytes."""
    worker: str | None = None
    """Address of the worker, or host and process id."""
    output: str | None = None
    """Path or URL written by the worker."""
    output_size: int | None = None
    """Bytes of its output; None if unknown."""
    output_checksum: str | None = None
    """Checksum of its bytes: "md5:" and hex digits; None if unknown."""
    adopted: bool = False
    """True if a killed run has left the output without a record."""
    same_as: str | None = None
    """Id of an equal request, whose read also served this request.

    The bytes are counted with that request.
    """

    def __str__(self) -> str:
        return display.text(self._title(), self._rows())

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        png = thumbnail(self.value)
        saved = display.bar(self.stats.bytes_read, self.size, self._fetched()) if self.stats else ""
        return display.card(self._title(), self._rows(), display.stack([display.picture(png) if png else "", saved]))

    def _title(self) -> str:
        return self.request.shown_path

    def _fetched(self) -> str:
        return display.share(self.stats.bytes_read if self.stats else 0, self.size)

    def _rows(self) -> list[tuple[str, str]]:
        stats, request = self.stats, self.request
        rows = [("status", self.status if self.error is None else f"{self.status}: {self.error}")]
        rows.append(("asked", _part_of(request)))
        if self.shape is not None:
            rows.append(("pixels", f"{' x '.join(map(str, self.shape))} {self.dtype}"))
        if stats is not None:
            rows += [
                ("fetched", self._fetched()),
                ("saved", format_bytes(max(0, self.size - stats.bytes_read))),
                ("requests", f"{stats.requests}" + (f", {stats.retries} made again" if stats.retries else "")),
                ("time", f"{stats.time_download:.3g} s download, {stats.time_processing:.3g} s processing"),
                ("read by", f"{stats.precision}, located by {stats.located_by}"),
            ]
        return rows + ([("written to", self.output)] if self.output else [])

    def pack(self) -> bytes:
        """Return this result without its request, pickled.

        A value that cannot be pickled makes it a failed result.
        """
        fields = tuple(getattr(self, name) for name in _PACKED)
        try:
            return _pickled(fields)
        except Exception as error:  # noqa: BLE001  # of any `__reduce__`
            problem = f"its value cannot be sent: {type(error).__name__}: {error}".partition("\n")[0][:500]
            told = UnexpectedError(self.request.shown_path, problem, _PICKLED)
            return replace(self, status="failed", value=None, error=told).pack()

    @classmethod
    def unpack(cls, request: Request, packed: bytes) -> Self:
        """Return a result of a request, from `pack`.

        A value that cannot be unpickled makes it a failed result.
        """
        try:
            return cls(request, *pickle.loads(packed))  # noqa: S301  # from our own workers
        except Exception as error:  # noqa: BLE001  # of any class's making
            problem = f"its value cannot be received: {type(error).__name__}: {error}".partition("\n")[0][:500]
            return cls(request, "failed", error=UnexpectedError(request.shown_path, problem, _PICKLED))

    def record(self) -> dict[str, object]:
        """Return the fields except the value as a JSON-serializable dict.

        Further columns of its manifest row are included.
        """
        stats, request = self.stats, self.request
        own = {
            "id": request.id,
            "Path": request.shown_path,
            "root": request.shown_root,
            "rlevel": request.rlevel,
            "window": None if request.window is None else request.window.as_tuple(),
            **({} if request.area is None else request.area.fields()),
            "digest": request.digest,
            "status": self.status,
            "error": None if self.error is None else describe(self.error),
            "attempts": self.attempts,
            "shape": self.shape,
            "dtype": self.dtype,
            "size": self.size,
            "bytes_read": stats.bytes_read if stats else 0,
            "requests": stats.requests if stats else 0,
            "retries": stats.retries if stats else 0,
            "located_by": stats.located_by if stats else None,
            "precision": stats.precision if stats else None,
            "time_download": stats.time_download if stats else None,
            "time_processing": stats.time_processing if stats else None,
            "worker": self.worker,
            "output": self.output,
            "output_size": self.output_size,
            "output_checksum": self.output_checksum,
            "adopted": self.adopted,
            "same_as": self.same_as,
        }
        return dict(request.columns) | own  # own fields override columns of the same name


_PACKED = tuple(field.name for field in fields(Result))[1:]


def _part_of(request: Request) -> str:
    """Return level, window and area of a request in words."""
    area = request.area
    level = [] if area is not None and area.resolution is not None else [f"rlevel {request.rlevel}"]
    window = [] if request.window is None else [f"window {request.window}"]
    return ", ".join([*level, *window, *([] if area is None else [str(area)])])


def _pickled(value: object) -> bytes:
    try:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except (pickle.PicklingError, AttributeError, TypeError):  # e.g. of a class in a notebook
        data: bytes = cloudpickle.dumps(value)
        return data


def describe(error: Jp2BatchError) -> dict[str, object]:
    """Return an error as the fields of a record."""
    return {
        "type": type(error).__name__,
        "title": (type(error).__doc__ or "").strip().partition("\n")[0],
        "detail": str(error),
        "retryable": error.retryable,
    }
