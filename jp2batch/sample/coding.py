"""Coding of a sample image, checked for OpenJPEG."""

import math
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jp2batch.core.errors import EncodingError
from jp2batch.core.value_range import are_within

Size = tuple[int, int]
"""(width, height) or (column, row): x first, as in the standard."""
_BYPASS, _TERMINATE_ALL = 1, 4  # code-block styles
ORDERS = ("LRCP", "RLCP", "RPCL", "PCRL", "CPRL")


@dataclass(frozen=True, slots=True)
class Progression:
    """A progression order change: a row of a POC marker segment (A.6.6)."""

    order: str
    """Progression order of these packets, such as "RLCP"; for all layers."""
    resolutions: tuple[int, int]
    """RSpoc and REpoc: first resolution, and last + 1."""
    components: tuple[int, int]
    """CSpoc and CEpoc: first component, and last + 1."""


@dataclass(frozen=True, slots=True)
class Coding:
    """Coding parameters; by default ESA's for a 60 m band."""

    tile: Size | None = (192, 192)
    """XTsiz, YTsiz; None: a single tile."""
    tile_offset: Size = (0, 0)
    """XTOsiz, YTOsiz."""
    image_offset: Size = (0, 0)
    """XOsiz, YOsiz."""
    levels: int = 4
    """Decomposition levels N_L, for N_L + 1 resolutions."""
    code_block: Size = (4, 4)
    """Nominal width and height of a code-block.

    Powers of two from 4, the product at most 4096.
    """
    precincts: Size | tuple[Size, ...] | None = (64, 64)
    """Width and height of a precinct, for all resolutions or for each.

    Sizes for each resolution start with the highest; the last size is halved for each lower resolution. None: the
    maximum size.
    """
    progression: str = "LRCP"
    """Progression order."""
    changes: tuple[Progression, ...] = ()
    """Progression order changes of the first tile.

    OpenJPEG writes them into its tile-part header; the other tiles keep `progression`. Each resolution of each
    component must belong to exactly one change: OpenJPEG would write a packet of two changes twice.
    """
    style: int = 0
    """Code-block style, the sum of T.800 table A.19.

    1: bypass of the arithmetic coder, 2: reset of contexts, 4: termination at each pass, 8: vertically causal contexts,
    16: predictable termination, 32: segmentation symbols.
    """
    layers: int = 1
    """Number of quality layers.

    Without `rates`, the last layer has the rest; each layer before has half of the following.
    """
    rates: tuple[float, ...] = ()
    """Compression ratio at the end of each layer.

    They decrease; 1 means the rest, as in `opj_compress -r`.
    """
    reversible: bool = True
    """True for the 5/3 transform, without loss; False for the 9/7."""
    mct: bool = False
    """True to apply the multiple component transformation to three components."""
    bits: int = 15
    """Precision of a sample in bits, Ssiz + 1."""
    signed: bool = False
    """True for signed samples."""
    subsampling: tuple[Size, ...] | None = None
    """XRsiz, YRsiz of each component; None: 1, 1 for all."""
    sop: bool = False
    """True to write start-of-packet marker segments."""
    eph: bool = False
    """True to write end-of-packet-header markers."""
    plt: bool = True
    """True to write packet lengths into the tile-part headers."""
    tlm: bool = False
    """True to write tile-part lengths into the main header."""
    tile_parts: Literal["", "R", "L", "C"] = ""
    """Start a tile-part at each resolution, layer, component, or only tile.

    With `precincts`, only the first letter of `progression` is possible; with `changes`, none.
    """
    raw: bool = False
    """True for a codestream without JP2 boxes."""


ESA_60M = Coding()


def check(planes: NDArray[np.generic], coding: Coding) -> None:
    """Refuse codings for which OpenJPEG silently writes a damaged file."""
    if not 1 <= coding.bits <= 31:
        raise EncodingError("", f"OpenJPEG has no samples of {coding.bits} bits", "take 1 to 31")
    lowest = -(1 << coding.bits - 1) if coding.signed else 0
    highest = lowest + (1 << coding.bits) - 1
    if planes.ndim != 3 or not planes.size or planes.dtype.kind not in "iub":
        raise EncodingError("", f"{planes.dtype} of shape {planes.shape} is no image", "give integers, (bands, y, x)")
    if not are_within(planes, lowest, highest):
        raise EncodingError("", f"samples are outside {lowest} … {highest}", "clip them, or raise Coding.bits")
    if not (0 <= coding.levels <= 32 and 1 <= coding.layers <= 100):
        raise EncodingError("", f"{coding.levels} levels, {coding.layers} layers", "take 0 to 32 and 1 to 100")
    if coding.subsampling is not None and len(coding.subsampling) != len(planes):
        raise EncodingError(
            "", f"{len(coding.subsampling)} subsamplings, {len(planes)} components", "give one for each"
        )
    if not all(1 <= step <= 255 for steps in coding.subsampling or () for step in steps):
        raise EncodingError("", "a step of subsampling is not between 1 and 255", "change Coding.subsampling")
    if not 0 <= coding.style < 64:
        raise EncodingError("", f"OpenJPEG has no code-block style {coding.style}", "take a sum of 1, 2, 4, 8, 16, 32")
    _check_rates(coding)
    _check_grid(coding)
    _check_progression(coding, len(planes))
    _check_tiles(coding, planes.shape[1:])


def _check_rates(coding: Coding) -> None:
    """Refuse rates for which OpenJPEG would merely warn, or write other layers."""
    if not coding.rates:
        return
    if len(coding.rates) != coding.layers:
        raise EncodingError("", f"{len(coding.rates)} rates, {coding.layers} layers", "give a rate for each layer")
    falling = all(ratio > following for ratio, following in pairwise(coding.rates))
    if not falling or not all(1 <= ratio < math.inf for ratio in coding.rates):
        raise EncodingError("", "rates are not decreasing ratios from 1", "give for instance (40, 20, 10)")


def _check_grid(coding: Coding) -> None:
    far = (1 << 32, 1 << 32)
    corners = zip(coding.tile_offset, coding.image_offset, coding.tile or far, strict=True)
    if not all(0 <= tile <= image < tile + size for tile, image, size in corners):
        raise EncodingError("", "the first tile is empty", "place the image offset in it (B-3, B-4)")


def _check_tiles(coding: Coding, shape: tuple[int, ...]) -> None:
    """Refuse sizes at which OpenJPEG writes damaged files or aborts."""
    steps = set(coding.subsampling or [(1, 1)])
    spans = {step: (_spans(coding, 0, shape[1], step[0]), _spans(coding, 1, shape[0], step[1])) for step in steps}
    for step, (columns, rows) in spans.items():
        if columns[0][0] == columns[1][-1] or rows[0][0] == rows[1][-1]:
            raise EncodingError("", f"subsampling by {step[0]}, {step[1]} leaves no sample", "make the image larger")
    if not any(np.all([start[0] < stop[0] for start, stop in span]) for span in spans.values()):
        raise EncodingError("", "the first tile is empty", "choose other tiles or another subsampling")
    for step, (columns, rows) in spans.items():
        width = int(columns[1][-1] - columns[0][0])
        if width != -(-shape[1] // step[0]) and len(columns[0]) * len(rows[0]) > 1:
            # OpenJPEG takes the second for the length of rows, and hence encodes other samples.
            raise EncodingError("", f"OpenJPEG cannot subsample tiles by {step[0]} here", "move the image, or widen it")
        if _transform_fails(coding, columns, rows):
            raise EncodingError("", "OpenJPEG cannot transform an empty resolution", "lower the levels")
        if _terminations_exceed(coding, _smallest_block(coding, columns, rows)):
            hint = "lower the bits, choose another size, or leave out style 4"
            raise EncodingError("", "OpenJPEG cannot terminate each pass of so small code-blocks", hint)


def _spans(coding: Coding, axis: int, extent: int, step: int) -> NDArray[np.int64]:
    """Return starts and stops of tile-components along an axis (B-12)."""
    start, first = coding.image_offset[axis], coding.tile_offset[axis]
    size = coding.tile[axis] if coding.tile else start + extent - first
    tiles = np.arange(first, start + extent, size)
    return -(-np.stack([np.maximum(tiles, start), np.minimum(tiles + size, start + extent)]) // step)


def _transform_fails(coding: Coding, columns: NDArray[np.int64], rows: NDArray[np.int64]) -> bool:
    """Return whether OpenJPEG fails at a resolution without samples.

    This concerns dwt.c of OpenJPEG 2.5, at a resolution with rows but no columns, or the reverse. Without columns, the
    9/7 transform fails an assertion, and the 5/3 transform overwrites other samples if the columns start at an odd
    coordinate. Without rows, the 5/3 transform needs a buffer of two rows, but has a single row if no side of the
    tile-component is longer.
    """
    single_column, single_row = (stop - start <= 1 for start, stop in (columns, rows))
    for level in range(coding.levels):
        (left, right), (top, bottom) = (-(-span >> level) for span in (columns, rows))
        no_column, no_row = left == right, top == bottom
        lost = no_column & (left % 2 == 1) if coding.reversible else no_column
        if lost.any() and not no_row.all():
            return True
        if coding.reversible and (no_row & single_row).any() and (~no_column & single_column).any():
            return True
    return False


def _terminations_exceed(coding: Coding, block: int) -> bool:
    """Return whether terminated passes may exceed OpenJPEG's buffer of a code-block.

    This concerns tcd.c and mqc.c of OpenJPEG 2.5.0: the buffer has 28 bytes and four for each sample, and a termination
    takes up to two bytes. The 9/7 transform has finer steps at lower resolutions.
    """
    planes = coding.bits + 3 + (0 if coding.reversible else coding.levels)
    if coding.style & _TERMINATE_ALL:
        terminations = 3 * planes - 2
    elif coding.style & _BYPASS and coding.bits > 16:
        terminations = 2 * (planes - 4)
    else:
        return False
    return 2 * terminations + block * planes / 8 > 28 + 4 * block


def _smallest_block(coding: Coding, columns: NDArray[np.int64], rows: NDArray[np.int64]) -> int:
    """Return the samples of the smallest code-block of a component, or fewer."""
    smallest = min(coding.code_block[0], columns.max()) * min(coding.code_block[1], rows.max())
    for level in range(min(coding.levels, 1), coding.levels + 1):
        sides = (_shortest(span, level, coding, axis) for axis, span in enumerate((columns, rows)))
        smallest = min(smallest, math.prod(sides))
    return int(smallest)


def _shortest(span: NDArray[np.int64], level: int, coding: Coding, axis: int) -> int:
    """Return the length of the shortest code-block of subbands along an axis."""
    offsets = np.array([0, 1 << level - 1])[:, None, None] if level else np.zeros((1, 1, 1), np.int64)
    start, stop = (-(-(span - offsets) >> level)).swapaxes(0, 1)  # B-15, low-pass and high-pass
    size = coding.code_block[axis]
    if coding.precincts:
        sizes = np.array(coding.precincts).reshape(-1, 2)[:, axis]
        lower = coding.levels + 1 - len(sizes) if isinstance(coding.precincts[0], tuple) else 0
        narrowest = min(int(sizes.min()), int(sizes[-1]) >> max(0, lower)) // 2  # of subbands
        size = max(1, min(size, narrowest))
    first = np.minimum(stop, (start // size + 1) * size) - start
    last = stop - np.maximum(start, (stop - 1) // size * size)
    return int(np.minimum(first, last)[stop > start].min(initial=size))


def _check_progression(coding: Coding, components: int) -> None:
    if not {coding.progression, *(change.order for change in coding.changes)} <= set(ORDERS):
        raise EncodingError("", "unknown progression order", f"take one of {', '.join(ORDERS)}")
    changed = [
        pair for change in coding.changes for pair in product(range(*change.resolutions), range(*change.components))
    ]
    if len(coding.changes) > 32:
        raise EncodingError("", f"{len(coding.changes)} progression order changes", "OpenJPEG takes at most 32")
    if coding.changes and sorted(changed) != list(product(range(coding.levels + 1), range(components))):
        raise EncodingError("", "the progression order changes overlap or lack packets", "give each packet one change")
    simple = not coding.changes and (coding.precincts is None or coding.tile_parts == coding.progression[0])
    if coding.tile_parts and not simple:
        raise EncodingError("", "OpenJPEG cannot make these tile-parts", "leave out precincts and changes")
