"""Packets of a tile in the progression orders of T.800 B.12."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jp2batch.core.errors import CorruptImage
from jp2batch.jpeg2000.geometry.grid import ceil_div
from jp2batch.jpeg2000.geometry.precinct_grids import PrecinctGrids, precinct_axis, precinct_counts
from jp2batch.jpeg2000.syntax.coding import ProgressionChange
from jp2batch.jpeg2000.syntax.headers import MainHeader


class Packet(NamedTuple):
    """A packet: a layer of a precinct."""

    component: int
    resolution: int
    precinct: int
    layer: int


_PLACELESS = ("LRCP", "RLCP")
"""Progressions independent of positions.

Tiles with equal precinct counts have equal packet orders.
"""

_Axis = tuple[int, int, int]
"""Count, first position from the tile's origin, and spacing of precincts."""

_Grids = tuple[tuple[tuple[_Axis, _Axis], ...], ...]
"""Rows and columns of precincts, by component and resolution level."""

Places = NDArray[np.int64]
"""Numbers of packets or precincts."""


@dataclass(frozen=True, slots=True, eq=False)
class PacketOrder:
    """Packets of a tile in codestream order, as arrays.

    Precincts are numbered through the tile: by component, resolution level and precinct.
    """

    counts: tuple[tuple[int, ...], ...]
    """Precincts by component and resolution level."""
    layers: int
    """Number of layers."""
    precinct: NDArray[np.int32]
    """Number of each packet's precinct."""
    layer: NDArray[np.uint16]
    """Layer of each packet."""

    def __len__(self) -> int:
        return len(self.precinct)

    def __iter__(self) -> Iterator[Packet]:
        precincts = [
            (component, resolution, precinct)
            for component, levels in enumerate(self.counts)
            for resolution, count in enumerate(levels)
            for precinct in range(count)
        ]
        for number, layer in zip(self.precinct.tolist(), self.layer.tolist(), strict=True):
            component, resolution, precinct = precincts[number]
            yield Packet(component, resolution, precinct, layer)

    def first_precincts(self) -> dict[tuple[int, int], int]:
        """Return the number of the first precinct of each level.

        The keys are (component, resolution level).
        """
        keys = [(component, level) for component, levels in enumerate(self.counts) for level in range(len(levels))]
        firsts = itertools.accumulate(itertools.chain.from_iterable(self.counts), initial=0)
        return dict(zip(keys, firsts, strict=False))


def count_packets(header: MainHeader, grids: PrecinctGrids, *, more_layers: int = 0) -> int:
    """Return the number of packets of a tile, without listing them.

    A hostile header can claim any number. With changes of progression (POC), the codestream may have fewer.
    """
    return (header.cod.layers + more_layers) * sum(map(sum, precinct_counts(grids)))


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


def packet_order(header: MainHeader, grids: PrecinctGrids, *, more_layers: int = 0) -> PacketOrder:
    """Return the packets of a tile in codestream order.

    `more_layers` are appended to the layers of the header. They do not change the order of the other packets. Tiles of
    equal geometry share the result.
    """
    progression, layers = header.cod.progression, header.cod.layers + more_layers
    if progression in _PLACELESS:
        return _order_by_counts(progression, layers, precinct_counts(grids))
    return _order_by_position(progression, layers, _from_origin(grids))


def changed_order(header: MainHeader, grids: PrecinctGrids, changes: Sequence[ProgressionChange]) -> PacketOrder:
    """Return the packets of a tile with changes of progression (POC), A.6.6.

    Each change adds its packets that are not yet in the codestream. Without changes, the result is as by
    `packet_order`.
    """
    if not changes:
        return packet_order(header, grids)
    return _order_with_changes(tuple(changes), header.cod.layers, _from_origin(grids))


def _from_origin(grids: PrecinctGrids) -> _Grids:
    """Return precincts relative to the tile, whose place changes no order."""
    return tuple(tuple((rows.from_origin(), columns.from_origin()) for rows, columns in levels) for levels in grids)


@lru_cache(maxsize=32)
def _order_with_changes(changes: Sequence[ProgressionChange], layers: int, grids: _Grids) -> PacketOrder:
    counts = _counts(grids)
    component, resolution = _levels(counts)
    done = np.zeros((len(component), layers), np.bool_)  # by precinct and layer
    parts = [(np.zeros(0, np.int32), np.zeros(0, np.uint16))]
    for change in changes:
        by_counts = change.progression in _PLACELESS
        order = (_order_by_counts if by_counts else _order_by_position)(
            change.progression, layers, counts if by_counts else grids
        )
        precinct, layer = order.precinct, order.layer
        new = ~done[precinct, layer] & (layer < change.layers)
        for value, wanted in ((resolution[precinct], change.resolutions), (component[precinct], change.components)):
            new &= (value >= wanted.start) & (value < wanted.stop)
        parts.append((precinct[new], layer[new]))
        done[parts[-1]] = True
    precincts, layer_numbers = zip(*parts, strict=True)
    return PacketOrder(counts, layers, np.concatenate(precincts), np.concatenate(layer_numbers))


@lru_cache(maxsize=32)
def _order_by_counts(progression: str, layers: int, counts: tuple[tuple[int, ...], ...]) -> PacketOrder:
    """Return the packets of LRCP or RLCP, B.12.1.1 and B.12.1.2."""
    component, resolution = _levels(counts)
    precincts = np.lexsort((component, resolution))  # stable: precincts of a level stay in order
    layer = np.repeat(np.arange(layers), len(precincts))
    precincts = np.tile(precincts, layers)
    if progression == "RLCP":
        by_resolution = np.argsort(resolution[precincts], kind="stable")
        precincts, layer = precincts[by_resolution], layer[by_resolution]
    return PacketOrder(counts, layers, precincts.astype(np.int32), layer.astype(np.uint16))


@lru_cache(maxsize=32)
def _order_by_position(progression: str, layers: int, grids: _Grids) -> PacketOrder:
    """Return the packets of RPCL, PCRL or CPRL, B.12.1.3 to B.12.1.5.

    Sorting is stable: equal keys stay in the order of component, resolution level and precinct.
    """
    counts = _counts(grids)
    component, resolution = _levels(counts)
    places = [(_positions(rows), _positions(columns)) for levels in grids for rows, columns in levels]
    none = np.zeros(0, np.int64)  # there may be no levels
    y = np.concatenate([none, *(np.repeat(rows, len(columns)) for rows, columns in places)])
    x = np.concatenate([none, *(np.tile(columns, len(rows)) for rows, columns in places)])
    keys = {"RPCL": (component, x, y, resolution), "PCRL": (x, y), "CPRL": (x, y, component)}  # the last is the first
    precincts = np.repeat(np.lexsort(keys[progression]), layers)
    layer = np.tile(np.arange(layers), len(y))
    return PacketOrder(counts, layers, precincts.astype(np.int32), layer.astype(np.uint16))


def _counts(grids: _Grids) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(rows[0] * columns[0] for rows, columns in levels) for levels in grids)


def _levels(counts: tuple[tuple[int, ...], ...]) -> tuple[Places, Places]:
    """Return the component and the resolution level of each precinct."""
    sizes = [count for levels in counts for count in levels]
    component = np.repeat(np.arange(len(counts)), [sum(levels) for levels in counts])
    resolution = np.repeat([level for levels in counts for level in range(len(levels))], sizes)
    return component, resolution


def _positions(axis: _Axis) -> Places:
    """Return the positions of precincts along an axis of a tile."""
    count, first, spacing = axis
    return np.maximum(0, first + np.arange(count) * spacing)
