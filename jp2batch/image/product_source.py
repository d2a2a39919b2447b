"""Images and metadata of a product, or of a STAC item."""

from collections.abc import Collection
from dataclasses import dataclass

from jp2batch.core.arguments import as_path
from jp2batch.core.bands import check_bands
from jp2batch.core.errors import InvalidRequest, MetadataError, StorageError
from jp2batch.core.location import path_text
from jp2batch.core.mission import ListedImage, Mission, ProductMetadata
from jp2batch.core.options import StorageOptions
from jp2batch.image.missions import identify, is_product, product_mission
from jp2batch.image.products import product_images
from jp2batch.image.source_images import SourceImages
from jp2batch.image.stac.assets import item_listing
from jp2batch.image.stac.documents import as_document, is_item_file, is_item_url, items_of, read_items
from jp2batch.image.stac.metadata import ItemMetadata
from jp2batch.image.stac.refusals import checked_alternate, refuse_unusable


@dataclass(frozen=True, slots=True)
class ProductSource:
    """A product, or a STAC item in its place."""

    path: str
    """Path of the product or item, else its name."""
    mission: Mission
    """Its mission."""
    metadata: ProductMetadata
    """Metadata of the product, or facts of the item."""
    images: list[ListedImage]
    """Its images."""


def source_of_product(
    source: object, bands: Collection[str] | None, alternate: str | None, *, storage_options: StorageOptions
) -> ProductSource:
    """Return the images of a product or STAC item.

    Parameters
    ----------
    source : object
        Path or URL of a product, or of a file with an item; or an item in memory.
    bands : collection of str, optional
        Bands by the mission's names; by default all.
    alternate : str, optional
        Name of the alternate location of assets to prefer.
    storage_options : mapping, optional
        fsspec's options for the store.

    Raises
    ------
    InvalidRequest
        There is not exactly one product or item, or a band is missing.
    StorageError, MetadataError
        The metadata cannot be read.
    """
    path = "" if (document := as_document(source)) is not None else as_path(path_text(source))
    is_item = document is not None or is_item_url(path) or (is_item_file(path) and not is_product(path))
    if not is_item:
        metadata, images = product_images(path, bands, storage_options=storage_options)
        return ProductSource(path, product_mission(path), metadata, images)
    items = read_items(path, storage_options=storage_options) if document is None else items_of(document)
    alternate = checked_alternate(alternate)
    listed = [item_listing(item, path, bands, alternate) for item in items]
    refuse_unusable(listed, alternate, path)
    if len(listed) != 1:
        raise InvalidRequest(path, f"has {len(listed)} items, but a product is one", "give one, or use open_cube")
    return _of_item(listed[0], path, bands, storage_options)


def _of_item(
    item: SourceImages, path: str, bands: Collection[str] | None, storage_options: StorageOptions
) -> ProductSource:
    check_bands([*bands] if bands else None, item.bands)
    images = {(one.name.band, one.name.tile, one.metres): one for one in item.images if one.name.band and one.metres}
    if not images:
        problem = "no image of the item has a band and a pixel size"
        raise InvalidRequest(path or item.name or "", problem, "open its images alone")
    first = next(iter(images.values()))
    mission = identify(first.path)[0]
    metadata = _read_metadata(mission, first.path, storage_options) or ItemMetadata.of(item)
    return ProductSource(path or item.name or "", mission, metadata, list(images.values()))


def _read_metadata(mission: Mission, path: str, storage_options: StorageOptions) -> ProductMetadata | None:
    """Return the metadata of an image's product; None if unreadable."""
    location = mission.metadata_url(path)
    try:
        return None if location is None else mission.read_metadata(location, storage_options=storage_options)
    except (MetadataError, StorageError):
        return None
