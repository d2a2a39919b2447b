"""Complete the images of a cube by metadata: scalings and facts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from jp2batch.array.cautions import warn_user
from jp2batch.array.cube.inputs import CubeImage
from jp2batch.core.errors import MetadataError, StorageError
from jp2batch.core.mission import Mission, ProductMetadata
from jp2batch.core.options import StorageOptions
from jp2batch.image.missions import scaling_or_none
from jp2batch.image.sources import Each
from jp2batch.image.stac.metadata import HINT, contradiction

Outcome = ProductMetadata | MetadataError | StorageError


def add_metadata(images: Sequence[CubeImage], scaled: bool, each: Each, *, fixed_times: bool = False) -> None:
    """Complete images by their metadata: scaling and facts.

    Metadata are read where scaling or time are unknown. If they cannot be read, the scaling of the STAC item is taken.
    Without `scaled`, images without either are skipped. Fixed times are not replaced.

    Raises
    ------
    MetadataError
        `scaled` is True, and the scaling of an image is unknown.

    Warns
    -----
    UserWarning
        `scaled` is True, and an item has another scaling than the metadata.
    """
    wanting = [one for one in images if one.metadata is None]
    outcomes = _outcomes(wanting, each, fixed_times=fixed_times)
    for image in wanting:
        outcome = outcomes.get(image.mission.metadata_url(image.url) or "")
        if outcome is not None and not isinstance(outcome, MetadataError | StorageError):
            image.metadata = outcome
        elif image.claim is not None and not image.claim.problem:
            image.scaling = image.claim.scaling
        elif scaled and image.band in image.mission.bands:
            raise _unknown(image, outcome)
    for image in images:
        if image.metadata is not None:
            _apply(image, image.metadata, scaled, fixed_times)
    if scaled and (text := contradiction((one.url, one.claim, one.scaling) for one in images)):
        warn_user(text)


def _outcomes(images: Sequence[CubeImage], each: Each, *, fixed_times: bool) -> Mapping[str, Outcome]:
    """Read the metadata of images without scaling or time, by location."""
    unknown = (one for one in images if one.band in one.mission.bands or (one.name.time is None and not fixed_times))
    places = sorted({place for one in unknown if (place := one.mission.metadata_url(one.url)) is not None})
    if not places:
        return {}
    return dict(zip(places, each(partial(_metadata_or_fault, images[0].mission), places), strict=True))


def _unknown(image: CubeImage, fault: object) -> MetadataError:
    """Return the error of an image with unknown scaling."""
    problem = "the metadata of its product cannot be located from its path" if fault is None else str(fault)
    claim = "" if image.claim is None else f"; {image.claim.problem}"
    return MetadataError(image.url, problem + claim, HINT)


def _apply(image: CubeImage, metadata: ProductMetadata, scaled: bool, fixed_times: bool) -> None:
    facts = image.name.of_product(metadata)
    image.name = replace(facts, time=image.name.time, day=image.name.day) if fixed_times else facts
    image.scaling = metadata.scaling(image.band) if scaled else scaling_or_none(metadata, image.band)


def _metadata_or_fault(mission: Mission, place: str, *, storage_options: StorageOptions) -> Outcome:
    try:
        return mission.read_metadata(place, storage_options=storage_options)
    except (MetadataError, StorageError) as error:
        return error
