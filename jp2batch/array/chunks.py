"""Chunks of lazy arrays: whole tiles, which are read and decoded once."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import xarray as xr

from jp2batch.array.cautions import warn_user
from jp2batch.array.chunk_lengths import grouped
from jp2batch.array.facts import source_of
from jp2batch.core.errors import InvalidRequest

_EDGES = "tile_edges"
_SHORTEST = "shortest_chunks"


def with_chunks(
    array: xr.DataArray,
    chunks: Mapping[str, object],
    edges: Mapping[str, Sequence[int]],
    shortest: Mapping[str, int] | None = None,
) -> xr.DataArray:
    """Return an array with preferred chunks, and edges of tiles for `chunked`.

    Parameters
    ----------
    array : DataArray
        A lazy array.
    chunks : mapping
        Preferred chunks by dimension.
    edges : mapping
        Positions of the edges of tiles along y and x.
    shortest : mapping, optional
        Shortest chunks of a part along other dimensions; by default 1.
    """
    array.encoding |= {"preferred_chunks": dict(chunks), _EDGES: dict(edges), _SHORTEST: dict(shortest or {})}
    return array


def chunked(array: xr.DataArray, chunks: Any) -> xr.DataArray:
    """Return a lazy array with chunks, specified as for `open`.

    Raises
    ------
    InvalidRequest
        The array lacks a dimension of `chunks`.

    Warns
    -----
    UserWarning
        Chunks cut tiles.
    """
    edges, shortest = array.encoding.pop(_EDGES, {}), array.encoding.pop(_SHORTEST, {})
    if chunks is None:
        return array
    if isinstance(chunks, Mapping) and not set(chunks) <= set(array.dims):
        problem = "chunks name a dimension that the array does not have"
        raise InvalidRequest(source_of(array), problem, f"it has {', '.join(map(str, array.dims))}")
    variable = array.variable
    preferred = array.encoding["preferred_chunks"]
    try:
        cut = preferred if chunks == {} else _automatic(array, chunks, edges)
        cut = variable.chunk(cut).chunksizes
    except (ValueError, TypeError) as error:
        problem = f"it cannot be cut into these chunks ({(str(error) or type(error).__name__).splitlines()[0]})"
        raise InvalidRequest(source_of(array), problem, 'give lengths by dimension, "auto", or {} for tiles') from None
    if chunks != {}:
        _warn_of_cuts(cut, edges, preferred)
    from jp2batch.array.cut_array import CutArray, LazySamples

    samples = LazySamples.of(variable, shortest, edges)
    values = samples.chunked(cut)
    return array.copy(data=CutArray.of(values, samples) if chunks == {} else values)  # coordinates are not chunked


def _automatic(array: xr.DataArray, chunks: Any, edges: Mapping[str, Sequence[int]]) -> Any:
    """Return chunks with "auto" replaced by lengths of whole tiles."""
    from dask.array.core import normalize_chunks

    by_dim = chunks if isinstance(chunks, Mapping) else dict.fromkeys(array.dims, chunks)
    automatic = [dim for dim, length in by_dim.items() if isinstance(length, str) and length == "auto"]
    if not automatic:
        return chunks
    wanted = tuple(by_dim.get(dim, -1) for dim in array.dims)
    lengths = dict(zip(array.dims, normalize_chunks(wanted, array.shape, dtype=array.dtype), strict=True))  # type: ignore[no-untyped-call]
    whole = {dim: grouped(edges[str(dim)], max(lengths[dim])) for dim in automatic if str(dim) in edges}
    return {dim: whole.get(dim, lengths[dim]) for dim in by_dim}


def _warn_of_cuts(
    cut: Mapping[Any, tuple[int, ...]], edges: Mapping[str, Sequence[int]], preferred: Mapping[str, object]
) -> None:
    """Warn if the bounds of chunks lie inside tiles."""
    cuts = [dim for dim, own in edges.items() if {*accumulate(cut[dim])} - {*own}]
    if cuts:
        shown = ", ".join(f"{dim}: {_first(preferred.get(dim))}" for dim in cuts)
        warn_user(
            f"chunks along {' and '.join(cuts)} cut tiles, which are then read and decoded more than once: "
            f"leave chunks out, or give whole tiles, as {{{shown}}}"
        )


def _first(lengths: object) -> object:
    return lengths[0] if isinstance(lengths, tuple) else lengths
