"""The packets of a tile, in each of the five progression orders (T.800 B.12)."""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

from jp2batch.core.errors import CorruptImage
from jp2batch.jpeg2000.geometry.grid import PrecinctGrids, ceil_div, precinct_axis, precinct_counts
from jp2batch.jpeg2000.syntax.headers import MainHeader


class Packet(NamedTuple):
    """The packet of one layer of one precinct."""

    component: int
    resolution: int
    precinct: int
    layer: int


class _Placed(NamedTuple):
    """A packet with its place on the reference grid."""

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
"""Progressions in which positions play no part: tiles of equal counts have equal orders."""


def count_packets(header: MainHeader, grids: PrecinctGrids) -> int:
    """Return the number of packets of a tile, without listing them: a header can claim any number."""
    return header.cod.layers * sum(map(sum, precinct_counts(grids)))


def least_packets(header: MainHeader) -> int:
    """Return a number of packets that the whole image has at least, without looking at each of its tiles."""
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
    """Return the fewest precincts along an axis: those of one big tile, and one in each tile inside."""
    samples = ceil_div(ceil_div(image[1], sampling), 1 << drop) - ceil_div(ceil_div(image[0], sampling), 1 << drop)
    inside = ceil_div(image[1] - tiles[0], tiles[1]) - 2  # the first and the last may be slivers
    return max(precinct_axis(*image, sampling, drop, exponent).count, min(inside, samples))


def check_packets(header: MainHeader, length: int) -> None:
    """Refuse more packets than a codestream of `length` bytes can hold: each has one byte or more, B.10.3.

    Raises
    ------
    CorruptImage
        A decoder would be busy with them for hours.
    """
    if (least := least_packets(header)) > length:
        raise CorruptImage("", f"its header claims {least:.3g} packets, in {length} bytes", "fetch the file again")


def packet_order(header: MainHeader, grids: PrecinctGrids, *, more_layers: int = 0) -> tuple[Packet, ...]:
    """Return the packets of a tile in the order in which they lie in the codestream.

    `more_layers` are appended to those that the header tells of; they leave the order of the others as it is, since in
    every progression the layer is compared like any other number.
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
