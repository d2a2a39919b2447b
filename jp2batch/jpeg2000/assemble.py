"""Assembly of valid codestreams from a sparse file and a plan.

Each codestream contains a rectangle of tiles. Two methods give the same pixels:

- *rewrite*: SIZ, COD, COC, QCD, QCC describe the reduced image, and only its packets are included. Fastest to decode.
- *empty packets*: the header keeps all resolution levels, unwanted packets are replaced by a zero byte (B.10.3), and
  the decoder drops levels. Used for tiles whose size is not divisible by 2^rlevel, and for unchanged tile-parts.

Packets are cut at the lengths in PLT. To detect a wrong PLT, a SOP marker segment (A.8.1) is put before each packet,
and a layer of empty packets is added, so that a SOP also follows each packet: a decoder warns if a packet does not end
at the next SOP. (Hence a packet by PLT may contain no other SOP.)

Markers not needed for decoding are left out: TLM, PLT, PLM, COM, CRG. (A widely used decoder writes out of bounds when
it reads TLM.) Packet headers in PPM are moved to PPT, or to their packets. Cut packets are put in the order of COD,
without POC.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace

from jp2batch.core.errors import CorruptImage
from jp2batch.jpeg2000.geometry.grid import Rect, ceil_div, image_area, samples, tile_counts
from jp2batch.jpeg2000.geometry.packet_choice import NO_PACKETS
from jp2batch.jpeg2000.geometry.reduction import reduced_siz
from jp2batch.jpeg2000.plan.packet_data import Parts, whole_tiles
from jp2batch.jpeg2000.plan.resolved_read import Image, ResolvedRead, Tile
from jp2batch.jpeg2000.syntax.boxes import SIGNATURE, Container
from jp2batch.jpeg2000.syntax.coding import Quantization
from jp2batch.jpeg2000.syntax.headers import MainHeader
from jp2batch.jpeg2000.syntax.markers import SOT_SIZE, Marker, Segment, Siz, Sot, encode_segment
from jp2batch.jpeg2000.syntax.sparse_file import SparseFile

_NOT_NEEDED = frozenset({Marker.TLM, Marker.PLM, Marker.PLT, Marker.PPM, Marker.COM, Marker.CRG})
_KNOWN = frozenset(Marker)
_CHANGING_SAMPLES = frozenset({"pclr", "cmap", "cdef"})
_LARGEST_PPT, _MOST_PPT = 65_000, 256  # bytes of packet headers in a marker segment, and segments of a tile
_PART = 0.8  # if less than this part of a codestream is wanted, only that part is decoded
_XSIZ = 8  # offset of Xsiz in a codestream: behind SOC, the SIZ marker, Lsiz and Rsiz
_SOD = Marker.SOD.code


@dataclass(frozen=True, slots=True)
class Codestream:
    """A valid codestream for a decoder."""

    data: bytes
    reduce: int
    """Resolution levels for the decoder to drop."""
    area: Rect
    """Decoded samples, in coordinates of the resolution level."""
    sampling: tuple[int, int] = (1, 1)
    """XRsiz and YRsiz of its components."""
    header: MainHeader | None = None
    """Main header; None unless it describes all tiles.

    None also for a whole file.
    """

    def part(self, samples: Rect, border: int) -> Rect:
        """Return the area to decode for `samples` with a border.

        It is the whole area if only a small part could be saved.
        """
        part = samples.grown(border).intersection(self.area)
        return part if part.height * part.width < _PART * self.area.height * self.area.width else self.area

    def on_grid(self, samples: Rect) -> tuple[int, int, int, int]:
        """Return the reference-grid area (x0, y0, x1, y1) of some samples.

        It is the smallest such area.
        """
        dx, dy = self.sampling
        last_x, last_y = (samples.x1 - 1 << self.reduce) * dx, (samples.y1 - 1 << self.reduce) * dy
        return (samples.x0 << self.reduce) * dx, (samples.y0 << self.reduce) * dy, last_x + 1, last_y + 1


@dataclass(frozen=True, slots=True)
class TileBlock:
    """A rectangle of tiles."""

    row: int
    column: int
    rows: int
    columns: int

    def tiles(self, header: MainHeader) -> list[int]:
        """Return the numbers of its tiles, in raster order."""
        _, columns = tile_counts(header.siz)
        rows = range(self.row * columns, (self.row + self.rows) * columns, columns)
        return [row + column for row in rows for column in range(self.column, self.column + self.columns)]


def tile_blocks(header: MainHeader, reading: ResolvedRead, samples_each: int, most_tiles: int) -> list[TileBlock]:
    """Cut the tiles of a read into rectangles.

    Each has about `samples_each` samples, and at most `most_tiles` tiles; all have about as many rows. Tiles of a
    selection in parts are alone: they need not be neighbours, and their parts are collected one by one.
    """
    _, columns = tile_counts(header.siz)
    if reading.selection.parts:
        return [TileBlock(*divmod(tile, columns), 1, 1) for tile in reading.selection.tiles]
    rows_of, columns_of = ({t // columns for t in reading.tiles}, {t % columns for t in reading.tiles})
    row0, row1, column0, column1 = min(rows_of), max(rows_of) + 1, min(columns_of), max(columns_of) + 1
    tile = samples(header.siz, Rect(0, 0, header.siz.ytsiz, header.siz.xtsiz), reading.selection.rlevel)
    tiles = min(samples_each // (tile.height * tile.width), most_tiles)
    across = min(column1 - column0, max(1, tiles))
    rows = row1 - row0
    down = ceil_div(rows, max(round(rows / max(1, tiles // across)), ceil_div(rows, max(1, most_tiles // across))))
    return [
        TileBlock(row, column, min(down, row1 - row), min(across, column1 - column))
        for row in range(row0, row1, down)
        for column in range(column0, column1, across)
    ]


def tile_runs(header: MainHeader, tiles: Iterable[int], most_tiles: int) -> list[TileBlock]:
    """Return blocks of exactly these tiles: neighbours in rows.

    Each has at most `most_tiles`.
    """
    _, columns = tile_counts(header.siz)
    blocks: list[TileBlock] = []
    for row, column in (divmod(tile, columns) for tile in sorted(tiles)):
        last = blocks[-1] if blocks else None
        follows = last is not None and (last.row, last.column + last.columns) == (row, column)
        if last is not None and follows and last.columns < most_tiles:
            blocks[-1] = replace(last, columns=last.columns + 1)
        else:
            blocks.append(TileBlock(row, column, 1, 1))
    return blocks


def assemble(pieces: SparseFile, image: Image, reading: ResolvedRead, block: TileBlock) -> Codestream:
    """Assemble the codestream of a rectangle of tiles."""
    rlevel = reading.selection.rlevel
    siz = block_siz(image.header.siz, block)
    area = samples(siz, image_area(siz), rlevel)
    header, reduce = replace(image.header, siz=siz), rlevel
    by_packets = reading.unit == "packets"
    if by_packets and rlevel and (smaller := reduced_siz(siz, rlevel)):
        header, reduce = _reduced(header, smaller, rlevel), 0
    tiles = block_tiles(image.header, reading, block)
    cut = {number: tile for number, tile in enumerate(tiles) if tile.packets is not None}
    packets = whole_tiles(pieces, header, cut, guarded=by_packets)
    parts: Parts = []
    for number, tile in enumerate(tiles):
        if tile.packets is not None:
            parts += _tile_part(Sot(number, 0, 0, 1), packets.pop(number))
        else:
            parts += _as_they_are(pieces, tile, number)
    component = siz.components[0]
    data = b"".join([_main_header(header, by_packets, reduce < rlevel), *parts, Marker.EOC.code])
    alike = not any(part.changes_coding for tile in tiles for part in tile.parts)
    return Codestream(data, reduce, area, (component.xrsiz, component.yrsiz), header if alike else None)


def whole_file(pieces: SparseFile, image: Image, rlevel: int) -> Codestream:
    """Return the whole file, its TLM hidden as comments.

    The comments have equal lengths. Decoders also look for TLM inside unknown segments.
    """
    start, stop = image.header.start, image.header.stop
    parts, position = [pieces.read(0, start)], start
    for segment in image.header.segments:
        if segment.marker == Marker.TLM or segment.marker not in _KNOWN:
            end = segment.start + (2 if segment.marker == Marker.TLM else 4 + len(segment.body))
            hidden = pieces.read(segment.start, min(end, stop)).replace(Marker.TLM.code, Marker.COM.code)
            parts += [pieces.read(position, segment.start), hidden]
            position = segment.start + len(hidden)
    data = b"".join([*parts, pieces.read(position, pieces.size)])
    return Codestream(data, rlevel, samples(image.header.siz, image_area(image.header.siz), rlevel))


def in_jp2(codestream: Codestream, container: Container) -> Codestream:
    """Wrap a codestream in the file's boxes if they change samples.

    Such boxes are palettes and channel definitions; the decoder applies them as for the whole file (I.5.3.4 to
    I.5.3.6).
    """
    parent = container.header
    if parent is None or not any(box.type in _CHANGING_SAMPLES for box in parent.children()):
        return codestream
    xsiz, ysiz, xosiz, yosiz = struct.unpack_from(">IIII", codestream.data, _XSIZ)
    size = struct.pack(">II", ysiz - yosiz, xsiz - xosiz)  # decoders compare it with SIZ
    header = b"".join(
        _box(box.type, size + box.content[8:] if box.type == "ihdr" else box.content) for box in parent.children()
    )
    boxes = [SIGNATURE, _box("ftyp", b"jp2 \0\0\0\0jp2 "), _box("jp2h", header), _box("jp2c", codestream.data)]
    return replace(codestream, data=b"".join(boxes))


def block_tiles(header: MainHeader, reading: ResolvedRead, block: TileBlock) -> list[Tile]:
    """Return the planned tiles of a block, in raster order."""
    return [reading.tiles.get(number, _ABSENT) for number in block.tiles(header)]


def block_siz(siz: Siz, block: TileBlock) -> Siz:
    """Return SIZ for a rectangle of tiles.

    The reference grid stays, because precincts are anchored at its origin.
    """
    x, y = siz.xtosiz + block.column * siz.xtsiz, siz.ytosiz + block.row * siz.ytsiz
    return replace(
        siz,
        xtosiz=x,
        ytosiz=y,
        xosiz=max(siz.xosiz, x),
        yosiz=max(siz.yosiz, y),
        xsiz=min(siz.xsiz, x + block.columns * siz.xtsiz),
        ysiz=min(siz.ysiz, y + block.rows * siz.ytsiz),
    )


_ABSENT = Tile((), NO_PACKETS)
"""A tile without samples at this level; all its packets are empty."""


def _reduced(header: MainHeader, siz: Siz, rlevel: int) -> MainHeader:
    codings = tuple(coding.reduced(rlevel) for coding in header.codings)
    return replace(
        header,
        siz=siz,
        cod=replace(header.cod, coding=header.cod.coding.reduced(min(rlevel, header.cod.coding.levels))),
        codings=codings,
        quantizations=tuple(
            quantization.reduced(coding.levels)
            for quantization, coding in zip(header.quantizations, codings, strict=True)
        ),
    )


def _main_header(header: MainHeader, guarded: bool, reduced: bool) -> bytes:
    """Return the main header; unchanged segments are copied.

    Changed are SIZ; COD if `guarded`, for the SOP and the layer added by `whole_tiles`; and COC, QCD and QCC
    if `reduced`. (Otherwise a tile with more levels may need all step sizes.) POC is left out if `guarded`.
    """
    parts = [Marker.SOC.code, header.siz.encode()]
    for segment in header.segments:
        match segment.marker:
            case Marker.SIZ:
                pass
            case Marker.COD if guarded:
                parts.append(replace(header.cod, scod=header.cod.scod | 2, layers=header.cod.layers + 1).encode())
            case Marker.COC | Marker.QCD | Marker.QCC if reduced:
                parts.append(_component_segment(header, segment))
            case Marker.POC if guarded:
                pass
            case marker if marker not in _NOT_NEEDED:
                parts.append(segment.encode())
    return b"".join(parts)


def _component_segment(header: MainHeader, segment: Segment) -> bytes:
    """Return a QCD, COC or QCC marker segment for `header`."""
    if segment.marker == Marker.QCD:
        levels = max(coding.levels for coding in header.codings)
        return encode_segment(Marker.QCD, Quantization.parse(segment, 0).reduced(levels).encode())
    size = 1 if len(header.siz.components) < 257 else 2
    component = int.from_bytes(segment.body[:size], "big")
    if segment.marker == Marker.COC:
        scoc = segment.body[size : size + 1]
        return encode_segment(Marker.COC, segment.body[:size] + scoc + header.codings[component].encode())
    return encode_segment(Marker.QCC, segment.body[:size] + header.quantizations[component].encode())


def _as_they_are(pieces: SparseFile, tile: Tile, number: int) -> Parts:
    """Return the tile-parts of a tile, unchanged except for PPM.

    Packet headers in PPM are moved to PPT of the first tile-part.
    """
    result: Parts = []
    packed = _ppt(b"".join(part.packed_headers or b"" for part in tile.parts))
    for part in tile.parts:
        segments = b"".join(segment.encode() for segment in part.segments)
        sot = part.sot._replace(tile=number, parts=len(tile.parts))
        result += _tile_part(sot, [pieces.read(part.data, part.stop)], segments + packed)
        packed = b""
    return result


def _ppt(headers: bytes) -> bytes:
    """Return PPT marker segments of packet headers (A.7.5)."""
    chunks = [headers[start : start + _LARGEST_PPT] for start in range(0, len(headers), _LARGEST_PPT)]
    if len(chunks) > _MOST_PPT:
        raise CorruptImage("", f"a tile has {len(headers)} bytes of packet headers, too many for PPT")
    return b"".join(encode_segment(Marker.PPT, bytes((index,)) + chunk) for index, chunk in enumerate(chunks))


def _tile_part(sot: Sot, packets: Parts, segments: bytes = b"") -> Parts:
    length = SOT_SIZE + len(segments) + len(_SOD) + sum(map(len, packets))
    return [Sot(sot.tile, length, sot.part, sot.parts).encode() + segments + _SOD, *packets]


def _box(kind: str, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, kind.encode("latin-1")) + content
