"""Align images of different pixel sizes by their resolution levels.

Samples of the aligned images remain a fraction of a sample apart.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jp2batch.array.cube.grid import AxisSpan, Lattice, PlacedImage, SampleGrid, place_in
from jp2batch.core.errors import CubeMismatch
from jp2batch.core.map_area import MapArea
from jp2batch.core.request import LOWEST
from jp2batch.image.georeference import Georeference
from jp2batch.image.header import Head
from jp2batch.image.map_area import area_rlevel
from jp2batch.image.open import naming
from jp2batch.jpeg2000.geometry.grid import Selection, select


@dataclass(frozen=True, slots=True)
class AlignedImage:
    """An image at its resolution level for the grid of a cube."""

    head: Head
    """The image."""
    place: Georeference
    """Georeference of the image."""
    selection: Selection
    """Selection of all samples at this level."""

    @property
    def pixel(self) -> float:
        """Size of pixels in the full image, in units of the CRS."""
        return abs(self.place.transform[0])

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of samples."""
        return self.selection.area.height, self.selection.area.width

    @property
    def first(self) -> tuple[float, float]:
        """Coordinates y and x of the first sample."""
        a, _, c, _, e, f = self.place.transform
        row, column = self.selection.first
        return f + e * (row + 0.5), c + a * (column + 0.5)


def place_all(heads: Sequence[Head], rlevel: int, area: MapArea | None = None) -> list[AlignedImage]:
    """Choose resolution levels for an equal spacing of samples in all images.

    Parameters
    ----------
    heads : sequence of Head
        Headers of the images, at least one.
    rlevel : int
        Resolution levels to drop of the images with the largest pixels; the others drop more. -1: as many as possible.
    area : MapArea, optional
        Its resolution, if any, replaces `rlevel`.

    Raises
    ------
    CubeMismatch
        The images differ in area or coordinate reference system, or no levels match.
    """
    places = [place_in(head) for head in heads]
    _check_same_corner(heads, places)
    finer = _finer(heads, places)
    most = min(head.header.levels - steps for head, steps in zip(heads, finer, strict=True))
    if area is not None:
        coarsest = max(places, key=lambda place: abs(place.transform[0]))
        with naming(heads[0].path):
            rlevel = area_rlevel(area, coarsest, most, rlevel)
    level = most if rlevel == LOWEST else rlevel
    if not 0 <= level <= most:
        worst = min(zip(heads, finer, strict=True), key=lambda pair: pair[0].header.levels - pair[1])[0]
        valid = f"rlevel -1 (lowest) to {most}" if most >= 0 else "bands of more similar pixel sizes"
        raise CubeMismatch(worst.path, f"has too few resolution levels for a cube at rlevel {level}", f"take {valid}")
    found = [
        AlignedImage(head, place, select(head.header, level + steps))
        for head, place, steps in zip(heads, places, finer, strict=True)
    ]
    _check_same_shape(found)
    return found


def aligned(placed: Sequence[AlignedImage], align: str) -> tuple[list[PlacedImage], SampleGrid]:
    """Return images on the grid of the largest pixels.

    Parameters
    ----------
    placed : sequence of AlignedImage
        The images, of equal shape.
    align : {"snap", "linear"}
        "linear" to interpolate samples at the positions of the largest pixels.
    """
    base = reference(placed)
    a, _, c, _, e, f = base.place.transform
    (row, column), step = base.selection.first, base.selection.step
    lattice = Lattice(base.place.crs_wkt, (f + e * row, c + a * column), (e * step, a * step))
    rows, columns = (AxisSpan(0, size) for size in base.shape)
    found = [
        PlacedImage(
            one.head,
            one.selection,
            lattice,
            rows,
            columns,
            offset(one, base) if align == "snap" else (0.0, 0.0),
            (0.0, 0.0) if align == "snap" or one.first == base.first else _shift(one, base),
        )
        for one in placed
    ]
    area = select(base.head.header, 0).area
    return found, SampleGrid(base.head.path, base.place, base.selection, (area.height, area.width))


def _shift(one: AlignedImage, base: AlignedImage) -> tuple[float, float]:
    """Return the shift to the samples of another image."""
    (y, x), (a, e) = offset(one, base), (one.place.transform[0], one.place.transform[4])
    return -y / (e * one.selection.step), -x / (a * one.selection.step)


def reference(placed: Sequence[AlignedImage]) -> AlignedImage:
    """Return the image with the largest pixels, whose coordinates the cube has."""
    return max(placed, key=lambda one: one.pixel)


def offset(one: AlignedImage, other: AlignedImage) -> tuple[float, float]:
    """Return the offset between samples of two images in (y, x)."""
    (y, x), (other_y, other_x) = one.first, other.first
    return y - other_y, x - other_x


def _check_same_corner(heads: Sequence[Head], places: Sequence[Georeference]) -> None:
    corners = [(place.crs_wkt, place.transform[2], place.transform[5]) for place in places]
    for head, corner in zip(heads, corners, strict=True):
        if corner != corners[0]:
            problem = f"differs from {heads[0].path} in its corner or coordinate reference system"
            raise CubeMismatch(head.path, problem, "a cube has one grid: open a cube for each tile, with by_tile=True")


def _finer(heads: Sequence[Head], places: Sequence[Georeference]) -> list[int]:
    """Return the additional resolution levels to drop of each image.

    They are relative to the images with the largest pixels.
    """
    pixels = [abs(place.transform[0]) for place in places]
    coarsest = max(pixels)
    found = []
    for head, pixel in zip(heads, pixels, strict=True):
        steps = round(math.log2(coarsest / pixel))
        if not math.isclose(pixel * 2**steps, coarsest, rel_tol=1e-9):
            problem = f"has pixels of {pixel:g}, which no rlevel turns into the {coarsest:g} of another image"
            hint = "take bands of 10 and 20 m, or all of 60 m: open_cube(…, metres=60) for products of level 2A"
            raise CubeMismatch(head.path, problem, hint)
        found.append(steps)
    return found


def _check_same_shape(placed: Sequence[AlignedImage]) -> None:
    wanted = reference(placed)
    for one in placed:
        if one.shape != wanted.shape:
            rows, columns = one.shape
            problem = f"has {rows} x {columns} samples at rlevel {one.selection.rlevel}"
            others = f"{wanted.head.path} {wanted.shape[0]} x {wanted.shape[1]}"
            raise CubeMismatch(one.head.path, f"{problem}, and {others}", "leave one of them out of the cube")
