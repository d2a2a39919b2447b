"""Coordinates and attributes of a cube."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from jp2batch.array.cube.classes import MaskedClasses
from jp2batch.array.cube.grid import PlacedImage, SampleGrid
from jp2batch.array.cube.inputs import CubeImage
from jp2batch.array.cube.resample import Method
from jp2batch.array.dataarray import axes, spatial_ref
from jp2batch.array.facts import ATTRIBUTES, SCALING, text
from jp2batch.core.location import Location
from jp2batch.core.map_area import MapArea
from jp2batch.core.options import StorageOptions
from jp2batch.core.scaling import Scaling

AS_STORED = "as stored"
"""Quantity and scaling of bands other than reflectance."""


@dataclass(frozen=True, slots=True)
class CubeOptions:
    """Options of `open_cube`."""

    rlevel: int
    chunks: Any
    bands: Sequence[str] | None
    align: str
    missing: str
    scaled: bool
    storage_options: StorageOptions = field(repr=False)
    area: MapArea | None = None
    native: float | None = None
    """Distance of native pixels in metres; None: a grid by levels."""
    resampling: Method = "nearest"
    groupby: str = "time"
    classes: MaskedClasses | None = None
    """Classes whose pixels become no data."""
    dropped: tuple[str, ...] = ()
    """Outdated images."""

    def has_band(self, band: str) -> bool:
        """Return whether the cube has a band."""
        return self.bands is None or band in self.bands

    def is_aside(self, band: str) -> bool:
        """Return whether a band is placed apart, for the mask."""
        return (
            self.classes is not None and band == self.classes.band and (self.native is None or not self.has_band(band))
        )


Place = tuple[np.datetime64, str]
"""Time and band."""


def coordinates(
    times: Sequence[np.datetime64],
    bands: Sequence[str],
    members: Sequence[tuple[CubeImage, PlacedImage]],
    images: Mapping[Place, Sequence[CubeImage]],
    *,
    grid: SampleGrid,
    scaled: bool,
) -> dict[str, object]:
    """Return the coordinates of a cube: axes, and properties of each band."""
    of_band = {image.band: one for image, one in reversed(members)}
    offsets = [of_band[band].offset for band in bands]
    unit = {"units": "metre"}
    coords: dict[str, object] = {
        "time": ("time", np.array(times, "datetime64[ns]"), ATTRIBUTES["time"]),
        "band": ("band", np.array(bands, object)),  # Zarr has no data type for strings of a fixed length
        "rlevel": ("band", [of_band[band].selection.rlevel for band in bands], {"long_name": "levels dropped"}),
        "offset_y": ("band", [y for y, _ in offsets], {"long_name": "true northing of samples, minus y"} | unit),
        "offset_x": ("band", [x for _, x in offsets], {"long_name": "true easting of samples, minus x"} | unit),
    }
    scalings = {image.band: image.scaling for image, _ in members}  # for filled cells as well
    coords |= _applied(times, bands, scalings, images) if scaled else {}
    return coords | axes(grid.place, grid.selection) | spatial_ref(grid.place, grid.selection)


def unapplied(
    times: Sequence[np.datetime64], bands: Sequence[str], images: Mapping[Place, Sequence[CubeImage]]
) -> dict[str, object]:
    """Return the scaling of unscaled numbers, by time and band."""
    known = {place: one.scaling for place, of in images.items() for one in of if one.scaling is not None}
    if not known:
        return {}
    offsets = np.full((len(times), len(bands)), np.nan, np.float32)
    quantifications = offsets.copy()
    for row, time in enumerate(times):
        for column, band in enumerate(bands):
            if (scaling := known.get((time, band))) is not None:
                offsets[row, column], quantifications[row, column] = scaling.offset, scaling.quantification
    tables = zip(SCALING, (offsets, quantifications), strict=True)
    return {name: (("time", "band"), table, ATTRIBUTES[name]) for name, table in tables}


def facts(
    times: Sequence[np.datetime64], bands: Sequence[str], images: Mapping[Place, Sequence[CubeImage]]
) -> dict[str, object]:
    """Return the facts of images: by cube, time, or time and band.

    An unknown one of several is empty; different ones of a time and band are joined by commas.
    """

    def table(fact: Callable[[CubeImage], str | None]) -> Any:
        return np.array([[joined(map(fact, images.get((time, band), ()))) for band in bands] for time in times], object)

    tile = joined(sorted({image.name.tile or "" for of in images.values() for image in of}))
    tables = {
        "platform": table(lambda image: image.name.platform),
        "processing_baseline": table(lambda image: image.name.baseline),
    }
    found: dict[str, object] = {
        name: (*_by_time(values), ATTRIBUTES[name]) for name, values in tables.items() if values.any()
    }
    source = table(lambda image: Location.of(image.url).redacted)
    found["source"] = (("time", "band"), source, ATTRIBUTES["source"])
    return found | {"tile": ((), text(tile), ATTRIBUTES["tile"])} if tile else found


def joined(values: Iterable[str | None]) -> str:
    """Return different texts, with commas between."""
    return ", ".join(dict.fromkeys(value for value in values if value))


def _by_time(table: Any) -> tuple[tuple[str, ...], Any]:
    """Return dimensions and values, by time if bands agree."""
    rows = [sorted({*row} - {""}) for row in table]
    if any(len(row) > 1 for row in rows):
        return ("time", "band"), table
    return ("time",), np.array([row[0] if row else "" for row in rows], object)


def offsets_change(cube: xr.DataArray) -> bool:
    """Return whether the scaling of unscaled numbers changes with time."""
    tables = (cube[name].values for name in SCALING if name in cube.coords)
    return any(len({*values[~np.isnan(values)]}) > 1 for table in tables for values in table.T)


def _applied(
    times: Sequence[np.datetime64],
    bands: Sequence[str],
    of_band: Mapping[str, Scaling | None],
    images: Mapping[Place, Sequence[CubeImage]],
) -> dict[str, object]:
    """Return quantity and formula of each band of a scaled cube.

    If a formula changes with time, formulas are by time and band.
    """
    quantity = [AS_STORED if (scaling := of_band[band]) is None else scaling.quantity for band in bands]

    def formula(place: Place) -> str:
        found = [image.scaling for image in images.get(place, ())] or [of_band[place[1]]]
        return "; or ".join(dict.fromkeys(AS_STORED if one is None else one.formula for one in found))

    formulas = np.array([[formula((time, band)) for band in bands] for time in times], object)
    constant = bool((formulas == formulas[0]).all())
    return {
        "quantity": ("band", np.array(quantity, object)),
        "scaling": ("band", formulas[0]) if constant else (("time", "band"), formulas),
    }


def fill_value(images: Sequence[CubeImage]) -> int:
    """Return the fill value for cells without an image.

    It is a no-data value of the bands; 0 if they have none.
    """
    return next((image.nodata for image in images if image.nodata is not None), 0)


def nodata_of_all(images: Sequence[CubeImage]) -> int | None:
    """Return the no-data value, if equal in all bands."""
    values = {image.nodata for image in images}
    return values.pop() if len(values) == 1 else None


def attributes(images: Sequence[CubeImage], absent: Sequence[Place], options: CubeOptions) -> dict[str, object]:
    """Return the attributes of a cube, valid for all its bands."""
    units = {"1" if options.scaled and image.scaling else image.mission.units(image.name) for image in images}
    quantities = {image.scaling and image.scaling.quantity for image in images} if options.scaled else {None}
    found = {
        "level": images[0].name.level,
        "align": options.align if options.native is None else None,
        "resampling": options.resampling if options.native is not None else None,
        "masked": list(options.classes.names) if options.classes else None,
        "units": units.pop() if len(units) == 1 else None,
        "long_name": quantities.pop() if len(quantities) == 1 else None,
        "nodata": nodata_of_all(images) if not options.scaled else None,
        "filled": [f"{band} at {time.astype('datetime64[s]')}" for time, band in absent] or None,
        "dropped": list(options.dropped) or None,
    }
    return {key: value for key, value in found.items() if value is not None}
