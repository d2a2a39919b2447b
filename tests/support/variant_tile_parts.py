"""Features of tile-parts: where tiles are divided, the order of tile-parts, TNsot, and padding."""

from collections.abc import Sequence
from itertools import pairwise

from support.variant_draft import Draft, Part, Tile


def divide_as_openjpeg(draft: Draft) -> None:
    """Divide tiles where OpenJPEG does, unless a feature has divided them."""
    if draft.parts:
        return
    for tile in draft.tiles.values():
        draft.parts += tile_parts(tile, tile.cuts)


def tile_parts(tile: Tile, cuts: Sequence[int]) -> list[Part]:
    """Return the tile-parts of a tile that is cut before these packets."""
    edges = [0, *cuts, len(tile.packets)]
    groups = [tile.packets[a:b] for a, b in pairwise(edges)]
    total = len(groups)
    return [
        Part(tile.number, index, total, tile.segments if index == 0 else [], packets)
        for index, packets in enumerate(groups)
    ]


def _random_cuts(draft: Draft, tile: Tile, most: int) -> list[int]:
    """Return the packets that begin a new tile-part, at most `most`."""
    inner = range(1, len(tile.packets))
    count = min(len(inner), draft.number(1, most))
    return sorted(int(cut) for cut in draft.rng.choice(inner, count, replace=False)) if count else []


def cut_some(draft: Draft) -> str:
    numbers = draft.some(sorted(draft.tiles), 0.6)
    for tile in draft.tiles.values():
        draft.parts += tile_parts(tile, _random_cuts(draft, tile, 4) if tile.number in numbers else tile.cuts)
    return f"tiles {numbers[:5]} cut at random"


def cut_all(draft: Draft) -> str:
    every = draft.pick([1, 2, 3, 5])
    for tile in draft.tiles.values():
        step = max(every, -(-len(tile.packets) // 100))
        draft.parts += tile_parts(tile, range(step, len(tile.packets), step))
    return f"tiles cut after every {every} packets"


def cut_in_two(draft: Draft) -> str:
    for tile in draft.tiles.values():
        cuts = [draft.number(1, len(tile.packets) - 1)] if len(tile.packets) > 1 else [len(tile.packets)]
        draft.parts += tile_parts(tile, cuts)
    return "tiles cut in two"


def empty_parts(draft: Draft) -> str:
    """Add tile-parts without packets: the first of a tile, the last, or both."""
    for tile in draft.tiles.values():
        cuts = draft.pick([[0], [len(tile.packets)], [0, len(tile.packets)]])
        draft.parts += tile_parts(tile, cuts if draft.flag(0.7) else [])
    return "empty tile-parts"


def interleave(draft: Draft) -> str | None:
    if len({part.index for part in draft.parts}) < 2 or len(draft.tiles) < 2:
        return None
    draft.parts.sort(key=lambda part: (part.index, part.tile))
    return "interleaved"


def merge_at_random(draft: Draft) -> str | None:
    if len(draft.tiles) < 2:
        return None
    order = draft.rng.permutation([part.tile for part in draft.parts])
    waiting = {number: [part for part in draft.parts if part.tile == number] for number in draft.tiles}
    draft.parts = [waiting[int(number)].pop(0) for number in order]
    return "tile-parts of tiles mixed at random"


def shuffle_tiles(draft: Draft) -> str | None:
    if len(draft.tiles) < 2:
        return None
    order = [
        int(n) for n in (sorted(draft.tiles)[::-1] if draft.flag(0.3) else draft.rng.permutation(sorted(draft.tiles)))
    ]
    draft.parts.sort(key=lambda part: order.index(part.tile))
    return f"tiles in the order {order[:6]}"


def swap_two_tiles(draft: Draft) -> str | None:
    if len(draft.tiles) < 3:
        return None
    order = sorted(draft.tiles)
    index = draft.number(0, len(order) - 2)
    order[index], order[index + 1] = order[index + 1], order[index]
    draft.parts.sort(key=lambda part: order.index(part.tile))
    return f"tiles {order[index + 1]} and {order[index]} swapped"


def totals_zero(draft: Draft) -> str:
    for part in draft.parts:
        part.total = 0
    return "TNsot 0 in all"


def totals_some(draft: Draft) -> str:
    kind = draft.pick(["the last", "the first", "some"])
    for part in draft.parts:
        told = {"the last": part.index == part.total - 1, "the first": part.index == 0, "some": draft.flag(0.5)}[kind]
        part.total = part.total if told else 0
    return f"TNsot told in {kind} tile-parts"


def totals_too_low(draft: Draft) -> str | None:
    """Set TNsot one too low, as old encoders did, so that TPsot = TNsot occurs."""
    if any(part.total < 3 for part in draft.parts) and (draft.flag(0.8) or any(part.total < 2 for part in draft.parts)):
        return None
    for part in draft.parts:
        part.total -= 1
    return "TNsot too low by one"


def totals_too_low_somewhere(draft: Draft) -> str | None:
    tiles = [part.tile for part in draft.parts if part.index == 0 and part.total > 1]
    if not tiles:
        return None
    chosen_tiles = draft.some(tiles)
    for part in draft.parts:
        part.total -= part.tile in chosen_tiles and part.total > 1
    return f"TNsot too low by one in tiles {chosen_tiles[:5]}"


def totals_too_high(draft: Draft) -> str:
    more, tiles = draft.number(1, 3), draft.some(sorted(draft.tiles))
    for part in draft.parts:
        part.total = min(255, part.total + more * (part.tile in tiles and part.total > 0))
    return f"TNsot too high by {more} in tiles {tiles[:5]}"


def pad(draft: Draft) -> str:
    """Add zeros after the last packet of tiles: searches for SOT markers need room."""
    most, everywhere = draft.pick([40, 700, 3000]), draft.flag(0.6)
    last = {part.tile: part for part in draft.parts}
    for part in last.values():
        if everywhere or draft.flag(0.4):
            part.padding = bytes(draft.number(1, most))
    return f"zeros up to {most} behind the last packets"
