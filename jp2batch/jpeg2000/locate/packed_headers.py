"""Packet headers of a tile in PPM or PPT (T.800 A.7.4, A.7.5)."""

from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise

from jp2batch.jpeg2000.locate.completeness import InconsistentFile
from jp2batch.jpeg2000.syntax.headers import MainHeader, TilePartHeader
from jp2batch.jpeg2000.syntax.markers import Marker, Segment
from jp2batch.jpeg2000.syntax.pointers import parse_ppt


def has_packed_headers(parts: Sequence[TilePartHeader]) -> bool:
    """Return whether packet headers of a tile are in PPM or PPT."""
    return any(part.packed_headers is not None or _ppt(part) for part in parts)


def packed_headers(header: MainHeader, parts: Sequence[TilePartHeader]) -> bytes | None:
    """Return the packet headers of a tile, joined.

    Returns
    -------
    headers : bytes or None
        None if they are with the packets.

    Raises
    ------
    InconsistentFile
        They cannot be told, or decoders read them differently.
    """
    if not has_packed_headers(parts):
        return None
    if header.cod.sop:
        raise InconsistentFile("SOP may stand before packets with headers in PPM or PPT")
    from_ppm = [part.packed_headers for part in parts if part.packed_headers is not None]
    of_parts = [segments for segments in map(_ppt, parts) if segments]
    if not of_parts:
        return b"".join(from_ppm)
    if from_ppm:
        raise InconsistentFile("PPT follows PPM")
    from_ppt = [one for one in map(parse_ppt, of_parts) if one is not None]
    if len(from_ppt) < len(of_parts) or any(one.last >= other.first for one, other in pairwise(from_ppt)):
        raise InconsistentFile("Zppt does not ascend")  # decoders count it through all tile-parts of a tile
    return b"".join(one.data for one in from_ppt)


def with_packed_headers(header: MainHeader, part: TilePartHeader, ordinal: int) -> TilePartHeader:
    """Return a tile-part with its packet headers from PPM, if any.

    Raises
    ------
    InconsistentFile
        PPM has none for it.
    """
    if not header.packed_headers:
        return part
    if ordinal >= len(header.packed_headers):
        raise InconsistentFile(f"PPM has no packet headers of tile-part {ordinal}")
    return part._replace(packed_headers=header.packed_headers[ordinal])


def check_packed_order(header: MainHeader, tiles: Iterable[int]) -> None:
    """With PPM, check each tile for consecutive tile-parts.

    Decoders take the packet headers in PPM tile by tile.

    Parameters
    ----------
    tiles : iterable of int
        Tile of each tile-part, in codestream order.

    Raises
    ------
    InconsistentFile
        Another tile lies between tile-parts of a tile.
    """
    if header.has(Marker.PPM):
        runs = [tile for tile, _ in groupby(tiles)]
        if len(set(runs)) < len(runs):
            raise InconsistentFile("PPM has packet headers of interleaved tile-parts")


def _ppt(part: TilePartHeader) -> list[Segment]:
    return [segment for segment in part.segments if segment.marker == Marker.PPT]
