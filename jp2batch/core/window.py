"""Windows: the parts of images to read, in pixels."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self, SupportsIndex, TypeGuard, cast

from jp2batch.core.errors import InvalidWindow, OutsideImage
from jp2batch.core.location import described

_LARGEST_SIZE = 2**32 - 1  # of an image, T.800 table A.9
_LONGEST_TEXT = 99
_TINY = 1e-6  # pixels, lost in arithmetic
_TEXT = re.compile(r"\s*(\d+):(\d+)\s*,\s*(\d+):(\d+)\s*")
_HINT = "give r0:r1,c0:c1"


class PixelRange(NamedTuple):
    """Neighbouring rows or columns, `start <= position < stop`."""

    start: int
    """The first row or column."""
    stop: int
    """The row or column behind the last."""

    @property
    def size(self) -> int:
        """Number of rows or columns."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Window:
    """A part of an image: rows and columns of its full resolution.

    As text, it is `9500:10000,0:500`. It holds at least one pixel.

    Parameters
    ----------
    rows, columns : (int, int)
        The first row or column, and the one behind the last, counted from 0.

    Raises
    ------
    InvalidWindow
        The window holds no pixel, or is larger than any image.
    """

    rows: PixelRange
    """Rows of the full image."""
    columns: PixelRange
    """Columns of the full image."""

    def __init__(self, rows: Sequence[int], columns: Sequence[int]) -> None:
        self._set(*_bounds((rows, columns)))

    def _set(self, r0: int, r1: int, c0: int, c1: int) -> None:
        if max(r1, c1) > _LARGEST_SIZE:
            raise InvalidWindow("", f"a window to {described(max(r1, c1))} is larger than any image", _HINT)
        object.__setattr__(self, "rows", PixelRange(r0, r1))
        object.__setattr__(self, "columns", PixelRange(c0, c1))
        if not (0 <= r0 < r1 and 0 <= c0 < c1):
            raise InvalidWindow("", f"window {self} is empty or negative", "give 0 <= start < stop")

    @classmethod
    def parse(cls, window: object, path: str = "") -> Self:
        """Return a window from any form; errors name `path`.

        Raises
        ------
        InvalidWindow
            The window is malformed, or holds no pixel.
        """
        if isinstance(window, cls):
            return window
        parsed = cls.__new__(cls)
        try:
            parsed._set(*_bounds(window))
        except InvalidWindow as error:
            raise error.at(path) from None
        return parsed

    @classmethod
    def from_bounds(
        cls, bounds: Sequence[float], transform: Sequence[float], shape: tuple[int, int], *, nearest: bool = False
    ) -> Self:
        """Return the pixels of an image under a box on the map.

        Parameters
        ----------
        bounds : sequence of float
            Smallest x, smallest y, largest x, largest y, in the reference system of the image.
        transform : sequence of float
            Coefficients a to f, from corners of pixels to the map, as in rasterio: x = a*col + b*row + c,
            y = d*col + e*row + f.
        shape : (int, int)
            Rows and columns of the image.
        nearest : bool
            True to return the nearest pixels, if the box does not meet the image.

        Raises
        ------
        OutsideImage
            The box does not meet the image.
        """
        a, b, c, d, e, f = transform
        corners = [(x - c, y - f) for x in bounds[::2] for y in bounds[1::2]]
        area = a * e - b * d
        rows = _touched([(a * y - d * x) / area for x, y in corners], shape[0], nearest)
        return cls(rows, _touched([(e * x - b * y) / area for x, y in corners], shape[1], nearest))

    def __str__(self) -> str:
        return ",".join(f"{start}:{stop}" for start, stop in self)

    def __repr__(self) -> str:
        return f"Window({', '.join(map(repr, self.as_tuple()))})"

    def __iter__(self) -> Iterator[PixelRange]:
        return iter((self.rows, self.columns))

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns."""
        return self.rows.size, self.columns.size

    def as_tuple(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return ((row_start, row_stop), (col_start, col_stop))."""
        return (self.rows.start, self.rows.stop), (self.columns.start, self.columns.stop)

    def at_level(self, rlevel: int) -> Self:
        """Return the window at a resolution level, in its pixels.

        The image has no offset, as in Sentinel-2 products.

        Raises
        ------
        InvalidWindow
            The window holds no pixel at this level.
        """
        return type(self)(*([-(-bound >> rlevel) for bound in bounds] for bounds in self))


WindowLike = Window | str | Sequence[Sequence[int]]
"""A window, its text "r0:r1,c0:c1", or ((row_start, row_stop), (col_start, col_stop))."""


def is_whole(value: object) -> TypeGuard[SupportsIndex]:
    """Return whether a value is an integer, but not a bool."""
    # int first: a Protocol takes 5 us to check, which counts in a manifest of a million rows.
    return type(value) is int or (isinstance(value, SupportsIndex) and not isinstance(value, bool))


def _touched(positions: list[float], size: int, nearest: bool) -> tuple[int, int]:
    """Return the rows or columns between positions, within the image."""
    is_outside = max(positions) <= 0 or min(positions) >= size
    if not all(map(math.isfinite, positions)) or (is_outside and not nearest):
        raise OutsideImage("", "the area does not meet the image", "jp2batch.inspect tells the bounds of the image")
    start = min(size - 1, max(0, math.floor(min(positions) + _TINY)))
    return start, max(start + 1, min(size, math.ceil(max(positions) - _TINY)))


def _bounds(window: object) -> list[int]:
    """Return the four bounds of a window from text or two pairs."""
    if isinstance(window, str):
        match = _TEXT.fullmatch(window) if len(window) <= _LONGEST_TEXT else None
        if match:
            return list(map(int, match.groups()))
        bounds: list[Any] = []
    else:
        bounds = _flattened(window)
    if len(bounds) != 4 or not all(map(is_whole, bounds)):
        raise InvalidWindow("", f"window {described(window)} cannot be read", _HINT)
    return list(map(int, bounds))


def _flattened(window: object) -> list[Any]:
    try:
        (r0, r1), (c0, c1) = cast(Any, window)
        return [r0, r1, c0, c1]
    except (TypeError, ValueError):
        return []
