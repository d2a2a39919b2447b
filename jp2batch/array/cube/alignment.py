"""Images of different pixel sizes on one grid: the resolution level of each, and what is left between their samples."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jp2batch.core.errors import CubeMismatch
from jp2batch.core.request import LOWEST
from jp2batch.image.georeference import Georeference
from jp2batch.image.header import Head
from jp2batch.jpeg2000.geometry.grid import Selection, select


@dataclass(frozen=True, slots=True)
class AlignedImage:
    """An image at the resolution level that puts it on the grid of a cube."""

    head: Head
    """The image."""
    place: Georeference
    """Where its pixels lie."""
    selection: Selection
    """All of its samples at that level."""

    @property
    def pixel(self) -> float:
        """Size of its pixels."""
        return abs(self.place.transform[0])

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of its samples."""
        return self.selection.area.height, self.selection.area.width

    @property
    def first(self) -> tuple[float, float]:
        """Coordinates y and x of its first sample."""
        a, _, c, _, e, f = self.place.transform
        row, column = self.selection.first
        return f + e * (row + 0.5), c + a * (column + 0.5)


def place_all(heads: Sequence[Head], rlevel: int) -> list[AlignedImage]:
    """Choose the resolution levels that give all images the same spacing of samples.

    Parameters
    ----------
    heads : sequence of Head
        At least one.
    rlevel : int
        Resolution levels to drop of the images with the largest pixels; the others drop more. -1: as many as all have.

    Raises
    ------
    CubeMismatch
        They are not of one area and one coordinate reference system, or no levels match.
    """
    places = [_place_of(head) for head in heads]
    _check_same_corner(heads, places)
    finer = _finer(heads, places)
    most = min(head.header.levels - steps for head, steps in zip(heads, finer, strict=True))
    level = most if rlevel == LOWEST else rlevel
    if not 0 <= level <= most:
        worst = min(zip(heads, finer, strict=True), key=lambda pair: pair[0].header.levels - pair[1])[0]
        valid = f"rlevel -1 (lowest) to {most}" if most >= 0 else "bands of more alike pixel sizes"
        raise CubeMismatch(worst.path, f"has too few resolution levels for a cube at rlevel {level}", f"take {valid}")
    found = [
        AlignedImage(head, place, select(head.header, level + steps))
        for head, place, steps in zip(heads, places, finer, strict=True)
    ]
    _check_same_shape(found)
    return found


def reference(placed: Sequence[AlignedImage]) -> AlignedImage:
    """Return the image whose samples' coordinates are those of the cube: one with the largest pixels."""
    return max(placed, key=lambda one: one.pixel)


def offset(one: AlignedImage, other: AlignedImage) -> tuple[float, float]:
    """Return how far, in y and x, the samples of one image lie from those of another in the same rows and columns."""
    (y, x), (other_y, other_x) = one.first, other.first
    return y - other_y, x - other_x


def _place_of(head: Head) -> Georeference:
    if head.place is None or head.place.transform[1] != 0 or head.place.transform[3] != 0:
        raise CubeMismatch(head.path, "does not tell where it lies, or is rotated", "leave it out of the cube")
    return head.place


def _check_same_corner(heads: Sequence[Head], places: Sequence[Georeference]) -> None:
    corners = [(place.crs_wkt, place.transform[2], place.transform[5]) for place in places]
    for head, corner in zip(heads, corners, strict=True):
        if corner != corners[0]:
            problem = f"lies elsewhere than {heads[0].path}, or in another coordinate reference system"
            raise CubeMismatch(head.path, problem, "a cube has one grid: open one for each tile, as by_tile=True does")


def _finer(heads: Sequence[Head], places: Sequence[Georeference]) -> list[int]:
    """Return how many resolution levels more each image has to drop than those with the largest pixels."""
    pixels = [abs(place.transform[0]) for place in places]
    coarsest = max(pixels)
    found = []
    for head, pixel in zip(heads, pixels, strict=True):
        steps = round(math.log2(coarsest / pixel))
        if not math.isclose(pixel * 2**steps, coarsest, rel_tol=1e-9):
            problem = f"has pixels of {pixel:g}, of which no rlevel makes the {coarsest:g} of another image"
            hint = "take bands of 10 and 20 m, or all of 60 m: open_cube(…, metres=60) of products of level 2A"
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
