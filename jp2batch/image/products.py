"""List the images of a product, by bands and pixel size."""

from collections.abc import Iterable
from dataclasses import replace

from jp2batch.core.bands import band_names, checked_metres, named
from jp2batch.core.errors import InvalidRequest
from jp2batch.core.mission import ListedImage, ProductMetadata
from jp2batch.core.options import StorageOptions
from jp2batch.image.missions import product_mission


def product_images(
    product: str,
    bands: str | Iterable[str] | None = None,
    *,
    metres: int | None = None,
    finest: bool = False,
    storage_options: StorageOptions = None,
) -> tuple[ProductMetadata, list[ListedImage]]:
    """Return the metadata of a product, and its listed images.

    Facts in the metadata replace those from the paths.

    Parameters
    ----------
    product : str
        Path or URL, as for `open_product`.
    bands : iterable of str, optional
        Names of bands, in any order; by default all.
    metres : int, optional
        Pixel size of the images; by default any.
    finest : bool
        True to list only the image with the smallest pixels of each band.
    storage_options : mapping, optional
        fsspec's options for the store.

    Raises
    ------
    StorageError, MetadataError
        The metadata cannot be read.
    InvalidRequest
        The product has no such images.
    """
    metadata, images = product_mission(product).list_product(product, storage_options=storage_options)
    wanted, metres = band_names(bands), checked_metres(metres)
    chosen = [
        image
        for image in sorted(images, key=lambda image: image.metres)
        if (wanted is None or image.name.band in wanted) and metres in (None, image.metres)
    ]
    lacking = sorted({*(wanted or ())} - {image.name.band for image in chosen})
    if lacking or not chosen:
        what = f"{named(lacking) or 'no image'}{f' at {metres} m' if metres else ''}"
        sizes = sorted({image.metres for image in images})
        of_size = {size: " ".join(image.name.band or "" for image in images if image.metres == size) for size in sizes}
        known = "; ".join(f"at {size} m {names}" for size, names in of_size.items())
        problem = f"the product does not list {what}" if lacking else "the product lists no such image"
        raise InvalidRequest(product, problem, f"it has {known or 'none'}")
    if finest:  # sorted by pixel size; the last of each key is kept
        chosen = list({(image.name.band, image.name.tile): image for image in reversed(chosen)}.values())[::-1]
    return metadata, [replace(image, name=image.name.of_product(metadata)) for image in chosen]
