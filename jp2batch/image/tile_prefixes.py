"""Tiles at resolution levels as byte ranges: prefixes of their tile-parts.

With a single layer, packets of low resolution levels come first in a tile-part: the bytes from its SOT to the last
packet of a level, with the main header, are all that decoding the tile at this level needs.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from jp2batch.core import config
from jp2batch.core.errors import CorruptImage, UnsupportedImage
from jp2batch.core.options import StorageOptions
from jp2batch.core.ranges import ByteRange
from jp2batch.image.decode import too_large
from jp2batch.image.decoder import default_decoder
from jp2batch.image.fetch import run_steps
from jp2batch.image.georeference import Georeference
from jp2batch.image.open import OpenImage, with_image
from jp2batch.image.place import place_of
from jp2batch.jpeg2000.assemble import TileBlock, assemble
from jp2batch.jpeg2000.geometry.grid import Selection, samples, select_area, tile_area, tile_counts
from jp2batch.jpeg2000.plan.packet_ranges import locate_packets, needs_whole_tiles
from jp2batch.jpeg2000.plan.resolved_read import Image, ResolvedRead, Tile, wanted_ranges
from jp2batch.jpeg2000.syntax.boxes import Container
from jp2batch.jpeg2000.syntax.headers import MainHeader, TilePartHeader, read_header, read_tile_part
from jp2batch.jpeg2000.syntax.markers import SOT_SIZE, Marker, Sot
from jp2batch.jpeg2000.syntax.sparse_file import Ahead, SparseFile, Steps
from jp2batch.storage.source import open_source

T = TypeVar("T")

_NOT_NEEDED = frozenset({Marker.TLM, Marker.PLM, Marker.COM, Marker.CRG})
_HINT = "open it with jp2batch.open"


@dataclass(frozen=True, slots=True, eq=False)
class TilePrefixes:
    """Byte ranges of all tiles of an image at each resolution level."""

    url: str
    """Path or URL of the image."""
    header: bytes
    """Main header of the codestream, without pointers and comments."""
    shape: tuple[int, int]
    """Rows and columns of the full image."""
    tile: tuple[int, int]
    """Rows and columns of a full tile."""
    dtype: np.dtype[np.generic]
    """Type of the samples."""
    place: Georeference | None
    """Georeference of the image, if any."""
    starts: NDArray[np.int64]
    """Position of each tile, of shape (rows, columns) of tiles."""
    lengths: NDArray[np.int64]
    """Bytes of each tile, of shape (levels, rows, columns)."""

    @property
    def rlevels(self) -> range:
        """All resolution levels, by the number of levels dropped."""
        return range(len(self.lengths))

    def level_shape(self, rlevel: int) -> tuple[int, int]:
        """Return the rows and columns of a level."""
        return -(-self.shape[0] >> rlevel), -(-self.shape[1] >> rlevel)

    def chunk_shape(self, rlevel: int) -> tuple[int, int]:
        """Return the rows and columns of a full tile at a level."""
        return -(-self.tile[0] >> rlevel), -(-self.tile[1] >> rlevel)


def locate_prefixes(url: str, *, storage_options: StorageOptions = None) -> TilePrefixes:
    """Locate the tiles of an image at each level, from headers.

    Raises
    ------
    UnsupportedImage
        A level of a tile is not a single byte range, or tiles are no regular grid.
    Jp2BatchError
        The image cannot be read.
    """

    def act(opened: OpenImage) -> TilePrefixes:
        opened.check()
        header = opened.image.header
        _refuse(opened.image.obstacle or _obstacle(header, len(opened.channels)))
        selection = opened.selected(header.levels)
        reading = run_steps(opened.steps(selection, headers_only=True), opened.fetch)
        opened.question(reading)
        opened.confirm()
        _refuse("" if reading.tiles else reading.reasons[0] if reading.reasons else "its tiles are not located")
        parts = [_only_part(reading.tiles[tile]) for tile in sorted(reading.tiles)]
        ranges = [[_prefix(header, part, rlevel) for part in parts] for rlevel in range(header.levels + 1)]
        grid = tile_counts(header.siz)
        siz = header.siz
        return TilePrefixes(
            url,
            _header_bytes(header),
            (siz.ysiz, siz.xsiz),
            (min(siz.ytsiz, siz.ysiz), min(siz.xtsiz, siz.xsiz)),
            opened.dtype,
            place_of(opened),
            np.array([part.start for part in parts]).reshape(grid),
            np.array([[one.size for one in level] for level in ranges]).reshape(-1, *grid),
        )

    return with_image(open_source(url, storage_options=storage_options), act)


def decode_prefix(header: bytes, rlevel: int, dtype: np.dtype[np.generic], data: bytes) -> NDArray[np.generic]:
    """Decode a tile at a resolution level from its prefix.

    Returns
    -------
    ndarray
        Samples of the tile, filled with 0 to the size of a full tile.

    Raises
    ------
    CorruptImage
        The bytes are no such prefix, or damaged.
    """
    pieces = SparseFile(len(header) + len(data))
    pieces.add(0, header + data)
    main = _from_memory(read_header(pieces, 0, Ahead()))
    sot = Sot.parse(data[:SOT_SIZE])
    if sot is None or main.stop != len(header) or not 0 <= rlevel <= main.levels:
        raise _stale()
    stop = main.stop + sot.length if sot.length else pieces.size
    part = _from_memory(read_tile_part(pieces, main.stop, sot, stop, Ahead()))
    rows, columns = tile_counts(main.siz)
    if sot.tile >= rows * columns:
        raise _stale()
    selection = _of_tile(main, sot.tile, rlevel)
    tile = _tile(main, part, selection)
    if wanted_ranges([tile])[-1].stop > pieces.size:
        raise _stale()
    return _decoded(pieces, main, ResolvedRead(selection, "index", {sot.tile: tile}, ()), dtype)


def _decoded(
    pieces: SparseFile, header: MainHeader, reading: ResolvedRead, dtype: np.dtype[np.generic]
) -> NDArray[np.generic]:
    """Decode the only tile of a read."""
    decoder, rlevel = default_decoder(), reading.selection.rlevel
    (tile,) = reading.tiles
    siz, area = header.siz, tile_area(header.siz, tile)
    decoder.check(header)
    needed = decoder.memory(header, area, rlevel, tiles=1, dropped=True)
    if needed > 2 * config.max_result():
        raise too_large(needed, config.max_result())
    image = Image(Container((), ByteRange(0, pieces.size), raw=True), header)
    row, column = divmod(tile, tile_counts(siz)[1])
    codestream = assemble(pieces, image, reading, TileBlock(row, column, 1, 1))
    full = -(-min(siz.ytsiz, siz.ysiz) >> rlevel), -(-min(siz.xtsiz, siz.xsiz) >> rlevel)
    values = np.zeros((1, *full), dtype)
    inside = values[:, : codestream.area.height, : codestream.area.width]
    if warnings := decoder.decode(
        codestream.data, inside, reduce=codestream.reduce, origin=(0, 0), area=None, threads=1
    ):
        raise CorruptImage("", f"tile {tile} is damaged ({warnings[0]})", _HINT)
    plane: NDArray[np.generic] = values[0]
    return plane


def _obstacle(header: MainHeader, bands: int) -> str:
    """Return why tiles are no chunks of a regular grid, else empty."""
    siz = header.siz
    if header.has(Marker.PPM):
        return "its packet headers are in PPM, away from the tiles"
    if bands != 1 or len(siz.components) != 1:
        return f"it has {bands} bands"
    if any((siz.xosiz, siz.yosiz, siz.xtosiz, siz.ytosiz)) or (siz.components[0].xrsiz, siz.components[0].yrsiz) != (
        1,
        1,
    ):
        return "its image or tile offset is not 0, or it is subsampled"
    rows, columns = tile_counts(siz)
    cut = [
        size for size, count in ((siz.ytsiz, rows), (siz.xtsiz, columns)) if count > 1 and size % (1 << header.levels)
    ]
    return f"{cut[0]} pixels of a tile cannot be divided by 2^{header.levels}" if cut else ""


def _only_part(tile: Tile) -> TilePartHeader:
    _refuse("" if len(tile.parts) == 1 else f"tile {tile.parts[0].sot.tile} has {len(tile.parts)} tile-parts")
    return tile.parts[0]


def _prefix(header: MainHeader, part: TilePartHeader, rlevel: int) -> ByteRange:
    """Return the bytes of a tile at a level, from SOT on."""
    ranges = wanted_ranges([_tile(header, part, _of_tile(header, part.sot.tile, rlevel))])
    contiguous = len(ranges) == 1 and ranges[0].start in (part.start, part.data)
    reason = f"level {rlevel} of tile {part.sot.tile} is not at the beginning of its tile-part"
    _refuse("" if contiguous else reason)
    return ByteRange(part.start, ranges[0].stop)


def _of_tile(header: MainHeader, tile: int, rlevel: int) -> Selection:
    return select_area(header, rlevel, samples(header.siz, tile_area(header.siz, tile), rlevel))


def _tile(header: MainHeader, part: TilePartHeader, selection: Selection) -> Tile:
    """Return the packets of a level; without usable PLT, the whole tile-part."""
    if selection.rlevel == 0 or needs_whole_tiles(header):
        return Tile((part,), None)
    packets, _ = locate_packets(header, (part,), selection)
    return Tile((part,), packets)


def _header_bytes(header: MainHeader) -> bytes:
    segments = (segment.encode() for segment in header.segments if segment.marker not in _NOT_NEEDED)
    return b"".join([Marker.SOC.code, *segments])


def _from_memory(steps: Steps[T]) -> T:
    """Run steps of which all bytes are present."""
    try:
        next(steps)
    except StopIteration as end:
        value: T = end.value
        return value
    raise _stale()


def _stale() -> CorruptImage:
    return CorruptImage("", "the bytes of a chunk are no tile of this image", "write the references again")


def _refuse(reason: str) -> None:
    if reason:
        raise UnsupportedImage("", f"it cannot be a virtual Zarr array: {reason}", _HINT)
