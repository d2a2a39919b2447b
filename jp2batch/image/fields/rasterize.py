"""Samples of points and polygons on a grid, as runs along rows.

Coordinates are in samples: the first sample reaches from 0 to 1, and its centre is at 0.5. A point belongs to the
sample around it. A polygon has the samples whose centres are inside, by the rule of even and odd crossings as in GDAL.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jp2batch.jpeg2000.geometry.runs import Numbers, Runs, expanded


@dataclass(frozen=True, slots=True, eq=False)
class FieldRuns:
    """Runs of samples, in the order of fields, rows and columns."""

    fields: Numbers
    """Index of each field on the grid, sorted."""
    counts: Numbers
    """Number of samples of each; 0 of a polygon between the centres."""
    runs: Runs


@dataclass(frozen=True, slots=True, eq=False)
class _Edges:
    """Edges of polygons: start, stop, field."""

    x0: NDArray[np.float64]
    y0: NDArray[np.float64]
    x1: NDArray[np.float64]
    y1: NDArray[np.float64]
    field: Numbers

    @classmethod
    def of(cls, polygons: Any, fields: Numbers) -> "_Edges":
        """Return the edges of all rings, downwards."""
        import shapely

        rings, polygon = shapely.get_rings(polygons, return_index=True)
        points, ring = shapely.get_coordinates(rings, return_index=True)
        is_edge = ring[1:] == ring[:-1]
        start, stop = points[:-1][is_edge], points[1:][is_edge]
        upwards = start[:, 1] > stop[:, 1]
        start[upwards], stop[upwards] = stop[upwards].copy(), start[upwards].copy()
        return cls(start[:, 0], start[:, 1], stop[:, 0], stop[:, 1], fields[polygon][ring[:-1][is_edge]])

    def at(self, edge: Numbers, y: Any) -> NDArray[np.float64]:
        """Return the columns of edges at some heights."""
        x0, y0, height = self.x0[edge], self.y0[edge], self.y1[edge] - self.y0[edge]
        found: NDArray[np.float64] = x0 + (y - y0) * (self.x1[edge] - x0) / np.where(height > 0, height, 1)
        return found


def rasterize(shapes: Any, fields: Numbers, shape: tuple[int, int], *, all_touched: bool = False) -> FieldRuns:
    """Return the samples of fields.

    Parameters
    ----------
    shapes : array of shapely geometries
        Points and polygons, single or multiple, in samples.
    fields : ndarray
        Index of the field of each.
    shape : (int, int)
        Rows and columns of the grid.
    all_touched : bool
        True for all samples that a polygon overlaps, not only those with centres inside.
    """
    import shapely

    some, whole = shapely.get_parts(shapes, return_index=True)
    parts, inner = shapely.get_parts(some, return_index=True)  # of collections
    whole, kind = fields[whole[inner]], shapely.get_dimensions(parts)
    found = [_of_points(parts[kind == 0], whole[kind == 0])]
    if (kind == 2).any():
        edges = _Edges.of(parts[kind == 2], whole[kind == 2])
        found += [_filled(edges, shape)] + ([_crossed(edges, shape)] if all_touched else [])
    field, y, x0, x1 = (np.concatenate(values) for values in zip(*found, strict=True))
    x0, x1 = np.clip(x0, 0, shape[1]), np.clip(x1, 0, shape[1])
    inside = (x0 < x1) & (y >= 0) & (y < shape[0])
    field, runs = _merged(field[inside], y[inside], x0[inside], x1[inside], shape[1])
    near = np.union1d(field, fields[shapely.intersects(shapes, shapely.box(0, 0, shape[1], shape[0]))])
    near = near[np.isin(near, field) | np.isin(near, whole[kind == 2])]  # a point on the last edge is in no sample
    counts = np.zeros(len(near), np.int64)
    np.add.at(counts, np.searchsorted(near, field), runs.lengths)
    return FieldRuns(near, counts, runs)


Spans = tuple[Numbers, Numbers, Numbers, Numbers]
"""Field, row, start and stop of each run."""


def _of_points(points: Any, fields: Numbers) -> Spans:
    import shapely

    x, y = np.floor(shapely.get_coordinates(points)).astype(np.int64).T
    return fields, y, x, x + 1


def _filled(edges: _Edges, shape: tuple[int, int]) -> Spans:
    """Return the samples with centres inside."""
    first, last = (np.clip(np.ceil(y - 0.5), 0, shape[0]).astype(np.int64) for y in (edges.y0, edges.y1))
    edge, number = expanded(last - first)
    row = first[edge] + number
    x = edges.at(edge, row + 0.5)
    order = np.lexsort((x, row, edges.field[edge]))
    bound = np.floor(x[order] + 0.5).astype(np.int64)
    return edges.field[edge][order][::2], row[order][::2], bound[::2], bound[1::2]


def _crossed(edges: _Edges, shape: tuple[int, int]) -> Spans:
    """Return the samples crossed by edges."""
    first = np.clip(np.floor(edges.y0), 0, shape[0]).astype(np.int64)
    last = np.clip(np.maximum(np.ceil(edges.y1), np.floor(edges.y0) + (edges.y0 % 1 > 0)), 0, shape[0])
    edge, number = expanded(np.maximum(last.astype(np.int64) - first, 0))
    row = first[edge] + number
    ends = [edges.at(edge, np.clip(y, edges.y0[edge], edges.y1[edge])) for y in (row, row + 1)]
    level = edges.y0[edge] == edges.y1[edge]
    ends = [ends[0], np.where(level, edges.x1[edge], ends[1])]
    low, high = np.minimum(*ends), np.maximum(*ends)
    x0 = np.floor(low)
    x1 = np.where(low == high, x0 + (low % 1 > 0), np.ceil(high))  # an edge between two columns crosses neither
    return edges.field[edge], row, x0.astype(np.int64), x1.astype(np.int64)


def _merged(field: Numbers, y: Numbers, x0: Numbers, x1: Numbers, width: int) -> tuple[Numbers, Runs]:
    """Return fields and runs in order, with touching runs merged."""
    order = np.lexsort((x0, y, field))
    field, y, x0, x1 = field[order], y[order], x0[order], x1[order]
    line = np.cumsum((np.diff(field, prepend=-1) != 0) | (np.diff(y, prepend=-1) != 0)) * (width + 1)
    reach = np.maximum.accumulate(x1 + line)
    begins = np.flatnonzero(x0[1:] + line[1:] > reach[:-1]) + 1
    first = np.concatenate([[0], begins]).astype(np.int64)[: len(y)]
    last = np.concatenate([begins - 1, [len(y) - 1]])[: len(y)]
    return field[first], Runs.of(y[first], x0[first], reach[last] - line[last])
