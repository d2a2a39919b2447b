"""Facts in the properties of STAC items."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from jp2batch.core.mission import ImageName, parse_iso_time
from jp2batch.core.scaling import Scaling, ScalingClaim
from jp2batch.sentinel2 import names as sentinel2
from jp2batch.sentinel2.metadata import QUANTITY

_WITH_OFFSET = "04.00"  # the first baseline whose numbers have an offset
_PREFIXES = ("sentinel", "mgrs")
_SQUARE = "utm_zone", "latitude_band", "grid_square"
_TILE = re.compile(r"(?:MGRS-|T)?(\d{1,2})([C-X][A-Z]{2})")
_LEVEL = re.compile(r"(?:L|S2MSI)(1C|2A)")
_DATATAKE = re.compile(r"G(S2[A-D])_(\d{8}T\d{6})_\d{6}_N(\d\d\.\d\d)")


def parse_properties(properties: Mapping[str, object]) -> ImageName | None:
    """Return facts from the properties of a STAC item.

    The prefixes of catalogues differ, as in `s2:product_uri` and `sentinel2:product_title`. The time is that of the
    datatake, by the name of the product or the identifier of the datatake: `datetime` may be that of a granule. None
    without any fact.
    """
    found = _of_names(properties)
    for value in _values(properties, "processing_baseline", "version"):
        found = found.updated(baseline=value if re.fullmatch(r"\d\d\.\d\d", value) else None)
    for value in _values(properties, "platform"):
        match = re.fullmatch(r"sentinel-?(2[a-d])", value, re.IGNORECASE)
        found = found.updated(platform=match and f"S{match[1].upper()}")
    for value in _values(properties, "datastrip_id"):
        found = found.updated(datastrip=sentinel2.datastrip_time(value))
    found = replace(
        found.updated(tile=_tile(properties)),
        level=_level(properties) or found.level,
        relative_orbit=_orbit(properties) or found.relative_orbit,
    )
    if found == ImageName():
        return None
    made = (*_values(properties, "generation_time"), properties.get("processing:datetime"), properties.get("created"))
    times = (found.processing_time, *map(parse_iso_time, made))  # parts of an overpass may differ only in their names
    return found.updated(processing_time=next(filter(None, times), None))


def _of_names(properties: Mapping[str, object]) -> ImageName:
    """Return facts in the names of product and datatake."""
    facts = ImageName()
    for value in _values(properties, "id", "product_id", "product_title", "product_uri"):
        name = sentinel2.parse_product(value)
        facts = facts if name is None else facts.merged(name)
    for value in _values(properties, "datatake_id"):
        if (match := _DATATAKE.fullmatch(value)) is not None:
            time = facts.time or sentinel2.parse_time(match[2])
            facts = facts.updated(time=time, platform=match[1], baseline=match[3])
    return facts


def _tile(properties: Mapping[str, object]) -> str | None:
    """Return the tile in grid code, MGRS extension or names of catalogues."""
    squares = ("".join(str(properties.get(f"{prefix}:{part}", "")) for part in _SQUARE) for prefix in _PREFIXES)
    texts = (*squares, *_values(properties, "mgrs_tile", "code"))
    found = [match for text in texts if (match := _TILE.fullmatch(text)) is not None]
    return f"T{found[-1][1]:0>2}{found[-1][2]}" if found else None


def _level(properties: Mapping[str, object]) -> str | None:
    """Return the processing level, as in "L2A" or "S2MSI2A"."""
    texts = (*_values(properties, "level", "product_type"), str(properties.get("product:type")))
    return next((f"L{match[1]}" for text in texts if (match := _LEVEL.fullmatch(text)) is not None), None)


def _orbit(properties: Mapping[str, object]) -> int | None:
    orbit = properties.get("sat:relative_orbit")
    return orbit if isinstance(orbit, int) else None


def claim_of(name: ImageName, scale: float, offset: float) -> ScalingClaim | None:
    """Return the scaling of an image by its STAC item.

    ESA's numbers have an offset since baseline 04.00. An item that says otherwise speaks of converted numbers, or of
    none in particular.
    """
    if name.band not in sentinel2.BANDS:
        return None
    quantity = QUANTITY.get(name.level or "", "reflectance")
    scaling = Scaling(round(offset / scale, 3), round(1 / scale, 3), quantity)
    problem = ""
    if name.baseline is not None and (name.baseline >= _WITH_OFFSET) != (scaling.offset != 0):
        problem = f"its STAC item has the offset {scaling.offset:g}, which does not fit baseline {name.baseline}"
    return ScalingClaim(scaling, problem)


def _values(properties: Mapping[str, object], *names: str) -> Iterator[str]:
    """Iterate over texts by names without prefix; the last is the best."""
    for name in names:
        for key, value in properties.items():
            if key.rpartition(":")[2] == name and isinstance(value, str):
                yield value
