"""Siblings of an image: other bands and dates of its ground tile.

The lengths of their tile-parts tell where those of the image probably lie. How well earlier siblings fitted is learned.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from jp2batch.core import config
from jp2batch.core.mission import ImageName
from jp2batch.core.runtime import process_state
from jp2batch.image.missions import identify
from jp2batch.jpeg2000.geometry.grid import tile_count
from jp2batch.jpeg2000.locate.image_index import ImageIndex
from jp2batch.jpeg2000.locate.tile_lengths import MISFIT, TileLengths, deviation_between
from jp2batch.jpeg2000.locate.tile_parts import TilePartExtent
from jp2batch.jpeg2000.syntax.headers import MainHeader
from jp2batch.jpeg2000.syntax.markers import Siz
from jp2batch.storage.source import Source

_MOST_PLACES = 64  # ground tiles
_MOST_IMAGES = 24  # of a ground tile
_FEWEST_TILES = 9  # of an image worth it
_EARLIER = 0.5  # weight of earlier fits

Relation = Literal["band", "date"]
_Place = tuple[str, Siz]


@dataclass(frozen=True, slots=True)
class _Lengths:
    """Lengths of the tile-parts of an image."""

    values: tuple[int, ...]
    tiles: frozenset[int]
    """Tiles with known lengths; the others have mean ones."""


@dataclass(slots=True)
class _Family:
    """Lengths of images by ground tile, and how well they fitted; thread-safe."""

    images: OrderedDict[_Place, OrderedDict[str, tuple[ImageName, _Lengths]]] = field(default_factory=OrderedDict)
    deviations: dict[Relation, float] = field(default_factory=lambda: {"band": 0.02, "date": 0.06})
    tried: set[Relation] = field(default_factory=set)
    """Relations whose deviation has been learned."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def learn(self, key: str, place: _Place, name: ImageName, own: Mapping[int, int], size: int) -> None:
        """Learn how well the nearest sibling fits."""
        with self.lock:
            sibling = _nearest(self.images.get(place, OrderedDict()), key, name)
            if sibling is not None:
                relation, lengths = sibling
                both = {tile: length for tile, length in own.items() if tile in lengths.tiles}
                now = deviation_between(both, size, lengths.values) if both else self.deviations[relation]
                self.deviations[relation] = _EARLIER * self.deviations[relation] + (1 - _EARLIER) * now
                self.tried.add(relation)

    def keep(self, key: str, place: _Place, name: ImageName, lengths: _Lengths) -> None:
        """Keep the lengths of an image."""
        with self.lock:
            images = self.images.setdefault(place, OrderedDict())
            images[key] = name, lengths
            self.images.move_to_end(place)
            if len(images) > _MOST_IMAGES:
                images.popitem(last=False)
            if len(self.images) > _MOST_PLACES:
                self.images.popitem(last=False)

    def count_known(self, key: str, place: _Place) -> int:
        """Return the number of tile-parts of an image whose lengths are kept."""
        with self.lock:
            images = self.images.get(place, OrderedDict())
            return len(images[key][1].tiles) if key in images else 0

    def lengths_for(self, key: str, place: _Place, name: ImageName) -> TileLengths | None:
        with self.lock:
            sibling = _nearest(self.images.get(place, OrderedDict()), key, name)
            if sibling is None or self.deviations[sibling[0]] > MISFIT:
                return None
            return TileLengths(sibling[1].values, self.deviations[sibling[0]], sibling[0] in self.tried)


def remember(source: Source, header: MainHeader, index: ImageIndex, passed: Sequence[TilePartExtent] = ()) -> None:
    """Remember the lengths of an image's tile-parts.

    With those `passed` by a walk, first learn from all how well its sibling fits. Nothing is kept of files whose
    requests are free.
    """
    if not source.profile.latency or tile_count(header.siz) < _FEWEST_TILES or index.unverified:
        return
    found = _place_of(source, header) if config.index_settings().enabled else None
    if found is None or _family().count_known(source.key, found[0]) >= len(passed) + len(index.tile_parts):
        return
    extents = {one.tile: one for one in (*passed, *index.tile_parts)}
    places = [extents[tile] for tile in sorted(extents)]
    lengths = _all_lengths(header, index.size, places)
    if lengths is None or _family().count_known(source.key, found[0]) >= len(places):
        return
    if passed:
        _family().learn(source.key, *found, {one.tile: one.length for one in places}, index.size)
    _family().keep(source.key, *found, lengths)


def _all_lengths(header: MainHeader, size: int, places: Sequence[TilePartExtent]) -> _Lengths | None:
    """Return the lengths of all tile-parts; between known ones, their mean.

    None if tile-parts are not in the order of tiles, one each.
    """
    lengths: list[int] = []
    position, end = header.stop, TilePartExtent(0, tile_count(header.siz), size, 0)
    for one in (*places, end):
        unknown, between = one.tile - len(lengths), one.start - position
        if between < 0 or (between > 0 and not unknown and one is not end):
            return None
        lengths += [max(1, between // unknown)] * unknown if unknown else []
        lengths += [one.length] if one is not end else []
        position = one.start + one.length
    return _Lengths(tuple(lengths), frozenset(one.tile for one in places))


def sibling_lengths(source: Source, header: MainHeader) -> TileLengths | None:
    """Return the lengths of the nearest sibling's tile-parts, if known."""
    found = _place_of(source, header) if source.profile.latency else None
    return None if found is None else _family().lengths_for(source.key, *found)


@process_state()
def _family() -> _Family:
    return _Family()


def _place_of(source: Source, header: MainHeader) -> tuple[_Place, ImageName] | None:
    _, name = identify(source.path)
    return None if name is None or name.tile is None else ((name.tile, header.siz), name)


def _nearest(
    images: OrderedDict[str, tuple[ImageName, _Lengths]], key: str, name: ImageName
) -> tuple[Relation, _Lengths] | None:
    """Return the nearest other image.

    It is of the same day, then with the most known tile-parts, of the same orbit, of the same band; the latest.
    """

    def nearness(other: ImageName, lengths: _Lengths) -> tuple[bool, int, bool, bool]:
        same_orbit = other.relative_orbit == name.relative_orbit
        return other.day == name.day, len(lengths.tiles), same_orbit, other.band == name.band

    others = [(nearness(*image), image[1]) for one, image in images.items() if one != key]
    if not others:
        return None
    near, lengths = max(reversed(others), key=lambda pair: pair[0])
    return ("band" if near[0] else "date"), lengths
