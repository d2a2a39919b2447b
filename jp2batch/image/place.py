"""Georeference of an open image, from its boxes or its mission."""

from jp2batch.image.geo_boxes import from_boxes, from_epsg
from jp2batch.image.georeference import Georeference
from jp2batch.image.missions import identify
from jp2batch.image.open import OpenImage
from jp2batch.jpeg2000.geometry.grid import image_area, samples


def place_of(opened: OpenImage) -> Georeference | None:
    """Return the georeference of an open image, or None.

    Without one in its boxes, the metadata of its tile are read, once.
    """
    if not opened.georeferences:
        opened.georeferences.append(_determined(opened))
    return opened.georeferences[0]


def _determined(opened: OpenImage) -> Georeference | None:
    found = from_boxes(opened.image.container.boxes)
    location = opened.source.location
    mission, name = identify(location.text)
    if found is not None or name is None:
        return found
    full = samples(opened.image.header.siz, image_area(opened.image.header.siz), 0)
    grid = mission.read_grid(location.text, (full.height, full.width), storage_options=location.options)
    return None if grid is None else from_epsg(*grid)
