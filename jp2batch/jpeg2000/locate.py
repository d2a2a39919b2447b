"""Finding the tile-parts of a codestream by TLM, or at known places (T.800 A.7.1); what all ways of finding share.

Each way is a conversation that returns the headers of the wanted tile-parts. What TLM says is checked against the SOT
that it leads to; where they disagree the way ends in `Doubt`, and another one is taken.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace

from jp2batch.errors import CorruptImage
from jp2batch.jpeg2000.codestream import Header, TilePart, read_tile_part
from jp2batch.jpeg2000.markers import Sot
from jp2batch.jpeg2000.pieces import Ahead, Pieces, Range, Steps, need, together

ReadAhead = Callable[[int, int], Ahead]
"""(tile, Psot) -> what to fetch together with the SOT of that tile-part."""


class Doubt(Exception):  # not an error for the user: another way is taken
    """What the file says of itself does not agree; its text says where."""


class Misled(Exception):  # not an error for the user: the file is read afresh
    """What was known of the file from before does not prove true; its text says where."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tile-part should lie."""

    ordinal: int
    """Its index in the codestream."""
    tile: int
    """Its tile; where TLM does not tell it, tile-parts lie in the order of their tiles, one a tile."""
    start: int
    length: int


def tlm_places(header: Header, codestream: Range) -> list[Place]:
    """Return the places of all tile-parts that TLM tells of.

    Raises
    ------
    Doubt
        They do not fill the codestream.
    """
    places, position = [], header.stop
    for ordinal, (tile, length) in enumerate(header.tile_parts):
        places.append(Place(ordinal, ordinal if tile is None else tile, position, length))
        position += length
    if position not in (codestream.stop, codestream.stop - 2):  # EOC takes two bytes
        raise Doubt(f"TLM ends at byte {position}, the codestream at {codestream.stop}")
    return places


def by_tlm(
    pieces: Pieces, header: Header, codestream: Range, tiles: Collection[int], ahead: ReadAhead
) -> Steps[list[TilePart]]:
    """Read the headers of the tile-parts of `tiles`, all at once, where TLM says that they are.

    Raises
    ------
    Doubt
        TLM is wrong.
    """
    return (yield from _at_places(pieces, header, tlm_places(header, codestream), tiles, ahead))


def by_places(
    pieces: Pieces, header: Header, places: Iterable[Place], tiles: Collection[int], ahead: ReadAhead
) -> Steps[list[TilePart]]:
    """Read the headers of the tile-parts of `tiles`, all at once, where they are known to lie.

    Raises
    ------
    Misled
        They do not.
    """
    try:
        return (yield from _at_places(pieces, header, places, tiles, ahead))
    except (Doubt, CorruptImage) as error:
        raise Misled(str(error)) from None


def with_plm(header: Header, part: TilePart, ordinal: int) -> TilePart:
    """Give a tile-part its packet lengths from PLM, where it has none of its own."""
    if part.packet_lengths is None and ordinal < len(header.packed_lengths):
        return replace(part, packet_lengths=header.packed_lengths[ordinal])
    return part


def _at_places(
    pieces: Pieces, header: Header, places: Iterable[Place], tiles: Collection[int], ahead: ReadAhead
) -> Steps[list[TilePart]]:
    wanted = [place for place in places if place.tile in tiles]
    parts = yield from together([_at_place(pieces, header, place, ahead) for place in wanted])
    _check_told_whole(parts, tiles)
    return parts


def _at_place(pieces: Pieces, header: Header, place: Place, ahead: ReadAhead) -> Steps[TilePart]:
    if place.length < Sot.SIZE + 2:
        raise Doubt(f"TLM entry {place.ordinal} claims a tile-part of {place.length} bytes")
    data = yield from need(pieces, place.start, place.start + Sot.SIZE, ahead(place.tile, place.length))
    sot = Sot.parse(data)
    if sot is None or sot.tile != place.tile or sot.length not in (0, place.length):
        raise Doubt(f"TLM entry {place.ordinal} leads to byte {place.start}, where no such tile-part is")
    try:
        part = yield from read_tile_part(pieces, place.start, sot, place.start + place.length, Ahead())
    except CorruptImage as error:
        raise Doubt(str(error)) from None
    return with_plm(header, part, place.ordinal)


class Completeness:
    """Which of the wanted tiles have all their tile-parts."""

    def __init__(self, tiles: Collection[int]) -> None:
        self._lacking = set(tiles)
        self._found: Counter[int] = Counter()
        self._told: dict[int, int] = {}

    def add(self, sot: Sot) -> None:
        """Count the next tile-part of one of these tiles."""
        if sot.part != self._found[sot.tile]:
            raise Doubt(f"tile-part {sot.part} of tile {sot.tile} is out of order")
        self._found[sot.tile] += 1
        self._told[sot.tile] = max(sot.parts, self._told.get(sot.tile, 0))
        if self._found[sot.tile] == self._told[sot.tile]:
            self._lacking.discard(sot.tile)

    @property
    def complete(self) -> bool:
        """Whether nothing is lacking."""
        return not self._lacking

    def check(self, ended: bool) -> None:
        """Say which tiles lack tile-parts, all having been seen; `ended` by EOC, so that none has been cut off."""
        lacking = sorted(t for t in self._lacking if not ended or self._told.get(t) or not self._found[t])
        if lacking:
            shown = ", ".join(map(str, lacking[:5])) + (", …" if len(lacking) > 5 else "")
            raise CorruptImage("", f"parts of {len(lacking)} tiles are missing (tile {shown})", "fetch the file again")


def _check_told_whole(parts: Iterable[TilePart], tiles: Collection[int]) -> None:
    """Doubt a list of tile-parts that does not prove to be whole."""
    found = Completeness(tiles)
    for part in parts:
        found.add(part.sot)
    if not found.complete:
        raise Doubt("not all tile-parts are told of")
