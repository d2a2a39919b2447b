"""Dask arrays of lazy samples, whose parts have chunks of their own.

dask cuts the chunks of an array, and reads each piece for itself: a field at the corner of four chunks would be four
reads of an image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import dask.array
import numpy as np
import xarray as xr
from dask.base import tokenize

from jp2batch.array.chunk_lengths import edges_within, is_single, part_chunks


@dataclass(frozen=True, slots=True)
class LazySamples:
    """Lazy samples of images, with edges for their chunks."""

    variable: xr.Variable
    """The samples, without dask."""
    token: str
    """Name of the whole of which they are a part."""
    shortest: Mapping[str, int]
    """Shortest chunks along other dimensions than y and x; by default 1."""
    edges: Mapping[str, Sequence[int]]
    """Edges of tiles along y and x."""

    @classmethod
    def of(cls, variable: xr.Variable, shortest: Mapping[str, int], edges: Mapping[str, Sequence[int]]) -> Self:
        """Return the lazy samples of a variable."""
        image = getattr(variable._data, "array", None)  # xarray would name chunks by the whole index
        return cls(variable, tokenize(image), shortest, edges)

    def part(self, key: Sequence[int | slice]) -> "LazySamples":
        """Return a part, by whole numbers and slices of step 1."""
        edges = dict(self.edges)
        for dim, at in zip(self.variable.dims, key, strict=False):
            if dim in edges and isinstance(at, slice):
                start, stop, _ = at.indices(self.variable.sizes[dim])
                edges[str(dim)] = edges_within(edges[str(dim)], start, stop)
            elif dim in edges:
                del edges[str(dim)]
        return replace(self, variable=self.variable[tuple(key)], edges=edges)

    @property
    def area(self) -> tuple[int, ...]:
        """Lengths along y and x, as far as these are dimensions."""
        return tuple(self.variable.sizes[dim] for dim in self.edges)

    def chunked(self, lengths: Mapping[Any, Any]) -> Any:
        """Return a dask array with these chunks."""
        cut = self.variable.chunk(lengths).chunksizes
        place = getattr(getattr(self.variable._data, "key", None), "tuple", None)
        return self.variable.chunk(cut, name=f"jp2batch-{tokenize(self.token, place, cut)}").data

    def refitted(self, *, alone: bool = False) -> Any:
        """Return a dask array with chunks of fitting lengths.

        `alone`: each image has its own.
        """
        return self.chunked(part_chunks(self.variable, self.shortest, self.edges, alone=alone))


class CutArray(dask.array.Array):
    """A dask array of lazy samples; a field is read once.

    A part of rows and columns has chunks of its own. All results are plain dask arrays, and so is the array itself once
    something was assigned to it: dask then gives it another name.
    """

    samples: LazySamples
    """The samples behind it, as long as its name is `samples_name`."""
    samples_name: str
    """Name of the array of these samples."""

    @classmethod
    def of(cls, array: Any, samples: LazySamples) -> "CutArray":
        """Return a dask array with the samples behind it."""
        found: CutArray = cls(array.dask, array.name, array.chunks, meta=array._meta)
        found.samples, found.samples_name = samples, found.name
        return found

    def __getitem__(self, index: Any) -> Any:
        if self.name != self.samples_name:
            return self._cut(index)
        key = index if isinstance(index, tuple) else (index,)
        if not all(map(_is_plain, key)):
            together = is_single(self.samples.area) and any(max(lengths) > 1 for lengths in self.chunks[:-2])
            return self.samples.refitted(alone=True)[index] if together else self._cut(index)
        part = self.samples.part(key)
        if 0 in part.variable.shape or part.area == self.samples.area:
            found = self._cut(index)
            return found if found is self else CutArray.of(found, part)
        return CutArray.of(part.refitted(), part)

    def _cut(self, index: Any) -> Any:
        return super().__getitem__(index)  # type: ignore[no-untyped-call]


def _is_plain(index: Any) -> bool:
    """Return whether an index is a number or slice without step."""
    if isinstance(index, slice):
        return index.step in (None, 1)
    return isinstance(index, int | np.integer)
