"""Interpolation search: find a few tiles without TLM.

Tile-parts mostly lie in the order of their tiles. Search for a SOT near its expected position, learn the error from its
Isot, then walk on or search again. A find is trusted if it is proven genuine (`sot_proof`), if each wanted tile was
reached from the tile before it, and if PLT accounts for all packets in a single tile-part. The file must also look
regular: one tile-part per tile, in the order of tiles, no EOC before the end, and no gap too long for its tiles
(`second_codestream`). Otherwise the search ends in `InconsistentFile`, and the chain is followed from its beginning.

Two irregularities stay unnoticed: packets that contain chains of whole tile-parts, against B.10.1, and the limits
described in `second_codestream`. No encoder writes such a file.
"""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from operator import itemgetter
from statistics import fmean, pstdev

from jp2batch.core.ranges import ByteRange
from jp2batch.jpeg2000.locate import sot_proof
from jp2batch.jpeg2000.locate.chain_search import HOP, ChainSearch
from jp2batch.jpeg2000.locate.completeness import InconsistentFile, has_all_packets
from jp2batch.jpeg2000.locate.second_codestream import Span, doubtful, lookouts
from jp2batch.jpeg2000.locate.sot_chain import ChainedTilePart, ChainEnd
from jp2batch.jpeg2000.locate.stretches import NEAR, Gap, runs_of_near
from jp2batch.jpeg2000.locate.tile_parts import LocatedTiles, TileQuery
from jp2batch.jpeg2000.syntax.headers import TilePartHeader
from jp2batch.jpeg2000.syntax.markers import Marker
from jp2batch.jpeg2000.syntax.sparse_file import Steps

_FAR = 6  # tile-parts to walk along beside a search
_CHUNK, _CHUNK_ALONE = 1.0, 1.4  # part of a gap's mean tile-part fetched first by a search; by the only one in it
_LEAST_CHUNK = 0.7  # of the image's mean tile-part, at least
_ASIDE_CHUNK = 0.5  # likewise, by a search that serves only a check
_FURTHER = 0.6  # part of the first request that each further one fetches
_EARLY = 1.0  # part of a tile-part by which a search starts before the expected position
_CAUTIOUS = 0.3  # standard deviations of the expected position, likewise
_VARIATION, _LEAST_VARIATION = 0.5, 0.15  # standard deviation of lengths, of their mean: assumed; at least
_ENOUGH = 10  # tile-parts to learn it from
_TRUSTED = 3  # attempts to search for a tile at its expected position alone
_ENDS = 2  # landmarks of an image in which nothing has been found yet
_PATIENCE = 20  # rounds allowed beyond the rounds for walking along the tiles
_MOST_CHECKS = 4  # limit of checks of gaps too long for their tiles
_ASIDE = 12  # tiles before the last: farther, the search for the last hardly meets any


def locate_by_interpolation(query: TileQuery) -> Steps[LocatedTiles]:
    """Read the tile-part headers of a few tiles.

    Raises
    ------
    InconsistentFile
        The file is irregular, or a tile is missing.
    """
    if query.header.has(Marker.PLM):
        raise InconsistentFile("PLM lists packets by the order of tile-parts")
    if query.header.cod.sop:
        raise InconsistentFile("SOP may contain bytes like a tile-part")
    search = _Interpolation(ChainSearch(query, hop=HOP), sorted(query.tiles))
    yield from search.front.advance(search.begin)
    return LocatedTiles(search.parts(), search.front.passed())


class _Interpolation:
    def __init__(self, front: ChainSearch, tiles: list[int]) -> None:
        self.front = front
        front.goes_on = front.needs_proof = self._is_near
        front.seeks = self._is_lacking_around
        self._tiles = tiles
        self._attempts: Counter[int] = Counter()
        self._patience = _PATIENCE + max(last - first for first, last in runs_of_near(tiles))
        self._checked: list[Gap] = []
        self._looked_for = set[int]()
        self._begun = False

    def begin(self) -> list[Steps[None]] | None:
        """Start the next walks and searches; None if all is proven.

        For each missing tile: walk or search at its expected position.
        """
        if self.front.rounds > self._patience:
            raise InconsistentFile("tile-parts are not at their expected positions")
        lacking = self._missing_tiles()
        if not lacking:
            if proofs := [proof for link in self._wanted_links() for proof in self.front.prove(link.start)]:
                return proofs
            return [] if self.front.unproven else self._checks()
        self.front.correct_sibling()
        begun = [] if self._begun else self._look_out([], _ASIDE)
        self._begun = True
        found = set[int]()
        for gap in self.front.gaps():
            here = lacking[bisect_left(lacking, gap.tile) : bisect_left(lacking, gap.end + 1)]
            found.update(here)
            if here:
                begun += self._approach(gap, [first for first, _ in runs_of_near(here)])
        if len(found) < len(lacking):
            raise InconsistentFile("a tile is not at its expected position")
        return begun

    def parts(self) -> list[TilePartHeader]:
        """Return the tile-parts of the wanted tiles."""
        return [link.part for link in self._wanted_links() if link.part is not None]

    def _wanted_links(self) -> list[ChainedTilePart]:
        wanted = set(self._tiles)
        return [link for link in self._links() if link.sot.tile in wanted]

    def _approach(self, gap: Gap, tiles: list[int]) -> Iterator[Steps[None]]:
        """Start walks and searches for missing tiles in a gap.

        Walk to the first tile if it is near, or beside a search; search a little before each other tile.
        """
        distance = tiles[0] - gap.tile
        if distance < _FAR and not gap.walked:
            yield self.front.walk(gap.start, gap.tile)
        if gap.scanned:
            return
        if (seen := self._seen_before(gap)) is not None:
            yield self.front.search(seen, gap.clear, gap.clear - seen)
            return
        sought = tiles[distance < NEAR :]
        chunk = self._chunk(gap, _CHUNK if len(sought) > 1 else _CHUNK_ALONE)
        aims = sorted({aim for tile in sought for aim in self._aims(gap, tile, chunk)})
        aims = [aim for aim in aims if gap.start < aim.start < gap.clear]
        if not aims and distance >= _FAR and not gap.walked:
            yield self.front.walk(gap.start, gap.tile)
        lead = sot_proof.look_back(gap.start + 1, aims[0].start) if aims and self.front.query.request_worth else 0
        for aim, following in pairwise([*aims, ByteRange(gap.clear, gap.clear)]):
            if aim.start < following.start:
                further = int(_FURTHER * chunk)
                yield self.front.search(aim.start - lead, following.start, aim.size + lead, further=further)

    def _chunk(self, gap: Gap, share: float = _CHUNK) -> int:
        worth = self.front.query.request_worth // 2
        return int(max(share * _mean(gap), _LEAST_CHUNK * self.front.mean, worth)) + 1

    def _aims(self, gap: Gap, tile: int, chunk: int) -> Iterator[ByteRange]:
        """Return bytes to search for the predecessor of a tile.

        If a sibling's lengths tell where it is, there; only there if such lengths have fitted before. If it was not
        found where expected, its gap is cut in three at every second attempt.
        """
        if self.front.sibling is not None and self._attempts[tile] < _TRUSTED and gap.tile < tile - 1 < gap.end:
            place = self.front.sibling.place(*gap.ends, tile - 1)
            if place.size < chunk:
                self._attempts[tile] += 1
                yield ByteRange(place.start, place.stop + HOP)
                if self.front.sibling.is_tried or len(self.front.landmarks()) > _ENDS:
                    return
        yield from (ByteRange(start, start + chunk) for start in self._usual_aims(gap, tile))

    def _usual_aims(self, gap: Gap, tile: int) -> Iterator[int]:
        attempt, self._attempts[tile] = self._attempts[tile], self._attempts[tile] + 1
        if attempt >= _TRUSTED and attempt % 2:
            third = (gap.clear - gap.start) // 3
            yield from (gap.start + third, gap.start + 2 * third)
            return
        mean, before = _mean(gap), tile - 1 - gap.tile
        spread = self._variation() * mean * math.sqrt(before * (gap.tiles - before) / max(1, gap.tiles))
        expected = gap.start + before * mean - _CAUTIOUS * spread - _EARLY * mean
        yield max(gap.start + 1, min(int(expected), gap.clear - self._chunk(gap)))

    def _variation(self) -> float:
        """Return the standard deviation of tile-part lengths, of their mean."""
        lengths = [link.stop - link.start for link in self._links()]
        if len(lengths) < _ENOUGH:
            return _VARIATION
        return float(max(_LEAST_VARIATION, pstdev(lengths) / fmean(lengths)))

    def _is_lacking_around(self, position: int) -> bool:
        """Return whether a tile is missing in the gap around a position."""
        lacking = self._missing_tiles()
        around = [gap for gap in self.front.gaps() if gap.start <= position < gap.stop]
        return any(gap.tile <= tile <= gap.end for gap in around for tile in lacking)

    def _seen_before(self, gap: Gap) -> int | None:
        """Return the start of the bytes already read before a gap's end."""
        missing = self.front.pieces.missing(gap.start, gap.clear)
        start = missing[-1].stop if missing else gap.start
        return start if start < gap.clear and missing else None

    def _checks(self) -> list[Steps[None]] | None:
        """Check gaps before a wanted tile if too long for their tiles.

        Return None if no check is left.
        """
        gaps = {gap.start: gap for gap in self.front.gaps()}
        if self.front.is_searching or any(gap.walked for gap in gaps.values()):
            return []
        links = self._links()
        parts = [(link.start, Span(1, link.stop - link.start, True)) for link in links]
        holes = [(gap.start, Span(gap.tiles, gap.stop - gap.start, False)) for gap in gaps.values()]
        starts, spans = zip(*sorted(parts + holes, key=itemgetter(0)), strict=True)
        last = max(link.start for link in links if link.sot.tile in self._tiles)
        before = [gaps[starts[index]] for index in doubtful(spans, self.front.count) if starts[index] < last]
        before += [gap for gap in gaps.values() if gap.start < last and gap not in before and self._is_there(gap)]
        looks = [gap for gap in (*self._checked, *before) if not self._is_there(gap)]
        if any(gap in self._checked for gap in before) or len(looks) > _MOST_CHECKS:
            raise InconsistentFile("there may be more tile-parts than tiles")
        self._checked += before
        return [self._check(gap) for gap in before] or self._look_out([link.sot.tile for link in links]) or None

    def _look_out(self, tiles: list[int], distance: int = 0) -> list[Steps[None]]:
        """Search once for some tiles before a wanted tile at the end.

        They are at least `distance` tiles before it. See `second_codestream`.
        """
        last = self._tiles[-1]
        aims = [tile for tile in lookouts(tiles, last, self.front.count) if last - tile >= distance]
        aims = [tile for tile in aims if tile not in self._looked_for]
        self._looked_for.update(aims)
        gaps = [(gap, tile) for gap in self.front.gaps() for tile in aims if gap.tile < tile < gap.end]
        return [self._search(gap, (tile - gap.tile) / gap.tiles) for gap, tile in gaps]

    def _search(self, gap: Gap, share: float) -> Steps[None]:
        """Search for a tile-part at a fraction `share` of a gap."""
        start, chunk = gap.start + int(share * (gap.stop - gap.start)), int(_ASIDE_CHUNK * _mean(gap)) + 1
        return self.front.search(start, gap.clear, chunk, aside=True)

    def _is_there(self, gap: Gap) -> bool:
        """Return whether a gap has been read completely.

        A walk through it then costs nothing.
        """
        return self.front.pieces.covers(gap.start, gap.stop)

    def _check(self, gap: Gap) -> Steps[None]:
        """Walk through a short or fully read gap, else search its middle."""
        return self.front.walk(gap.start, gap.tile) if self._is_walked_through(gap) else self._search(gap, 0.5)

    def _is_walked_through(self, gap: Gap) -> bool:
        return gap.tiles <= NEAR or self._is_there(gap)

    def _missing_tiles(self) -> list[int]:
        """Return the tiles not found yet."""
        links = self._links()
        for one, other in pairwise(links):
            if one.stop > other.start or one.sot.tile >= other.sot.tile:
                raise InconsistentFile("tile-parts do not lie in the order of their tiles")
        found = set(self._proven_tiles(links))
        return [tile for tile in self._tiles if tile not in found]

    def _proven_tiles(self, links: list[ChainedTilePart]) -> Iterator[int]:
        """Iterate over tiles reached from their predecessor and proven complete."""
        position = self.front.header.stop
        for link in links:
            if link.sot.part or link.sot.parts != 1:
                raise InconsistentFile("tiles have several tile-parts, or no TNsot")
            if link.start == position:
                if link.part is not None and not has_all_packets(self.front.header, [link.part]):
                    raise InconsistentFile(f"PLT does not prove that tile {link.sot.tile} is complete")
                yield link.sot.tile
            position = link.stop

    def _links(self) -> list[ChainedTilePart]:
        links = [found for _, found in sorted(self.front.outcomes.items()) if isinstance(found, ChainedTilePart)]
        for position in (self.front.header.stop, *(link.stop for link in links)):
            outcome = self.front.outcomes.get(position)
            if isinstance(outcome, Exception):
                raise InconsistentFile(str(outcome))
            if isinstance(outcome, ChainEnd) and position < self.front.end:
                raise InconsistentFile(f"the codestream ends at byte {position}, before its end")
        return links

    def _is_near(self, tile: int) -> bool:
        """Return whether a walk should continue to a tile.

        It should if the tile is wanted, or a wanted tile follows soon.
        """
        if any(gap.tile <= tile < gap.end for gap in self._checked if self._is_walked_through(gap)):
            return True
        index = bisect_left(self._tiles, tile)
        return index < len(self._tiles) and self._tiles[index] - tile < _FAR


def _mean(gap: Gap) -> float:
    """Return the mean length of the tile-parts of a gap."""
    return (gap.stop - gap.start) / max(1, gap.tiles)
