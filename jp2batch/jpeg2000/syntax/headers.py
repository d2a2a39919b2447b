"""Main header and tile-part headers of a codestream (T.800 A.3)."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from jp2batch.core.errors import CorruptImage, UnsupportedImage
from jp2batch.core.ranges import ByteRange
from jp2batch.jpeg2000.syntax.coding import (
    Cod,
    CodingStyle,
    ProgressionChange,
    Quantization,
    parse_codings,
    parse_poc,
    parse_quantizations,
)
from jp2batch.jpeg2000.syntax.markers import SOT_SIZE, Marker, Segment, Siz, Sot
from jp2batch.jpeg2000.syntax.pointers import (
    PacketLengths,
    parse_lengths,
    parse_lists,
    parse_plm,
    parse_plt,
    parse_ppm,
    parse_tlm,
)
from jp2batch.jpeg2000.syntax.sparse_file import Ahead, SparseFile, Steps, require

_LARGEST_HEADER = 64 << 20  # bytes
_MOST_SEGMENTS = 1 << 16  # COC and QCC of 16384 components are half of that
_LONG_HEADER = 64 << 10
_MISPLACED = {  # by the end marker of the header: markers forbidden in it, table A.2
    Marker.SOT: frozenset({Marker.PLT, Marker.PPT}),
    Marker.SOD: frozenset({Marker.CAP, Marker.SIZ, Marker.TLM, Marker.PLM, Marker.PPM, Marker.CRG}),
}
_WITHOUT_LENGTH = range(0xFF30, 0xFF40)  # reserved markers without a segment: table A.1
_SOT, _PLT, _SOD = Marker.SOT.code + b"\0\x0a", Marker.PLT.code, Marker.SOD.code
_SOT_FIELDS = struct.Struct(">HIBB")
_INFORMATIVE = frozenset({Marker.PLT, Marker.COM})  # of a tile-part header: packets can be decoded without them
_ELSEWHERE = frozenset({Marker.PPT, Marker.POC})  # of a tile-part header: they move or order packets only


@dataclass(frozen=True)
class MainHeader:
    """The main header of a codestream."""

    start: int
    """Position of SOC in the file."""
    stop: int
    """Position of the first SOT in the file."""
    segments: tuple[Segment, ...]
    """All marker segments, in the order of the file."""
    siz: Siz
    cod: Cod
    codings: tuple[CodingStyle, ...]
    """Coding style of each component: COC, or else COD."""
    quantizations: tuple[Quantization, ...]
    """Quantization of each component: QCC, or else QCD."""
    tile_parts: tuple[tuple[int | None, int], ...] = field(repr=False)
    """(tile, length) of all tile-parts, from TLM.

    Empty if TLM is absent or malformed.
    """
    packed_lengths: tuple[PacketLengths | None, ...] = field(repr=False, compare=False)
    """Packet lengths of each tile-part of the codestream, from PLM."""
    packed_headers: tuple[bytes, ...] | None = field(repr=False, compare=False)
    """Packet headers of each tile-part, from PPM; None if malformed."""
    changes: tuple[ProgressionChange, ...] | None
    """Changes of progression, from POC; None if malformed."""
    markers: tuple[int, ...] = field(repr=False)
    """Markers of all segments, in the order of the file."""

    @property
    def levels(self) -> int:
        """Number of resolution levels common to all components."""
        return min(coding.levels for coding in self.codings)

    @property
    def htj2k(self) -> bool:
        """Whether code-blocks may be coded as in T.814 (HTJ2K)."""
        return any(coding.style & 0x40 for coding in self.codings) or self.has(Marker.CAP)

    def has(self, *markers: Marker) -> bool:
        """Return whether the main header contains any of the markers."""
        return any(marker in self.markers for marker in markers)


class TilePartHeader(NamedTuple):  # a read makes a hundred of them
    """The header of a tile-part."""

    sot: Sot
    start: int
    """Position of SOT in the file."""
    data: int
    """Position of the first packet, behind SOD."""
    stop: int
    """Position behind the tile-part."""
    packet_lengths: PacketLengths | None
    """Packet lengths, from PLT; None if PLT is absent or malformed."""
    changes_coding: bool
    """Whether its marker segments override the coding in the main header."""
    segments: tuple[Segment, ...] = ()
    """Marker segments of its header needed by a decoder."""
    packed_headers: bytes | None = None
    """Its packet headers, from PPM; None without PPM."""

    @property
    def has_only_plt(self) -> bool:
        """Whether PLT is present, and nothing else in its header matters."""
        alone = not self.segments and self.packed_headers is None and not self.changes_coding
        return alone and self.packet_lengths is not None


def read_header(pieces: SparseFile, start: int, ahead: Ahead) -> Steps[MainHeader]:
    """Read the main header of the codestream at `start`.

    Raises
    ------
    CorruptImage
        The header is damaged, or the file ends in it.
    UnsupportedImage
        The image uses an unsupported coding.
    """
    soc = yield from require(pieces, start, start + 2, ahead)
    if soc != Marker.SOC.code:
        raise CorruptImage("", f"no codestream at byte {start}: it starts with {soc.hex()}", "fetch the file again")
    segments, stop = yield from _read_segments(pieces, start + 2, Marker.SOT, ahead)
    return _parse_header(start, stop, segments)


def read_tile_part(pieces: SparseFile, start: int, sot: Sot, stop: int, ahead: Ahead) -> Steps[TilePartHeader]:
    """Read the header of a tile-part, after its SOT.

    Parameters
    ----------
    start, stop : int
        Extent of the tile-part in the file.
    ahead : Ahead
        Bytes to fetch together with the first missing byte.
    """
    if (usual := _usual_header(*pieces.piece_at(start), stop - start)) is not None:
        return usual.tile_part(start, stop, None if usual.plt is None else parse_lengths(usual.plt))
    segments, sod = yield from _read_segments(pieces, start + SOT_SIZE, Marker.SOD, ahead, stop)
    lengths = [s for s in segments if s.marker == Marker.PLT]
    others = tuple(s for s in segments if s.marker not in _INFORMATIVE)
    return TilePartHeader(
        sot=sot,
        start=start,
        data=sod + 2,
        stop=stop,
        packet_lengths=parse_plt(lengths) if lengths else None,
        changes_coding=any(s.marker not in _ELSEWHERE for s in others),  # an unknown marker may also change the coding
        segments=others,
    )


def parse_tile_parts(pieces: SparseFile, extents: Sequence[ByteRange]) -> list[TilePartHeader | None]:
    """Return the headers of tile-parts already read.

    Only headers of SOT and at most one PLT, each within a piece, are parsed; for others, the result is None. The rest
    is as in `read_tile_part`.
    """
    found = [_usual_header(*pieces.piece_at(start), stop - start) for start, stop in extents]
    lengths = iter(parse_lists([plt for header in found if header for plt in (header.plt,) if plt is not None]))
    return [
        header and header.tile_part(start, stop, None if header.plt is None else next(lengths))
        for (start, stop), header in zip(extents, found, strict=True)
    ]


class _UsualHeader(NamedTuple):
    """A tile-part header of SOT and at most a single PLT."""

    sot: Sot
    plt: bytes | None
    """Packet lengths as in PLT; None without PLT."""
    size: int
    """Bytes up to the first packet."""

    def tile_part(self, start: int, stop: int, lengths: PacketLengths | None) -> TilePartHeader:
        """Return the tile-part of this extent, with its packet lengths."""
        return TilePartHeader(self.sot, start, start + self.size, stop, lengths, changes_coding=False)


def _usual_header(data: bytes, at: int, length: int) -> _UsualHeader | None:
    """Parse a tile-part header at an offset; None if unusual."""
    limit = min(len(data), at + length)
    if not data.startswith(_SOT, at) or limit < at + SOT_SIZE + 2:
        return None
    sot = Sot(*_SOT_FIELDS.unpack_from(data, at + len(_SOT)))
    position, plt = at + SOT_SIZE, None
    if data.startswith(_PLT, position) and position + 5 <= limit:  # with Lplt and Zplt
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if end < position + 5:
            return None
        position, plt = end, data[position + 5 : end]
    if not data.startswith(_SOD, position) or position + 2 > limit:
        return None
    return _UsualHeader(sot, plt, position + 2 - at)


def _read_segments(
    pieces: SparseFile, start: int, end: Marker, ahead: Ahead, limit: int | None = None
) -> Steps[tuple[list[Segment], int]]:
    """Return the marker segments before marker `end`, and its position."""
    limit = min(start + _LARGEST_HEADER, pieces.size if limit is None else limit)
    segments: list[Segment] = []
    position = start
    while position + 2 <= limit and len(segments) < _MOST_SEGMENTS:
        if position - start > _LONG_HEADER:
            ahead = Ahead(position - start)  # grow the read-ahead with the header
        marker = int.from_bytes((yield from require(pieces, position, position + 2, ahead)), "big")
        if marker == end:
            return segments, position
        if marker in _WITHOUT_LENGTH and end == Marker.SOT:
            segments.append(Segment(marker, position, b""))
            position += 2
            continue
        if marker < 0xFF4F or marker in (Marker.SOT, Marker.SOD, Marker.EOC):
            raise CorruptImage("", f"no marker segment at byte {position}, but {marker:#06x}", "fetch the file again")
        if marker in _MISPLACED[end]:
            raise Segment(marker, position, b"").wrong("is out of place")
        length = int.from_bytes((yield from require(pieces, position + 2, position + 4, ahead)), "big")
        if length < 2:
            raise Segment(marker, position, b"").wrong(f"claims a length of {length}")
        body = yield from require(pieces, position + 4, position + 2 + length, ahead)
        segments.append(Segment(marker, position, body))
        position += 2 + length
    if position + 2 > pieces.size:
        yield from require(pieces, position, position + 2)  # raises: the file is cut short
    raise CorruptImage("", f"no {end.name} marker between bytes {start} and {limit}", "fetch the file again")


def _parse_header(start: int, stop: int, segments: list[Segment]) -> MainHeader:
    if not segments or segments[0].marker != Marker.SIZ:
        raise CorruptImage("", f"the main header at byte {start} does not begin with SIZ", "fetch the file again")
    siz = Siz.parse(segments[0])
    cod, codings = parse_codings(segments, start, len(siz.components))
    return MainHeader(
        start,
        stop,
        tuple(segments),
        siz,
        cod,
        tuple(codings),
        tuple(parse_quantizations(segments, start, len(siz.components))),
        _tile_parts([segment for segment in segments if segment.marker == Marker.TLM]),
        parse_plm([segment for segment in segments if segment.marker == Marker.PLM]),
        parse_ppm([segment for segment in segments if segment.marker == Marker.PPM]),
        parse_poc([segment for segment in segments if segment.marker == Marker.POC], len(siz.components)),
        tuple(segment.marker for segment in segments),
    )


def _tile_parts(segments: list[Segment]) -> tuple[tuple[int | None, int], ...]:
    try:
        return parse_tlm(segments)
    except CorruptImage:
        return ()  # TLM is optional


def check_supported(header: MainHeader) -> None:
    """Refuse an image whose components have different sampling.

    Raises
    ------
    UnsupportedImage
        The components are sampled differently.
    """
    sampling = {(c.xrsiz, c.yrsiz) for c in header.siz.components}
    if len(sampling) > 1:
        raise UnsupportedImage(
            "",
            f"its components are sampled differently ({sorted(sampling)})",
            "convert it with opj_decompress -upsample",
        )
