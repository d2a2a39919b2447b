"""A decoder without OpenJPEG: samples from coordinates, limits from the test."""

import contextlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import dask
import numpy as np

from jp2batch.core.errors import CorruptImage, UnsupportedImage
from jp2batch.image.decoder import Decoder, Samples
from jp2batch.jpeg2000.geometry.grid import Rect

_START = b"\xff\x4f\xff\x51"  # SOC and SIZ


def pattern(area: Rect, band: int = 0) -> np.ndarray:
    """Return the samples of an area of a resolution level, all different from their neighbours."""
    rows, columns = np.mgrid[area.y0 : area.y1, area.x0 : area.x1]
    return rows * 131 + columns * 7 + band


@dataclass(frozen=True)
class Call:
    """Arguments of a call of `decode`."""

    data: bytes
    reduce: int
    area: tuple[int, int, int, int] | None
    grid: Rect
    """The image area of the codestream."""
    tiles: int


@dataclass
class FakeDecoder(Decoder):
    """Compute samples from coordinates, with given limits."""

    around: int | None = 0
    needs: int = 0
    tiles: int = 1 << 14
    warnings: dict[int, str] = field(default_factory=dict)
    """Warnings by the number of the call."""
    fails: int = 0
    """First calls that fail."""
    refuses: str = ""
    channels: tuple[Samples, ...] = ()
    calls: list[Call] = field(default_factory=list)
    asked_memory: list[tuple[int, int, bool]] = field(default_factory=list)
    """rlevel, tiles and dropped of each call of `memory`."""

    def decode(self, codestream, out, *, reduce, origin, area, threads):
        start = bytes(codestream).index(_START)
        x1, y1, x0, y0, dx, dy, ox, oy = struct.unpack_from(">8I", codestream, start + 8)
        across, down = -(-(x1 - ox) // dx), -(-(y1 - oy) // dy)
        self.calls.append(Call(bytes(codestream), reduce, area, Rect(y0, x0, y1, x1), across * down))
        number = len(self.calls)
        if number <= self.fails:
            raise CorruptImage("", "the fake cannot decode it")
        left, top, right, bottom = area or (x0, y0, x1, y1)
        assert x0 <= left < right <= x1
        assert y0 <= top < bottom <= y1
        decoded = Rect(top, left, bottom, right).scaled(1 << reduce, 1 << reduce)
        row, column = origin
        for band, target in enumerate(out):
            height, width = target.shape
            target[...] = pattern(decoded, band)[row : row + height, column : column + width]
        return [self.warnings[number]] if number in self.warnings else []

    def samples(self, codestream, *, reduce):
        return list(self.channels)

    def check(self, header):
        if self.refuses:
            raise UnsupportedImage("", self.refuses)

    def memory(self, header, area, rlevel, *, tiles, dropped, part=None):
        self.asked_memory.append((rlevel, tiles, dropped))
        return self.needs

    def border(self, header, reduce):
        return self.around

    def most_tiles(self, header):
        return self.tiles


_current: list[FakeDecoder] = []


def current() -> FakeDecoder:
    """Return the decoder in use: the value of jp2batch.decoder names this function."""
    return _current[-1]


@contextlib.contextmanager
def decoding_by(decoder: FakeDecoder) -> Iterator[FakeDecoder]:
    """Let all reads in a `with` block use a decoder."""
    _current.append(decoder)
    try:
        with dask.config.set({"jp2batch.decoder": "support.fake_decoder:current"}):
            yield decoder
    finally:
        _current.pop()
