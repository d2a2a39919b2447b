"""Random coding parameters, and the limits of OpenJPEG's encoder: `random_coding`, `is_encodable`."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

from jp2batch.sample.coding import Coding, Progression
from support.variant_draft import Rng

ORDERS = ("LRCP", "RLCP", "RPCL", "PCRL", "CPRL")
_SMALL = 400  # samples of a tile: OpenJPEG's encoder writes beyond its buffer if these take many packets


def random_coding(rng: Rng) -> tuple[Coding, int, tuple[int, int]]:
    """Return a coding, the number of components, and the image's height and width."""

    def pick(*items: Any) -> Any:
        return items[int(rng.integers(len(items)))]

    size = (
        pick(*[(101, 118)] * 2, (64, 64), (129, 130), (200, 90), (1, 1), (1, 50), (37, 1), (7, 5))
        if (rng.random() < 0.5)
        else (int(rng.integers(1, 201)), int(rng.integers(1, 201)))
    )
    tile = pick(None, None, (64, 64), (64, 64), (50, 37), (48, 64), (32, 32), (24, 40), (16, 16), (128, 128))
    if rng.random() < 0.08:
        size, tile = pick((128, 128), (121, 97), (127, 128)), (8, 8)
    image_offset: tuple[int, int] = (0, 0)
    tile_offset: tuple[int, ...] = (0, 0)
    if rng.random() < 0.25:
        image_offset = int(rng.integers(0, 70)), int(rng.integers(0, 70))
        if tile is not None:
            tile_offset = tuple(
                int(rng.integers(max(0, o - t + 1), o + 1)) for o, t in zip(image_offset, tile, strict=True)
            )
    components = pick(1, 1, 1, 2, 3, 3, 4)
    levels = pick(0, 1, 2, 2, 3, 3, 4, 5)
    precincts = pick(None, None, (32, 32), (64, 64), ((64, 32), (16, 16)), ((128, 128), (32, 32)))
    order = pick(*ORDERS)
    bits, signed = pick(
        (8, False), (8, False), (8, True), (12, False), (15, False), (16, False), (16, True), (1, False)
    )
    changes: tuple[Progression, ...] = ()
    if rng.random() < 0.12 and levels:
        middle = int(rng.integers(1, levels + 1))
        changes = (
            Progression(pick(*ORDERS), (0, middle), (0, components)),
            Progression(pick(*ORDERS), (middle, levels + 1), (0, components)),
        )
    coding = Coding(
        tile=tile,
        tile_offset=(tile_offset[0], tile_offset[1]),
        image_offset=image_offset,
        levels=levels,
        code_block=pick((16, 16), (8, 8), (32, 8), (64, 64)) if precincts is None else (16, 16),
        precincts=precincts,
        progression=order,
        changes=changes,
        layers=pick(1, 1, 1, 2, 3, 4),
        reversible=bool(rng.random() < 0.7),
        mct=components >= 3 and bool(rng.random() < 0.5),
        bits=bits,
        signed=signed,
        subsampling=(pick((2, 2), (1, 2), (3, 1)),) * components if rng.random() < 0.07 else None,
        sop=bool(rng.random() < 0.15),
        eph=bool(rng.random() < 0.3),
        plt=True,
        tile_parts=pick("R", "L", "C") if precincts is None and not changes and rng.random() < 0.35 else "",
        raw=True,
    )
    if not coding.reversible and not _suits_97(coding, size):
        coding = replace(coding, reversible=True)
    if has_small_tile(coding, size):
        coding = replace(coding, sop=False, layers=1, levels=min(coding.levels, 2), changes=())
    return coding, components, size


def is_encodable(coding: Coding, size: tuple[int, int]) -> bool:
    """Return whether OpenJPEG can encode with a coding: some are refused, some crash."""
    fits = not has_small_tile(coding, size) or (not coding.sop and coding.layers == 1 and coding.levels <= 2)
    return _has_sane_tiles(coding, size) and fits and (coding.reversible or _suits_97(coding, size))


def _axes(coding: Coding, size: tuple[int, int]) -> Iterator[list[int]]:
    """Iterate over the edges of tiles, of columns and then of rows, in the samples of the first component."""
    sampling = coding.subsampling[0] if coding.subsampling else (1, 1)
    for axis, step in enumerate(sampling):
        start, length = coding.image_offset[axis], size[1 - axis]
        tile = coding.tile[axis] if coding.tile else start + length
        edges = range(coding.tile_offset[axis] + tile, start + length, tile)
        yield [-(-edge // step) for edge in (start, *edges, start + length)]


def _spans(edges: list[int], levels: int) -> Iterator[int]:
    """Iterate over the lengths of tiles along an axis, at each resolution level."""
    for first, last in pairwise(edges):
        for level in range(levels + 1):
            yield -(-last // (1 << level)) - -(-first // (1 << level))


def _suits_97(coding: Coding, size: tuple[int, int]) -> bool:
    """Return whether OpenJPEG's 9/7 encoder works: rows or columns of 1 sample crash it."""
    return all(span > 1 for edges in _axes(coding, size) for span in _spans(edges, coding.levels))


def has_small_tile(coding: Coding, size: tuple[int, int]) -> bool:
    """Return whether a tile is too small for the packet buffer of OpenJPEG's encoder."""
    columns, rows = (min(_spans(edges, 0)) for edges in _axes(coding, size))
    return columns * rows < _SMALL


def _has_sane_tiles(coding: Coding, size: tuple[int, int]) -> bool:
    counts = [len(edges) - 1 for edges in _axes(coding, size)]
    late_start = coding.tile_parts and any(coding.image_offset)  # OpenJPEG cannot divide some of these
    filled = all(span > 0 for edges in _axes(coding, size) for span in _spans(edges, 0))
    deep = all(1 << coding.levels <= side for side in coding.tile or size)
    return counts[0] * counts[1] <= 260 and filled and deep and not late_start
