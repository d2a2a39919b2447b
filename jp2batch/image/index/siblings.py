"""Siblings of an image: other bands and dates of its ground tile.

The lengths of their tile-parts tell where those of the image probably lie. How well earlier siblings fitted is learned.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Literal

from jp2batch.core import config
from jp2batch.core.mission import ImageName
from jp2batch.core.runtime import process_state
from jp2batch.image.missions import identify
from jp2batch.jpeg2000.geometry.grid import tile_count
from jp2batch.jpeg2000.locate.image_index import ImageIndex
from jp2batch.jpeg2000.locate.tile_lengths import TileLengths, deviation_between
from jp2batch.jpeg2000.syntax.headers import MainHeader
from jp2batch.jpeg2000.syntax.markers import Siz
from jp2batch.storage.source import Source

_MOST_PLACES = 64  # ground tiles
_MOST_IMAGES = 24  # of a ground tile
_FEWEST_TILES = 9  # of an image worth it
_EARLIER = 0.5  # weight of earlier fits

Relation = Literal["band", "date"]
_Place = tuple[str, Siz]
_Lengths = tuple[int, ...]


@dataclass(slots=True)
class _Family:
    """Lengths of images by ground tile, and how well they fitted; thread-safe."""

    images: OrderedDict[_Place, OrderedDict[str, tuple[ImageName, _Lengths]]] = field(default_factory=OrderedDict)
    deviations: dict[Relation, float] = field(default_factory=lambda: {"band": 0.02, "date": 0.1})
    lock: threading.Lock = field(default_factory=threading.Lock)

    def learn(self, key: str, place: _Place, name: ImageName, index: ImageIndex) -> None:
        """Learn how well the nearest sibling fits."""
        with self.lock:
            sibling = _nearest(self.images.get(place, OrderedDict()), key, name)
            if sibling is not None:
                relation, lengths = sibling
                own = {one.tile: one.length for one in index.tile_parts}
                now = deviation_between(own, index.size, lengths)
                self.deviations[relation] = _EARLIER * self.deviations[relation] + (1 - _EARLIER) * now

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

    def has(self, key: str, place: _Place) -> bool:
        """Return whether the lengths of an image are kept."""
        with self.lock:
            return key in self.images.get(place, ())

    def lengths_for(self, key: str, place: _Place, name: ImageName) -> TileLengths | None:
        with self.lock:
            sibling = _nearest(self.images.get(place, OrderedDict()), key, name)
            return None if sibling is None else TileLengths(sibling[1], self.deviations[sibling[0]])


def remember(source: Source, header: MainHeader, index: ImageIndex, *, learns: bool = False) -> None:
    """Remember the lengths of an image's tile-parts, if all are known.

    With `learns`, first learn from them how well its sibling fits.
    """
    count, tiles = tile_count(header.siz), [one.tile for one in index.tile_parts]
    if not tiles or count < _FEWEST_TILES or index.unverified or not config.index_settings().enabled:
        return
    found = _place_of(source, header)
    if found is None or len({*tiles}) != len(tiles) or _family().has(source.key, found[0]):
        return
    if learns:
        _family().learn(source.key, *found, index)
    if tiles == list(range(count)):
        _family().keep(source.key, *found, tuple(one.length for one in index.tile_parts))


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

    It is of the same day, else of the same orbit, else of the same band; of several, the latest.
    """

    def nearness(other: ImageName) -> tuple[bool, bool, bool]:
        return other.day == name.day, other.relative_orbit == name.relative_orbit, other.band == name.band

    others = [(nearness(other), lengths) for one, (other, lengths) in images.items() if one != key]
    if not others:
        return None
    near, lengths = max(reversed(others), key=lambda pair: pair[0])
    return ("band" if near[0] else "date"), lengths
