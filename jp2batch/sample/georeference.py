"""Georeference of sample images: tile corner and GMLJP2 box."""

import re
import struct

from jp2batch.core.errors import InvalidRequest

_GML = """<?xml version='1.0' encoding='UTF-8' standalone='no'?>
<gml:FeatureCollection xmlns:gml="http://www.opengis.net/gml">
<gml:boundedBy><gml:Null>withheld</gml:Null></gml:boundedBy>
<gml:featureMember><gml:FeatureCollection><gml:featureMember>
<gml:RectifiedGridCoverage dimension="2" gml:id="RGC0001">
<gml:rectifiedGridDomain><gml:RectifiedGrid dimension="2">
<gml:limits><gml:GridEnvelope>
<gml:low>1 1</gml:low><gml:high>{width} {height}</gml:high>
</gml:GridEnvelope></gml:limits>
<gml:axisName>x</gml:axisName><gml:axisName>y</gml:axisName>
<gml:origin>
<gml:Point gml:id="P0001" srsName="urn:ogc:def:crs:EPSG::{epsg}"><gml:pos>{x} {y}</gml:pos></gml:Point>
</gml:origin>
<gml:offsetVector srsName="urn:ogc:def:crs:EPSG::{epsg}">{metres} 0</gml:offsetVector>
<gml:offsetVector srsName="urn:ogc:def:crs:EPSG::{epsg}">0 -{metres}</gml:offsetVector>
</gml:RectifiedGrid></gml:rectifiedGridDomain>
<gml:rangeSet><gml:File><gml:rangeParameters/><gml:fileName>gmljp2://codestream/0</gml:fileName>
<gml:fileStructure>Record Interleaved</gml:fileStructure></gml:File></gml:rangeSet>
</gml:RectifiedGridCoverage></gml:featureMember></gml:FeatureCollection></gml:featureMember></gml:FeatureCollection>
"""


def gmljp2(width: int, height: int, epsg: int, corner: tuple[int, int], metres: int) -> bytes:
    """Return the georeference of an image as ESA's GMLJP2 box.

    Parameters
    ----------
    width, height : int
        Size of the image in pixels.
    epsg : int
        Projected coordinate reference system.
    corner : (int, int)
        Easting and northing of the upper left corner; GMLJP2 has the centre of the first pixel instead.
    metres : int
        Size of a pixel.
    """
    centre = {"x": corner[0] + metres // 2, "y": corner[1] - metres // 2}
    gml = _GML.format(width=width, height=height, epsg=epsg, metres=metres, **centre)
    instance = _box(b"asoc", _box(b"lbl ", b"gml.root-instance") + _box(b"xml ", gml.encode()))
    return _box(b"asoc", _box(b"lbl ", b"gml.data") + instance)


def tile_corner(tile: str) -> tuple[int, int, int]:
    """Return EPSG code, easting and northing of a tile's upper left corner.

    A tile begins with a square of the military grid (MGRS), widened to multiples of 60 m from the equator.
    """
    found = re.fullmatch(r"T(0[1-9]|[1-5]\d|60)([C-HJ-NP-X])([A-HJ-NP-Z])([A-HJ-NP-V])", tile)
    if found is None:
        raise InvalidRequest("", "this is not a tile of Sentinel-2", 'give a tile such as "T29UNU"')
    zone, letters = int(found[1]), "ABCDEFGHJKLMNPQRSTUVWXYZ"
    band, column, row = (letters.index(letter) for letter in found.groups()[1:])
    latitude = 8 * band - 92  # the middle of the band
    below = (row - 5 * (zone % 2 == 0)) % 20 * 100_000  # from the equator; the rows' letters recur every 2000 km
    below += round((latitude * 110_700 - below) / 2_000_000) * 2_000_000
    easting = (column % 8 + 1) * 100_000 // 60 * 60
    northing = -(-(below + 100_000) // 60) * 60
    return (32600 + zone, easting, northing) if latitude > 0 else (32700 + zone, easting, 10_000_000 + northing)


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content
