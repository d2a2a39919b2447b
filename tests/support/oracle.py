"""Expected pixels: OpenJPEG's decode of the whole file, and slices of it."""

import itertools

import numpy as np
from numpy.typing import NDArray

from jp2batch.core.window import Window, WindowLike
from jp2batch.image import openjpeg
from jp2batch.storage.source import MemorySource


def ceil_div(value: int, divisor: int) -> int:
    return -(-value // divisor)


class Oracle:
    """A whole image, decoded by OpenJPEG at every resolution level.

    Parameters
    ----------
    data : bytes
        The file.
    offset : (int, int)
        Row and column of the first sample: (YOsiz, XOsiz) divided by the subsampling, rounded up.
    shape : (int, int, int)
        Bands, rows, columns.
    dtype : str
        Expected type of the samples.
    """

    def __init__(self, data: bytes, offset: tuple[int, int], shape: tuple[int, int, int], dtype: str) -> None:
        self.data, self.offset, self.shape, self.dtype = data, offset, shape, np.dtype(dtype)
        self._levels: dict[int, NDArray] = {}

    def at(self, rlevel: int) -> NDArray:
        if rlevel not in self._levels:
            sizes = [
                ceil_div(start + size, 1 << rlevel) - ceil_div(start, 1 << rlevel)
                for start, size in zip(self.offset, self.shape[1:], strict=True)
            ]
            out = np.zeros((self.shape[0], *sizes), self.dtype)
            openjpeg.decode(self.data, out, reduce=rlevel)
            self._levels[rlevel] = out
        return self._levels[rlevel]

    def window(self, rlevel: int, window: WindowLike) -> NDArray:
        rows, columns = (
            slice(*(ceil_div(first + bound, 1 << rlevel) - ceil_div(first, 1 << rlevel) for bound in bounds))
            for first, bounds in zip(self.offset, Window.parse(window), strict=True)
        )
        return self.at(rlevel)[:, rows, columns]


def random_window(rng: np.random.Generator, shape: tuple[int, int]) -> Window:
    bounds = []
    for size in shape:
        start = int(rng.integers(0, size))
        bounds.append((start, int(rng.integers(start + 1, size + 1))))
    return Window(*bounds)


def verify_fetched_once(source: MemorySource) -> None:
    """Verify that no byte is requested twice."""
    ranges = sorted(source.ranges)
    for (_, stop), (start, _) in itertools.pairwise(ranges):
        assert stop <= start, f"bytes {start} to {stop} were asked for twice"
