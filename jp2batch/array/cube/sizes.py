"""Choose images of a pixel size, by the resolution of a cube."""

import math
from collections.abc import Sequence

from jp2batch.array.cube.inputs import CubeImage


def of_resolution(images: Sequence[CubeImage], resolution: float, *, native: bool) -> list[CubeImage]:
    """Return images with the largest pixels not above a resolution.

    If a band has only larger pixels, these are the smallest. Unless the grid is `native`, resolution levels have to
    join the sizes: if they cannot, such as 60 m with 10 m, smaller ones are chosen.
    """
    if native:
        return _one_each(images, resolution)
    chosen: list[CubeImage] = []
    sizes = sorted({image.metres for image in images if image.metres and image.metres <= resolution}, reverse=True)
    for largest in [*sizes, 0]:
        chosen = _one_each(images, largest)
        metres = {image.metres for image in chosen if image.metres}
        if all(math.log2(size / min(metres)).is_integer() for size in metres):
            break
    return chosen


def _one_each(images: Sequence[CubeImage], largest: float) -> list[CubeImage]:
    """Return images of a single size of each band and product."""
    best: dict[object, int] = {}
    for image in images:
        key, metres = _identity(image), image.metres or 0
        best[key] = max(best.get(key, metres), metres, key=lambda size: size if size <= largest else -size)
    return [image for image in images if (image.metres or 0) == best[_identity(image)]]


def _identity(image: CubeImage) -> object:
    """Return the common facts of images of several sizes."""
    name = image.name
    if image.metres is None:
        return image.url
    product = image.product or name.processing_time
    return product, name.band, name.tile, image.time, name.level, name.baseline, name.datastrip
