"""Memory of a decoder for a read."""

from jp2batch.image.decoder import Decoder
from jp2batch.jpeg2000.geometry.grid import Rect, Selection, image_area, tile_count
from jp2batch.jpeg2000.plan.resolved_read import Precision
from jp2batch.jpeg2000.syntax.headers import MainHeader


def decoder_memory(decoder: Decoder, header: MainHeader, selection: Selection, unit: Precision) -> int:
    """Return the memory of a decoder for a selection, in bytes.

    It decodes the wanted part of a tile or, with the unit "file", the whole image.
    """
    area, tiles = image_area(header.siz), tile_count(header.siz)
    if unit == "file":
        return decoder.memory(header, area, selection.rlevel, tiles=tiles, dropped=True)
    tile = Rect(0, 0, min(header.siz.ytsiz, area.height), min(header.siz.xtsiz, area.width))
    border = decoder.border(header, 0)
    part = None if border is None else _in_tile(selection, border, tile)
    return decoder.memory(header, tile, selection.rlevel, tiles=1, dropped=unit != "packets", part=part)


def _in_tile(selection: Selection, border: int, tile: Rect) -> Rect:
    """Return the largest part of a tile to decode for a selection.

    The tile begins at 0; the border is in samples of the full image.
    """
    area, scale = selection.area, 1 << selection.rlevel
    height, width = area.height * scale + 2 * border, area.width * scale + 2 * border
    return Rect(0, 0, min(tile.height, height), min(tile.width, width))
