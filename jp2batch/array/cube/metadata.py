"""Coordinates and attributes of a cube."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from jp2batch.array.cube.alignment import AlignedImage, offset
from jp2batch.array.cube.inputs import CubeImage
from jp2batch.array.dataarray import axes, spatial_ref
from jp2batch.array.facts import ATTRIBUTES, SCALING, text
from jp2batch.core.location import Location
from jp2batch.core.map_area import MapArea
from jp2batch.core.options import StorageOptions
from jp2batch.image.header import Head

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


def coordinates(
    times: Sequence[np.datetime64],
    bands: Sequence[str],
    by_cell: Mapping[tuple[np.datetime64, str], tuple[CubeImage, AlignedImage]],
    base: AlignedImage,
    options: CubeOptions,
) -> dict[str, object]:
    """Return the coordinates of a cube: axes, and properties of each band."""
    of_band = {band: one for (_, band), (_, one) in by_cell.items()}
    offsets = [offset(of_band[band], base) if options.align == "snap" else (0.0, 0.0) for band in bands]
    unit = {"units": "metre"}
    coords: dict[str, object] = {
        "time": ("time", np.array(times, "datetime64[ns]"), ATTRIBUTES["time"]),
        "band": ("band", np.array(bands, object)),  # Zarr has no data type for strings of a fixed length
        "rlevel": ("band", [of_band[band].selection.rlevel for band in bands], {"long_name": "levels dropped"}),
        "offset_y": ("band", [y for y, _ in offsets], {"long_name": "true northing of samples, minus y"} | unit),
        "offset_x": ("band", [x for _, x in offsets], {"long_name": "true easting of samples, minus x"} | unit),
    }
    coords |= _applied(times, bands, by_cell) if options.scaled else {}
    return coords | axes(base.place, base.selection) | spatial_ref(base.place, base.selection)


def unapplied(times: Sequence[np.datetime64], bands: Sequence[str], images: Sequence[CubeImage]) -> dict[str, object]:
    """Return the scaling of unscaled numbers, by time and band."""
    known = {(image.time, image.band): image.scaling for image in images if image.scaling is not None}
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


def facts(times: Sequence[np.datetime64], bands: Sequence[str], images: Sequence[CubeImage]) -> dict[str, object]:
    """Return the facts of images: by cube, time, or time and band.

    An unknown one of several is empty.
    """
    by_cell = {(image.time, image.band): image for image in images}

    def table(fact: Callable[[CubeImage], str | None]) -> Any:
        found = [[(one := by_cell.get((time, band))) and fact(one) for band in bands] for time in times]
        return np.array([[value or "" for value in row] for row in found], object)

    tile = images[0].name.tile
    tables = {
        "platform": table(lambda image: image.name.platform),
        "processing_baseline": table(lambda image: image.name.baseline),
    }
    found: dict[str, object] = {
        name: (*_by_time(values), ATTRIBUTES[name]) for name, values in tables.items() if values.any()
    }
    source = table(lambda image: Location.of(image.url).redacted)
    found["source"] = (("time", "band"), source, ATTRIBUTES["source"])
    return found if tile is None else found | {"tile": ((), text(tile), ATTRIBUTES["tile"])}


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
    by_cell: Mapping[tuple[np.datetime64, str], tuple[CubeImage, AlignedImage]],
) -> dict[str, object]:
    """Return quantity and formula of each band of a scaled cube.

    If a formula changes with time, formulas are by time and band.
    """
    of_band = {band: image.scaling for (_, band), (image, _) in by_cell.items()}  # for filled cells as well
    found = [
        [by_cell[time, band][0].scaling if (time, band) in by_cell else of_band[band] for band in bands]
        for time in times
    ]
    quantity = [AS_STORED if (scaling := of_band[band]) is None else scaling.quantity for band in bands]
    formulas = np.array([[AS_STORED if one is None else one.formula for one in row] for row in found], object)
    constant = bool((formulas == formulas[0]).all())
    return {
        "quantity": ("band", np.array(quantity, object)),
        "scaling": ("band", formulas[0]) if constant else (("time", "band"), formulas),
    }


def fill_value(members: Sequence[tuple[CubeImage, Head]]) -> int:
    """Return the fill value for cells without an image.

    It is a no-data value of the bands; 0 if they have none.
    """
    return next((image.nodata for image, _ in members if image.nodata is not None), 0)


def nodata_of_all(members: Sequence[tuple[CubeImage, Head]]) -> int | None:
    """Return the no-data value, if equal in all bands."""
    values = {image.nodata for image, _ in members}
    return values.pop() if len(values) == 1 else None


def attributes(
    members: Sequence[tuple[CubeImage, Head]], absent: Sequence[tuple[np.datetime64, str]], options: CubeOptions
) -> dict[str, object]:
    """Return the attributes of a cube, valid for all its bands."""
    first = members[0][0]
    units = {"1" if options.scaled and image.scaling else image.mission.units(image.name) for image, _ in members}
    quantities = {image.scaling and image.scaling.quantity for image, _ in members} if options.scaled else {None}
    found = {
        "level": first.name.level,
        "align": options.align,
        "units": units.pop() if len(units) == 1 else None,
        "long_name": quantities.pop() if len(quantities) == 1 else None,
        "nodata": nodata_of_all(members) if not options.scaled else None,
        "filled": [f"{band} at {time.astype('datetime64[s]')}" for time, band in absent] or None,
    }
    return {key: value for key, value in found.items() if value is not None}
