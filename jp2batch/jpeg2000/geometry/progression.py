"""Packets of a tile in the progression orders of T.800 B.12."""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

from jp2batch.core.errors import CorruptImage
from jp2batch.jpeg2000.geometry.grid import ceil_div
from jp2batch.jpeg2000.geometry.precinct_grids import PrecinctGrids, precinct_axis, precinct_counts
from jp2batch.jpeg2000.syntax.headers import MainHeader


class Packet(NamedTuple):
    """A packet: a layer of a precinct."""

    component: int
    resolution: int
    precinct: int
    layer: int


class _Placed(NamedTuple):
    """A packet with its position on the reference grid."""

    packet: Packet
    y: int
    x: int


_KEYS: dict[str, Callable[[_Placed], tuple[int, ...]]] = {
    "LRCP": lambda p: (p.packet.layer, p.packet.resolution, p.packet.component, p.packet.precinct),
    "RLCP": lambda p: (p.packet.resolution, p.packet.layer, p.packet.component, p.packet.precinct),
    "RPCL": lambda p: (p.packet.resolution, p.y, p.x, p.packet.component, p.packet.precinct, p.packet.layer),
    "PCRL": lambda p: (p.y, p.x, p.packet.component, p.packet.resolution, p.packet.precinct, p.packet.layer),
    "CPRL": lambda p: (p.packet.component, p.y, p.x, p.packet.resolution, p.packet.precinct, p.packet.layer),
}

_PLACELESS = ("LRCP", "RLCP")
"""Progressions independent of positions.

Tiles with equal precinct counts have equal packet orders.
"""


def count_packets(header: MainHeader, grids: PrecinctGrids) -> int:
    """Return the number of packets of a tile, without listing them.

    A hostile header can claim any number.
    """
    return header.cod.layers * sum(map(sum, precinct_counts(grids)))


def least_packets(header: MainHeader) -> int:
    """Return a lower bound of the number of packets in the image.

    It is computed without a loop over the tiles.
    """
    siz, total = header.siz, 0
    alike = Counter(zip(siz.components, header.codings, strict=True))
    for (component, coding), components in alike.items():
        for resolution, (ppx, ppy) in enumerate(coding.precincts):
            drop = coding.levels - resolution
            rows = _least((siz.yosiz, siz.ysiz), (siz.ytosiz, siz.ytsiz), component.yrsiz, drop, ppy)
            columns = _least((siz.xosiz, siz.xsiz), (siz.xtosiz, siz.xtsiz), component.xrsiz, drop, ppx)
            total += components * rows * columns
    return header.cod.layers * total


def _least(image: tuple[int, int], tiles: tuple[int, int], sampling: int, drop: int, exponent: int) -> int:
    """Return a lower bound of the precincts along an axis.

    It is the larger of two numbers: the precincts of a single large tile, and one for each inner tile.
    """
    samples = ceil_div(ceil_div(image[1], sampling), 1 << drop) - ceil_div(ceil_div(image[0], sampling), 1 << drop)
    inside = ceil_div(image[1] - tiles[0], tiles[1]) - 2  # the first and the last tile may be slivers
    return max(precinct_axis(*image, sampling, drop, exponent).count, min(inside, samples))


def check_packets(header: MainHeader, length: int) -> None:
    """Refuse more packets than fit into a codestream of `length` bytes.

    Each packet has one byte or more, B.10.3.

    Raises
    ------
    CorruptImage
        The header claims more packets than bytes; a decoder would run for hours.
    """
    if (least := least_packets(header)) > length:
        raise CorruptImage("", f"its header claims {least:.3g} packets, in {length} bytes", "fetch the file again")


def packet_order(header: MainHeader, grids: PrecinctGrids, *, more_layers: int = 0) -> tuple[Packet, ...]:
    """Return the packets of a tile in codestream order.

    `more_layers` are appended to the layers of the header. They do not change the order of the other packets.
    """
    progression, layers = header.cod.progression, header.cod.layers + more_layers
    if progression in _PLACELESS:
        return _order_by_counts(progression, layers, precinct_counts(grids))
    return _sorted(progression, _by_position(grids, layers))


@lru_cache(maxsize=32)
def _order_by_counts(progression: str, layers: int, counts: tuple[tuple[int, ...], ...]) -> tuple[Packet, ...]:
    placed = (
        _Placed(Packet(component, resolution, precinct, layer), 0, 0)
        for component, levels in enumerate(counts)
        for resolution, count in enumerate(levels)
        for precinct in range(count)
        for layer in range(layers)
    )
    return _sorted(progression, placed)


def _by_position(grids: PrecinctGrids, layers: int) -> Iterator[_Placed]:
    for component, levels in enumerate(grids):
        for resolution, (rows, columns) in enumerate(levels):
            for row in range(rows.count):
                for column in range(columns.count):
                    precinct = row * columns.count + column
                    y, x = rows.position(row), columns.position(column)
                    for layer in range(layers):
                        yield _Placed(Packet(component, resolution, precinct, layer), y, x)


def _sorted(progression: str, placed: Iterator[_Placed]) -> tuple[Packet, ...]:
    return tuple(p.packet for p in sorted(placed, key=_KEYS[progression]))
