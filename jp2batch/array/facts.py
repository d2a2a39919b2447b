"""Facts of images as coordinates, kept for each image of a series.

Attributes would be of the first image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Self

import numpy as np
import xarray as xr

from jp2batch.core.mission import ImageName, Mission, ProductMetadata, parse_iso_time
from jp2batch.core.scaling import Scaling
from jp2batch.image.missions import identify, local_metadata, metadata_of, scaling_or_none

ATTRIBUTES: dict[str, dict[str, str]] = {
    "time": {"long_name": "start of sensing"},
    "source": {"long_name": "path of the image"},
    "tile": {"long_name": "tile"},
    "platform": {"long_name": "satellite"},
    "processing_baseline": {"long_name": "processing baseline"},
    "radiometric_offset": {"long_name": "offset: reflectance = (number + offset) / quantification"},
    "quantification_value": {"long_name": "quantification of reflectance"},
}
"""Names and attributes of the coordinates."""

SCALING = ("radiometric_offset", "quantification_value")
"""Coordinates of unscaled reflectance."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """Facts of an image from its path and metadata."""

    mission: Mission
    name: ImageName | None
    """Facts from the metadata, else from the path."""
    scaling: Scaling | None = None
    """Scaling to reflectance; None if unknown, or for other quantities."""
    is_scaled: bool = False
    """True if the scaling is applied."""

    @classmethod
    def of(
        cls,
        path: str,
        *,
        columns: Sequence[tuple[str, object]] = (),
        scaled: bool = False,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Self:
        """Return the facts of an image.

        Facts in columns of its request replace those in the path; those in metadata replace both. Metadata of remote
        products are read only for `scaled` reflectance.

        Raises
        ------
        MetadataError
            `scaled` is True, and metadata are missing or incomplete.
        """
        mission, name = identify(path)
        is_scaled = scaled and (name is None or name.band in mission.bands)
        metadata = metadata_of(path, storage_options=storage_options) if is_scaled else local_metadata(path)
        if columns:
            name = facts_in(dict(columns), name or ImageName(), mission)
        if metadata is None or name is None:
            return cls(mission, name)
        return cls.of_product(mission, name, metadata, scaled=scaled)

    @classmethod
    def of_product(cls, mission: Mission, name: ImageName, metadata: ProductMetadata, *, scaled: bool) -> Self:
        """Return the facts of an image with its metadata.

        Raises
        ------
        MetadataError
            `scaled` is True, and the metadata lack the scaling.
        """
        scaling = metadata.scaling(name.band) if scaled else scaling_or_none(metadata, name.band)
        return cls(mission, name.of_product(metadata), scaling, scaled and scaling is not None)

    @property
    def applied(self) -> Scaling | None:
        """Scaling to apply."""
        return self.scaling if self.is_scaled else None

    @property
    def attributes(self) -> dict[str, object]:
        """Attributes of all images of this kind."""
        if self.applied is not None:
            return self.applied.scaled_attributes
        found = {"units": self.mission.units(self.name), "nodata": self.mission.nodata(self.name)}
        return {key: value for key, value in found.items() if value is not None}

    def coordinates(self, source: str) -> dict[str, object]:
        """Return the scalar coordinates of an image, as far as known."""
        name = self.name or ImageName()
        found: dict[str, object] = {
            "time": None if name.time is None else time_of(name.time),
            "source": text(source),
            "tile": text(name.tile),
            "platform": text(name.platform),
            "processing_baseline": text(name.baseline),
        }
        if self.scaling is not None and not self.is_scaled:
            found |= dict(
                zip(SCALING, map(np.float32, (self.scaling.offset, self.scaling.quantification)), strict=True)
            )
        return {
            key: xr.Variable((), np.asarray(value), ATTRIBUTES[key], fastpath=True)  # nothing to convert
            for key, value in found.items()
            if value is not None
        }


def time_of(when: datetime | date) -> np.datetime64:
    """Return a time in UTC, or a day, as in coordinates."""
    return np.datetime64(when.replace(tzinfo=None) if isinstance(when, datetime) else when, "ns")


def facts_in(columns: Mapping[str, object], name: ImageName, mission: Mission) -> ImageName:
    """Return facts from columns of a manifest, else from a name.

    The name's band is kept. Values of other types are ignored.
    """
    texts = {key: value for key, value in columns.items() if isinstance(value, str) and value}
    return replace(name, band=name.band or mission.find_band(texts.get("band", ""))).updated(
        time=parse_iso_time(texts.get("time")),
        tile=texts.get("tile"),
        baseline=texts.get("processing_baseline"),
        platform=texts.get("platform"),
        datastrip=parse_iso_time(texts.get("datastrip")),
        processing_time=parse_iso_time(texts.get("processing_time")),
    )


def text(value: str | None) -> np.ndarray[Any, Any] | None:
    """Return a text as a scalar; None without text.

    Its data type is object: Zarr has none for strings of a fixed length.
    """
    return None if value is None else np.array(value, object)


def source_of(array: xr.DataArray) -> str:
    """Return the path of an array's image, for messages."""
    source = array.coords.get("source")
    return "" if source is None or source.ndim else str(source.item())


def in_dataset(arrays: Sequence[xr.DataArray], source: str) -> list[xr.DataArray]:
    """Return arrays without conflicting facts, for a dataset.

    Their source is that of the dataset. Any other fact in which they differ gets the array's name appended.
    """
    found = [array.assign_coords(source=((), text(source), ATTRIBUTES["source"])) for array in arrays]
    for fact in ATTRIBUTES:
        values = {array.coords[fact].item() for array in found if fact in array.coords}
        if len(values) > 1:
            found = [a.rename({fact: f"{fact}_{a.name}"}) if fact in a.coords else a for a in found]
    return found


def with_attributes(array: xr.DataArray) -> xr.DataArray:
    """Return an array with its facts as attributes, for formats without coordinates."""
    facts = {fact: array.coords[fact] for fact in ATTRIBUTES if fact in array.coords}
    texts = {
        fact: str(one.values.astype("datetime64[s]")) if fact == "time" else one.item() for fact, one in facts.items()
    }
    return array.assign_attrs(texts)
