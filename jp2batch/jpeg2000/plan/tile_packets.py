"""Resolve tiles into packets, by PLT or by packet headers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jp2batch.core.costs import PRICE, StoreCosts
from jp2batch.core.ranges import ByteRange
from jp2batch.jpeg2000.geometry.code_blocks import TileBlocks, needs_blocks
from jp2batch.jpeg2000.geometry.grid import Selection, WholeTiles, select
from jp2batch.jpeg2000.geometry.packet_choice import PacketChoice, TilePackets, choose_packets
from jp2batch.jpeg2000.geometry.precinct_grids import tile_precincts
from jp2batch.jpeg2000.geometry.precincts import is_partial, wanted_precincts
from jp2batch.jpeg2000.geometry.progression import changed_order, count_packets
from jp2batch.jpeg2000.locate.completeness import InconsistentFile
from jp2batch.jpeg2000.locate.packed_headers import has_packed_headers, packed_headers
from jp2batch.jpeg2000.locate.packet_chain import ChainedPackets, ChainQuery, chain_packets
from jp2batch.jpeg2000.locate.packet_sizes import ChainCost, PacketSizes
from jp2batch.jpeg2000.plan.packet_ranges import (
    MOST_PACKETS,
    NO_PLT,
    chain_obstacle,
    locate_all,
    needs_whole_tiles,
    tile_changes,
)
from jp2batch.jpeg2000.plan.resolved_read import Precision, Tile
from jp2batch.jpeg2000.syntax.coding import ProgressionChange
from jp2batch.jpeg2000.syntax.headers import MainHeader, TilePartHeader
from jp2batch.jpeg2000.syntax.sparse_file import SparseFile, Steps, gather

_EACH_TILE, _EACH_PACKET, _EACH_BLOCK = 4e-4, 5e-5, 3e-6  # seconds to parse packet headers: measured
_SAMPLE = 32  # tiles by which the cost of all is estimated
_MOST_BLOCKS = 1 << 21  # code-blocks of a tile: more take too much time and memory
_INDEXED, _LEAST_INDEXED = 0.05, 1 << 20  # largest share of a file to read for its index, and bytes
TOO_SLOW = "without PLT, its packet headers would take longer than the tile-parts"

Parts = Mapping[int, Sequence[TilePartHeader]]
"""Tile-parts of each tile."""


@dataclass(frozen=True, slots=True)
class TileResolver:
    """Finds the packets of located tiles."""

    pieces: SparseFile
    header: MainHeader
    selection: Selection
    store: StoreCosts

    def resolve(self, parts: Sequence[TilePartHeader], at_best: Precision) -> Steps[tuple[dict[int, Tile], list[str]]]:
        """Return the wanted parts of each tile, and reasons for imprecision."""
        by_tile: dict[int, list[TilePartHeader]] = {}
        for part in parts:
            by_tile.setdefault(part.sot.tile, []).append(part)
        if at_best != "packets":
            return _whole(by_tile), []
        by_precincts = needs_packets(self.header, self.selection)
        if not by_precincts and not needs_blocks(self.header, self.selection):
            return _whole(by_tile), []
        if reason := needs_whole_tiles(self.header):
            return _whole(by_tile), [reason] if by_precincts else []
        packets, reasons = locate_all(self.header, by_tile, self.selection) if by_precincts else ({}, [])
        if any(reason != NO_PLT for reason in reasons):
            return _whole(by_tile), reasons
        chained, failures = yield from self._chained(by_tile, packets)
        if len({*packets, *chained}) < len(by_tile):
            return _whole(by_tile), failures or reasons  # a codestream cannot mix both kinds of tiles
        tiles = {number: Tile(tuple(own), packets.get(number)) for number, own in by_tile.items()}
        for number, found in chained.items():
            tiles[number] = Tile(tuple(by_tile[number]), found.packets, found.headers)
        return tiles, []

    def _chained(
        self, by_tile: Parts, packets: Mapping[int, TilePackets]
    ) -> Steps[tuple[dict[int, ChainedPackets], list[str]]]:
        """Find packets by their headers where it pays; return reasons otherwise."""
        tiles = [tile for tile in by_tile if tile not in packets or self._may_pay(packets[tile])]
        if reasons := dict.fromkeys(filter(None, (chain_obstacle(self.header, by_tile[tile]) for tile in tiles))):
            return {}, list(reasons)
        try:
            some = self._queries(by_tile, tiles[:: -(-len(tiles) // _SAMPLE) or 1])
            if not self._worthwhile(some, packets):
                return {}, []
            queries = self._queries(by_tile, tiles)
        except InconsistentFile as problem:
            return {}, [str(problem)]
        if len(queries) < len(tiles):
            return {}, ["a tile has too many packets, or code-blocks"]
        found = yield from gather(map(_attempt, queries))
        pairs = zip(queries, found, strict=True)
        chained = {query.tile: result for query, result in pairs if isinstance(result, ChainedPackets)}
        return chained, list(dict.fromkeys(result for result in found if isinstance(result, str)))

    def _queries(self, by_tile: Parts, tiles: Sequence[int]) -> list[ChainQuery]:
        """Return the queries for some tiles, except those of too many packets."""
        every = (chain_query(self.pieces, self.header, by_tile[tile], self.selection, self.store) for tile in tiles)
        return [query for query in every if query is not None]

    def _may_pay(self, packets: TilePackets) -> bool:
        """Return whether code-blocks could cost less than whole packets.

        They take a round more, at least.
        """
        size = int((packets.stops - packets.starts).sum())
        return size > 2 * self.store.latency * self.store.bandwidth + (1 << 20)

    def _worthwhile(self, queries: Sequence[ChainQuery], packets: Mapping[int, TilePackets]) -> bool:
        """Return whether reading packet headers costs less than it saves.

        The queries are of some of the tiles.
        """
        if not queries:
            return False
        total = ranges = 0
        for query in queries:
            found = packets.get(query.tile)
            total += query.length if found is None else int((found.stops - found.starts).sum())
            ranges += 1 if found is None else len(found.ranges())
        chain = chain_price(list(map(query_cost, queries)), self.store)
        return chain < self.store.cost(ranges, total) + total * PRICE


def chain_query(
    pieces: SparseFile,
    header: MainHeader,
    parts: Sequence[TilePartHeader],
    selection: Selection,
    store: StoreCosts,
) -> ChainQuery | None:
    """Return the query for a tile's packets; None if too many.

    Raises
    ------
    InconsistentFile
        Its packet headers in PPM or PPT cannot be told.
    """
    changes = tile_changes(header, parts) or ()
    choice = chain_choice(header, selection, parts[0].sot.tile, changes)
    if choice is None:
        return None
    return ChainQuery(pieces, header, parts, selection, choice, store, packed_headers(header, parts))


def chain_choice(
    header: MainHeader, selection: Selection, tile: int, changes: Sequence[ProgressionChange]
) -> PacketChoice | None:
    """Return the packets with wanted code-blocks; None if too many."""
    grids = tile_precincts(header, tile)
    if count_packets(header, grids) > MOST_PACKETS:
        return None
    blocks = TileBlocks(header, selection, tile)
    keys = ((component, level) for component, levels in enumerate(grids) for level in range(len(levels)))
    if sum(blocks.count(*key) for key in keys) > _MOST_BLOCKS:
        return None
    return choose_packets(changed_order(header, grids, changes), wanted_precincts(header, selection, tile, grids))


def query_cost(query: ChainQuery) -> ChainCost:
    """Return the expected cost of finding the packets of a tile."""
    blocks = TileBlocks(query.header, query.selection, query.tile)
    return PacketSizes.expected(query.header, query.length, query.choice, blocks, query.store).cost(
        packed=query.packed is not None
    )


def chain_price(costs: Sequence[ChainCost], store: StoreCosts) -> float:
    """Return the price of finding packets of several tiles side by side."""
    rounds, requests = max(cost.requests for cost in costs), sum(cost.requests for cost in costs)
    size = sum(cost.size + cost.needed for cost in costs)
    parsing = len(costs) * _EACH_TILE + sum(_EACH_PACKET * cost.packets + _EACH_BLOCK * cost.blocks for cost in costs)
    return store.price(requests, size, rounds) + parsing


def all_packet_headers(
    pieces: SparseFile, header: MainHeader, tiles: Mapping[int, Tile], store: StoreCosts
) -> Steps[dict[int, Tile]]:
    """Find all packet headers of tiles without PLT, unless too many.

    Returns
    -------
    tiles : dict of int to Tile
        The tiles, with their packet headers.
    """
    everything = select(header, 0)
    candidates = [tile.parts for tile in tiles.values() if _lacks_headers(header, tile.parts)]
    every = (chain_query(pieces, header, parts, everything, store) for parts in candidates)
    queries = [query for query in every if query is not None]
    if sum(query_cost(query).size for query in queries) > max(_LEAST_INDEXED, pieces.size * _INDEXED):
        return dict(tiles)
    found = yield from gather(map(_attempt, queries))
    pairs = zip(queries, found, strict=True)
    headers = {query.tile: one.headers for query, one in pairs if isinstance(one, ChainedPackets)}
    return {number: tile._replace(packet_headers=headers.get(number, ())) for number, tile in tiles.items()}


def _lacks_headers(header: MainHeader, parts: Sequence[TilePartHeader]) -> bool:
    """Return whether an index can have packet headers in place of PLT."""
    return (
        all(part.packet_lengths is None for part in parts)
        and not has_packed_headers(parts)
        and not chain_obstacle(header, parts)
        and not needs_whole_tiles(header)
    )


def expected_chain(
    header: MainHeader, codestream: ByteRange, selection: Selection, store: StoreCosts
) -> ChainCost | None:
    """Return the expected cost of a chain in an image's only tile.

    None if reading the tile whole costs less.
    """
    if needs_whole_tiles(header) or (choice := chain_choice(header, selection, 0, header.changes or ())) is None:
        return None
    length = codestream.stop - header.stop
    cost = PacketSizes.expected(header, length, choice, TileBlocks(header, selection, 0), store).cost(
        packed=bool(header.packed_headers)
    )
    return cost if chain_price([cost], store) < store.cost(1, length) + length * PRICE else None


def omits_packets(header: MainHeader, selection: Selection) -> bool:
    """Return whether a selection can omit some packets or code-blocks."""
    return needs_packets(header, selection) or needs_blocks(header, selection)


def needs_packets(header: MainHeader, selection: Selection) -> bool:
    """Return whether a selection can omit some packets."""
    if selection.rlevel > 0:
        return True
    whole = WholeTiles(header.siz, selection)
    return any(is_partial(header, selection, tile) for tile in selection.tiles if tile not in whole)


def _attempt(query: ChainQuery) -> Steps[ChainedPackets | str]:
    """Find packets by their headers, or return why they cannot be found."""
    try:
        return (yield from chain_packets(query))
    except InconsistentFile as problem:
        return str(problem)


def _whole(by_tile: Parts) -> dict[int, Tile]:
    return {number: Tile(tuple(own), None) for number, own in by_tile.items()}
