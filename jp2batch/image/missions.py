"""All missions: find the mission of a path, and scalings to reflectance."""

from collections.abc import Mapping
from typing import Any

from jp2batch.core.bands import band_texts
from jp2batch.core.errors import InvalidPath, InvalidRequest, MetadataError, StorageError
from jp2batch.core.location import Location
from jp2batch.core.mission import ImageName, Mission, ProductMetadata, SceneClasses
from jp2batch.core.scaling import Scaling
from jp2batch.sentinel2.mission import Sentinel2

MISSIONS: tuple[Mission, ...] = (Sentinel2(),)
"""All missions; the first to recognise a path is its mission.

If no mission recognises it, the first of all is used.
"""

_SHORTEST = 2  # letters of the beginning of a common name
_HINT = "check that the product's folder is complete, or use scaled=False for the numbers as stored"


def identify(path: str) -> tuple[Mission, ImageName | None]:
    """Return the mission of an image and facts from its path."""
    for mission in MISSIONS:
        if (name := mission.parse_name(path)) is not None:
            return mission, name
    return MISSIONS[0], None


def parse_properties(properties: Mapping[str, object]) -> ImageName:
    """Return facts from the properties of a STAC item, of any mission."""
    found = (mission.parse_properties(properties) for mission in MISSIONS)
    return next(filter(None, found), ImageName())


def scene_classes() -> SceneClasses | None:
    """Return the classes of the first mission with some."""
    return next(filter(None, (mission.scene_classes for mission in MISSIONS)), None)


def titles() -> str:
    """Return the names of all missions, for messages."""
    return " or ".join(mission.title for mission in MISSIONS)


def product_mission(path: str) -> Mission:
    """Return the mission of a product."""
    return next((mission for mission in MISSIONS if mission.is_product(path)), MISSIONS[0])


def is_product(path: str) -> bool:
    """Return whether a path is a product of any mission."""
    return any(mission.is_product(path) for mission in MISSIONS)


def what_to_give(path: str) -> str | None:
    """Return a hint for a path other than a product."""
    return next(filter(None, (mission.what_to_give(path) for mission in MISSIONS)), None)


def find_band(text: str) -> str | None:
    """Return the band name in a text, of any mission."""
    return next(filter(None, (mission.find_band(text) for mission in MISSIONS)), None)


def common_band(text: str) -> str | None:
    """Return the band of a common name, such as "red"."""
    return next((one.common_names[text.lower()] for one in MISSIONS if text.lower() in one.common_names), None)


def bands_by_label(bands: object) -> dict[str, str] | None:
    """Return bands by the missions' names, and the names as asked for.

    Parameters
    ----------
    bands : object
        Names of bands as for `band_names`, or common names of STAC, such as "red", "nir08", "scl".

    Returns
    -------
    dict or None
        From "B04" to "red". Names of the mission are in its spelling, even if asked for as "b04". None for all bands.

    Raises
    ------
    InvalidRequest
        `bands` is not a list of band names, or two names are of one band.
    """
    labels: dict[str, str] = {}
    for text in band_texts(bands) or ():
        _refuse_several(text)
        band = common_band(text) or text.upper()
        label = band if band == text or common_band(text) is None else text.lower()
        if band in labels:
            raise InvalidRequest("", f"{labels[band]} and {label} are one band", "give one of its names")
        labels[band] = label
    return labels or None


def _refuse_several(text: str) -> None:
    """Refuse a name of several bands, such as "rededge"."""
    names = sorted(name for one in MISSIONS for name in one.common_names if name.startswith(text.lower()))
    if common_band(text) is None and len(text) > _SHORTEST and len(names) > 1:
        raise InvalidRequest("", f"{text.lower()} is the name of several bands", f"give {' or '.join(names)}")


def metadata_of(path: str, *, storage_options: Mapping[str, Any] | None = None) -> ProductMetadata:
    """Return the metadata of an image's product.

    Parameters
    ----------
    path : str
        Path or URL of an image.
    storage_options : mapping, optional
        fsspec's options for the store.

    Raises
    ------
    MetadataError
        Metadata are missing or damaged.
    """
    mission, name = identify(path)
    if name is None:
        raise MetadataError(path, f"its name is not of {titles()}, hence it has no metadata", _HINT)
    location = mission.metadata_url(path)
    if location is None:
        raise MetadataError(path, "the metadata of its product cannot be located from its path", _HINT)
    try:
        return mission.read_metadata(location, storage_options=storage_options)
    except StorageError as error:
        raise MetadataError(path, f"the metadata of its product cannot be read: {error}", _HINT) from None


def local_metadata(path: str) -> ProductMetadata | None:
    """Return the metadata of a local image's product, if readable.

    None for remote images, whose metadata would cost a request.
    """
    mission, name = identify(path)
    if name is None or not Location.of(path).is_local or mission.metadata_url(path) is None:
        return None
    try:
        return metadata_of(path)
    except (MetadataError, InvalidPath):
        return None


def scaling_or_none(metadata: ProductMetadata, band: str | None) -> Scaling | None:
    """Return the scaling of a band to reflectance; None if unknown."""
    try:
        return metadata.scaling(band)
    except MetadataError:
        return None
