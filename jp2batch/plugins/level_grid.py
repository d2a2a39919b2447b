"""Grids of the resolution levels of an image, on the map."""

from dataclasses import dataclass
from typing import Self

from affine import Affine

from jp2batch.core.errors import InvalidRequest
from jp2batch.image.georeference import level_transform
from jp2batch.image.open import OpenImage
from jp2batch.image.place import place_of
from jp2batch.jpeg2000.geometry.grid import Rect, Selection, select, select_area


@dataclass(frozen=True, slots=True)
class LevelGrid:
    """Position of the samples of a resolution level."""

    whole: Selection
    """All samples of the level."""
    transform: Affine
    """Transform of the corners of its samples to coordinates."""
    crs_wkt: str
    """Coordinate reference system."""

    @classmethod
    def of(cls, opened: OpenImage, rlevel: int) -> Self:
        """Return the grid of a level, with the positions of T.800.

        A level's first sample is the image's first; of a size that 2**rlevel does not divide, the last is near its end.

        Raises
        ------
        InvalidRequest
            The image has no georeference.
        """
        place = place_of(opened)
        if place is None or place.crs_wkt is None:
            raise InvalidRequest("", "the image has no georeference", "read it with jp2batch.read, by its pixels")
        whole = select(opened.image.header, rlevel)
        return cls(whole, Affine(*level_transform(place.transform, *whole.first, whole.step)), place.crs_wkt)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the level."""
        return self.whole.area.height, self.whole.area.width

    def selection(self, opened: OpenImage, rows: slice, columns: slice) -> Selection:
        """Return the samples in rows and columns, checked for size."""
        area = self.whole.area
        part = Rect(area.y0 + rows.start, area.x0 + columns.start, area.y0 + rows.stop, area.x0 + columns.stop)
        return opened.checked(select_area(opened.image.header, self.whole.rlevel, part))
