"""Georeference of an open image: boxes, mission, world file."""

from jp2batch.image.geo_boxes import from_boxes, from_epsg
from jp2batch.image.georeference import Georeference
from jp2batch.image.missions import identify
from jp2batch.image.open import OpenImage
from jp2batch.image.world_file import read_world_file
from jp2batch.jpeg2000.geometry.grid import image_area, samples


def place_of(opened: OpenImage) -> Georeference | None:
    """Return the georeference of an open image, or None.

    Without one in its boxes, the metadata of its tile are read, once; and without these, its world file.
    """
    if not opened.georeferences:
        opened.georeferences.append(_determined(opened))
    return opened.georeferences[0]


def _determined(opened: OpenImage) -> Georeference | None:
    return from_boxes(opened.image.container.boxes) or _of_mission(opened) or _of_world_file(opened)


def _of_mission(opened: OpenImage) -> Georeference | None:
    location = opened.source.location
    mission, name = identify(location.text)
    if name is None:
        return None
    full = samples(opened.image.header.siz, image_area(opened.image.header.siz), 0)
    grid = mission.read_grid(location.text, (full.height, full.width), storage_options=location.options)
    return None if grid is None else from_epsg(*grid)


def _of_world_file(opened: OpenImage) -> Georeference | None:
    transform = read_world_file(opened.source)
    return None if transform is None else Georeference(transform, None, None)
