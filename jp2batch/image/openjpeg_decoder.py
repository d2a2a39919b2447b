"""OpenJPEG as a decoder: limits, memory, and the border of a part.

The codestreams made by `jp2batch.jpeg2000` respect some facts about OpenJPEG:

- Reading TLM, 2.5.3 and 2.5.4 write out of bounds (uclouvain/openjpeg issue 1652).
- If TNsot is too small by 1, it is corrected (issue 254); if TNsot is 1, 2.5.1 and later read no further.
- Misplaced boxes are obeyed with a warning; signed entries of palettes become unsigned numbers.
"""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from jp2batch.core.errors import UnsupportedImage
from jp2batch.image import openjpeg
from jp2batch.image.decoder import Decoder, Samples
from jp2batch.jpeg2000.geometry.grid import Rect, ceil_div
from jp2batch.jpeg2000.syntax.coding import CodingStyle
from jp2batch.jpeg2000.syntax.headers import MainHeader

_MOST_BITS = 31
_MOST_TILE_COMPONENTS = 1 << 14  # each takes over a kilobyte before it is decoded
_TILE, _TILE_COMPONENT = 6000, 1500  # bytes for each, as the main header is read
_SPARSE = 16  # bytes for a sample of a part
_ENTRY = 200  # bytes for a code-block, with its tag trees; a precinct of a subband takes as much


class OpenJpegDecoder(Decoder):
    """Decodes by the OpenJPEG library."""

    def load(self) -> None:
        """Load the library."""
        openjpeg.binding()

    def decode(
        self,
        codestream: bytes,
        out: NDArray[np.generic],
        *,
        reduce: int,
        origin: tuple[int, int],
        area: tuple[int, int, int, int] | None,
        threads: int,
    ) -> list[str]:
        """Decode into an array; see `Decoder`."""
        return openjpeg.decode(codestream, out, reduce=reduce, origin=origin, area=area, threads=threads)

    def samples(self, codestream: bytes, *, reduce: int) -> list[Samples]:
        """Return the type of each channel's samples; see `Decoder`."""
        return [Samples(bits, signed) for bits, signed in openjpeg.decoded_samples(codestream, reduce=reduce)]

    def check(self, header: MainHeader) -> None:
        """Refuse samples of too many bits."""
        if (bits := max(c.bits for c in header.siz.components)) > _MOST_BITS:
            problem = f"its samples have {bits} bits, and OpenJPEG decodes up to {_MOST_BITS}"
            raise UnsupportedImage("", problem, "convert it")

    def memory(
        self, header: MainHeader, area: Rect, rlevel: int, *, tiles: int, dropped: bool, part: Rect | None = None
    ) -> int:
        """Estimate the memory for decoding in bytes; see `Decoder`.

        Samples take 32 bits; each precinct and each code-block takes an entry, empty or not: a header can claim one for
        every sample. Each component of each tile takes an entry as well. A part is transformed in sparse arrays.
        """
        total = tiles * (_TILE + _TILE_COMPONENT * len(header.codings))
        alike = Counter(zip(header.siz.components, header.codings, strict=True))
        for (component, coding), components in alike.items():
            full = area.scaled(component.yrsiz, component.xrsiz)
            entries = _entries(coding, full, 0 if dropped else rlevel)
            samples = full.scaled(1 << rlevel, 1 << rlevel)
            decoded = 4 * samples.height * samples.width
            if part is not None:
                some = part.scaled(component.yrsiz, component.xrsiz).scaled(1 << rlevel, 1 << rlevel)
                decoded = min(decoded, _SPARSE * some.height * some.width)
            total += components * (decoded + _ENTRY * entries)
        return total

    def border(self, header: MainHeader, reduce: int) -> int | None:
        """Return the border of a part.

        OpenJPEG adds 3 samples of each subband itself; the 9/7 wavelet needs 4 (see `precincts`).
        """
        if header.htj2k:
            return None
        return max((1 << coding.levels - reduce if coding.transform == 0 else 0) for coding in header.codings)

    def most_tiles(self, header: MainHeader) -> int:
        """Return the maximum number of tiles, by the memory of their components."""
        return _MOST_TILE_COMPONENTS // len(header.siz.components)


def _entries(coding: CodingStyle, full: Rect, rlevel: int) -> int:
    """Return the number of precincts and code-blocks in a component's area.

    The highest `rlevel` resolution levels are left out.
    """
    entries = 0
    for resolution, (ppx, ppy) in enumerate(coding.precincts):
        drop, halved = coding.levels - resolution, resolution > 0
        level = full.scaled(1 << drop, 1 << drop)
        if level.empty or drop < rlevel:
            continue
        xcb, ycb = min(coding.code_block[0], ppx - halved), min(coding.code_block[1], ppy - halved)
        entries += 3 * ceil_div(level.height, 1 << ppy) * ceil_div(level.width, 1 << ppx)
        entries += level.height * level.width >> (xcb + ycb)
    return entries
