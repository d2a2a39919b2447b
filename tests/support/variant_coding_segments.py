"""Features of marker segments with coding parameters: COD, COC, QCD, QCC, RGN and POC.

Some tiles or components are coded once more with other parameters, which main and tile-part headers then declare. These
features come before the division into tile-parts.
"""

import struct
from collections.abc import Sequence
from typing import Any

from jp2batch.sample.encode import Coding
from support.rewrite import COC, COD, POC, QCC, QCD, RGN
from support.variant_coding import ORDERS
from support.variant_draft import Draft, Segment, find_content
from support.variant_image import encode_tiles


def _take_tiles(draft: Draft, coding: Coding, style: int, numbers: Sequence[int]) -> list[Segment] | None:
    """Code some tiles with another coding; return its main header."""
    coded = encode_tiles(draft.pixels, coding, style)
    if coded is None:
        return None
    main, tiles = coded
    for number in numbers:
        draft.tiles[number].packets = tiles[number].packets
        draft.tiles[number].cuts = []
    return main


def _own_levels(draft: Draft, levels: int) -> Coding | None:
    coding = draft.other_coding(levels=levels)
    usable = not draft.coding.changes and levels != draft.coding.levels and levels >= 0
    return coding if usable else None


def tile_cod_levels(draft: Draft, more: bool) -> str | None:
    coding = _own_levels(draft, draft.coding.levels + draft.number(1, 2) * (1 if more else -1))
    if coding is None:
        return None
    numbers = draft.some(sorted(draft.tiles))
    main = _take_tiles(draft, coding, draft.style, numbers)
    if main is None:
        return None
    # QCD may stand in the main header alone, if that has steps for all levels
    alone = draft.coding.reversible and draft.flag(0.5)
    for number in numbers:
        steps = [] if alone else [(QCD, find_content(main, QCD))]
        draft.tiles[number].segments += [(COD, find_content(main, COD)), *steps]
    if alone and more:
        draft.put(QCD, find_content(main, QCD))
    return f"COD of tiles {numbers[:5]} with {coding.levels} levels, QCD {'main only' if alone else 'too'}"


def tile_cod_other(draft: Draft) -> str | None:
    change: dict[str, Any] = draft.pick(
        [
            {"progression": draft.pick(ORDERS)},
            {"precincts": draft.pick([None, (16, 16), (64, 64)]), "code_block": (8, 8)},
            {"layers": draft.number(1, 4)},
            {"code_block": (16, 16), "progression": draft.pick(ORDERS)},
            {"sop": not draft.coding.sop},
            {"eph": not draft.coding.eph, "layers": draft.number(1, 3)},
            {"reversible": not draft.coding.reversible},
        ]
    )
    coding = draft.other_coding(**change)
    numbers, style = draft.some(sorted(draft.tiles)), draft.pick([draft.style, 0, 8, 32])
    main = None if draft.coding.changes else _take_tiles(draft, coding, style, numbers)
    if main is None:
        return None
    for number in numbers:
        draft.tiles[number].segments += [(COD, find_content(main, COD)), (QCD, find_content(main, QCD))]
    return f"COD, QCD of tiles {numbers[:5]} with {change}"


def _coc_of(draft: Draft, main: Sequence[Segment], component: int) -> list[Segment]:
    cod, qcd, number = find_content(main, COD), find_content(main, QCD), bytes([component])
    return [(COC, number + bytes([cod[0] & 1]) + cod[5:]), (QCC, number + qcd)]


def tile_coc(draft: Draft) -> str | None:
    """Code some tiles with other levels, mostly more, and declare them by COC and QCC of all components."""
    levels = max(0, draft.coding.levels + draft.pick([1, 1, 2, -1]))
    coding = _own_levels(draft, levels)
    if coding is None:
        return None
    numbers = draft.some(sorted(draft.tiles))
    main = _take_tiles(draft, coding, draft.style, numbers)
    if main is None:
        return None
    kept = _kept(draft, main, levels)
    for number in numbers:
        for component in range(len(draft.pixels)):
            draft.tiles[number].segments += [s for s in _coc_of(draft, main, component) if s[0] in kept]
    return f"{[hex(marker) for marker in kept]} of all components of tiles {numbers[:5]} with {levels} levels"


def _kept(draft: Draft, main: Sequence[Segment], levels: int) -> tuple[int, ...]:
    """Return the markers to write: COC and QCC, or COC alone if QCD of the main header has steps for all levels."""
    if not draft.coding.reversible or draft.flag(0.5):
        return COC, QCC
    if levels > draft.coding.levels:
        draft.put(QCD, find_content(main, QCD))
    return (COC,)


def _one_component(draft: Draft, numbers: Sequence[int]) -> list[Segment] | None:
    """Code a component of some tiles with another coding; return COC and QCC."""
    components = len(draft.pixels)
    if draft.coding.progression != "CPRL" or components < 2 or draft.coding.mct or draft.coding.changes:
        return None
    change = draft.pick(
        [
            {"levels": draft.coding.levels + 1},
            {"levels": max(0, draft.coding.levels - 1)},
            {"precincts": (16, 16), "code_block": (8, 8)},
            {"code_block": (4, 4)},
        ]
    )
    coding = draft.other_coding(**change)
    coded = encode_tiles(draft.pixels, coding, draft.style)
    if coded is None:
        return None
    main, tiles = coded
    component = draft.number(0, components - 1)
    if any(len(of[number].packets) % components for of in (draft.tiles, tiles) for number in numbers):
        return None  # another feature has changed these tiles
    for number in numbers:
        mine, others = draft.tiles[number], tiles[number].packets
        a, b = len(mine.packets) // components, len(others) // components
        own = others[component * b : (component + 1) * b]
        mine.packets = [*mine.packets[: component * a], *own, *mine.packets[(component + 1) * a :]]
        mine.cuts = []
    draft.facts.append(f"component {component}: {change}")
    kept = _kept(draft, main, coding.levels)
    return [segment for segment in _coc_of(draft, main, component) if segment[0] in kept]


def main_coc(draft: Draft) -> str | None:
    segments = _one_component(draft, sorted(draft.tiles))
    if segments is None:
        same = draft.number(0, len(draft.pixels) - 1)
        segments = _coc_of(draft, draft.main, same)
    draft.main += draft.pick([segments, segments[::-1]])
    return f"{[hex(marker) for marker, _ in segments]} in the main header"


def tile_coc_one(draft: Draft) -> str | None:
    numbers = draft.some(sorted(draft.tiles))
    segments = _one_component(draft, numbers)
    if segments is None:
        return None
    for number in numbers:
        draft.tiles[number].segments += segments
    return f"{[hex(marker) for marker, _ in segments]} of one component in tiles {numbers[:5]}"


def tile_same(draft: Draft) -> str | None:
    """Repeat marker segments of the main header in tile-part headers."""
    cod, qcd = draft.content(COD), draft.content(QCD)
    if draft.coding.changes:
        return None
    numbers = draft.some(sorted(draft.tiles))
    wanted = draft.some([(COD, cod), (QCD, qcd), *_coc_of(draft, draft.main, 0)], 0.5)
    wanted = [wanted[int(n)] for n in draft.rng.permutation(len(wanted))]
    for number in numbers:
        if not draft.tiles[number].segments:
            draft.tiles[number].segments += wanted
    return f"tiles {numbers[:5]} repeat {[hex(marker) for marker, _ in wanted]}"


def coc_first(draft: Draft) -> str | None:
    """Place COC and QCC before COD and QCD."""
    segments = _one_component(draft, sorted(draft.tiles)) or _coc_of(draft, draft.main, 0)
    kept = [segment for segment in segments if draft.flag(0.8)] or segments[:1]
    others = [segment for segment in segments if segment not in kept]
    draft.main = [draft.main[0], *kept, *draft.main[1:], *others]
    return f"{[hex(marker) for marker, _ in kept]} before COD"


def derived_steps(draft: Draft) -> str | None:
    """Reduce QCD to a single step size (derived quantisation)."""
    qcd = draft.content(QCD)
    if qcd[0] & 31 != 2:
        return None
    draft.put(QCD, bytes([qcd[0] & ~31 | 1]) + qcd[1:3])
    return "QCD derived"


def rgn(draft: Draft) -> str:
    segment = RGN, bytes([draft.number(0, len(draft.pixels) - 1), 0, draft.number(0, 4)])
    if draft.flag(0.5):
        draft.main.append(segment)
        return f"RGN {segment[1][2]}"
    numbers = draft.some(sorted(draft.tiles))
    for number in numbers:
        draft.tiles[number].segments.append(segment)
    return f"RGN {segment[1][2]} in tiles {numbers[:5]}"


def poc(draft: Draft) -> str | None:
    """Move POC to the main header, or add a POC with the progression of COD."""
    if draft.coding.changes:
        contents = {content for tile in draft.tiles.values() for marker, content in tile.segments if marker == POC}
        if len(contents) != 1:
            return None
        draft.main.append((POC, contents.pop()))
        for tile in draft.tiles.values():
            tile.segments = [segment for segment in tile.segments if segment[0] != POC]
        return "POC in the main header"
    if any(tile.segments for tile in draft.tiles.values()):
        return None  # a tile of more levels or another order
    cod = draft.content(COD)
    ends = struct.pack(">HBBB", draft.coding.layers, 33, len(draft.pixels), cod[1])
    segment = POC, bytes(2) + ends
    if draft.flag(0.5):
        draft.main.append(segment)
        return "POC that says what COD says"
    numbers = draft.some(sorted(draft.tiles))
    for number in numbers:
        draft.tiles[number].segments.append(segment)
    return f"POC that says what COD says in tiles {numbers[:5]}"
