"""Lengths of chunks: groups of tiles, or several small images."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import xarray as xr

_CHUNK = 2048  # approximate rows and columns of a group of tiles: some MB, to keep the chunks of a large cube few
_LARGEST = 4096  # rows and columns of a square that is a single chunk
_TOGETHER = 16  # images of a chunk; they are read concurrently
_BYTES = 32_000_000  # of a chunk of several images


def grouped(bounds: Sequence[int], longest: int | None = None) -> tuple[int, ...]:
    """Return the lengths of groups of neighbouring tiles, from tile bounds.

    A group is not longer than `longest`, by default that of a chunk, unless it is a single tile.
    """
    longest = _CHUNK if longest is None else longest
    edges = [bounds[0]]
    for bound, following in pairwise([*bounds[1:], math.inf]):
        if following - edges[-1] > longest:
            edges.append(int(bound))
    return tuple(stop - start for start, stop in pairwise(edges))


def edges_within(edges: Sequence[int], start: int, stop: int) -> list[int]:
    """Return the edges of tiles in a part of an axis."""
    return [0, *(edge - start for edge in edges if start < edge < stop), stop - start]


def is_single(area: Sequence[int]) -> bool:
    """Return whether rows and columns are a single chunk."""
    return math.prod(area) <= _LARGEST**2


def part_chunks(
    variable: xr.Variable, shortest: Mapping[str, int], edges: Mapping[str, Sequence[int]], *, alone: bool = False
) -> dict[str, Any]:
    """Return the lengths of chunks of a part of images.

    The rows and columns of an image are a single chunk, unless they are many. If they are few, a chunk has several
    images, first of all bands, then of several times.

    Parameters
    ----------
    variable : xarray.Variable
        The part.
    shortest : mapping
        Shortest chunks along other dimensions than y and x.
    edges : mapping
        Positions of the edges of tiles along y and x.
    alone : bool
        True for the shortest chunks along other dimensions.
    """
    area = [bounds[-1] for bounds in edges.values()]
    others = {
        str(dim): min(size, shortest.get(str(dim), 1)) for dim, size in variable.sizes.items() if dim not in edges
    }
    if not is_single(area):
        return others | {dim: grouped(bounds) for dim, bounds in edges.items()}
    room = 0 if alone else min(_TOGETHER, _BYTES // (math.prod(area) * variable.dtype.itemsize))
    for dim in sorted(others):  # bands before times
        others[dim] = max(others[dim], min(variable.sizes[dim], room))
        room //= others[dim]
    return others | {dim: bounds[-1] for dim, bounds in edges.items()}
