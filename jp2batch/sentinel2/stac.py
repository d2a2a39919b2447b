"""Facts in the properties of STAC items."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from jp2batch.core.mission import ImageName, parse_iso_time
from jp2batch.sentinel2 import names as sentinel2

_DATATAKE = re.compile(r"G(S2[A-D])_(\d{8}T\d{6})_\d{6}_N(\d\d\.\d\d)")


def parse_properties(properties: Mapping[str, object]) -> ImageName | None:
    """Return facts from the properties of a STAC item.

    The prefixes of catalogues differ, as in `s2:product_uri` and `sentinel2:product_title`. The time is that of the
    datatake, by the name of the product or the identifier of the datatake: `datetime` may be that of a granule. None
    without any fact.
    """
    found = ImageName(processing_time=parse_iso_time(properties.get("created")))  # of the item, if nothing else tells
    nothing = replace(found)
    for value in _values(properties, "product_title", "product_uri"):
        found = sentinel2.parse_name(f"/{value.removesuffix('.SAFE')}.SAFE/{sentinel2.BANDS[0]}.jp2") or found
    found = replace(found, band=None)
    for value in _values(properties, "datatake_id"):
        if (match := _DATATAKE.fullmatch(value)) is not None:
            time = found.time or sentinel2.parse_time(match[2])
            found = found.updated(time=time, platform=match[1], baseline=match[3])
    for value in _values(properties, "processing_baseline", "version"):
        found = found.updated(baseline=value if re.fullmatch(r"\d\d\.\d\d", value) else None)
    for value in _values(properties, "platform"):
        match = re.fullmatch(r"sentinel-?(2[a-d])", value, re.IGNORECASE)
        found = found.updated(platform=match and f"S{match[1].upper()}")
    for value in _values(properties, "mgrs_tile", "code"):
        match = re.fullmatch(r"(?:MGRS-|T)?(\d{1,2})([C-X][A-Z]{2})", value)
        found = found.updated(tile=match and f"T{match[1]:0>2}{match[2]}")
    for value in _values(properties, "datastrip_id"):
        found = found.updated(datastrip=sentinel2.datastrip_time(value))
    for made in (properties.get("processing:datetime"), *_values(properties, "generation_time")):
        found = found.updated(processing_time=parse_iso_time(made))
    return None if found == nothing else found


def _values(properties: Mapping[str, object], *names: str) -> Iterator[str]:
    """Iterate over texts by names without prefix; the last is the best."""
    for name in names:
        for key, value in properties.items():
            if key.rpartition(":")[2] == name and isinstance(value, str):
                yield value
