"""Generates valid JPEG 2000 files of all shapes, by seed: `variant(seed)`.

A small image is coded by OpenJPEG, taken to pieces, and put together as another encoder could have done: other
divisions into tile-parts, marker segments in tile-part headers, TLM, PLT, boxes, appended bytes. Each variant combines
some of the `FEATURES`, and tells which in `facts`. The same seed gives the same bytes with the same OpenJPEG.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any
from unittest import mock

import numpy as np
import rewrite
from jp2_boxes import Box, Boxes, codestream_box, jp2
from numpy.typing import NDArray
from rewrite import COC, COD, COM, PLM, PLT, POC, PPM, PPT, QCC, QCD, RGN, SIZ, SOD, SOT, TLM

from jp2batch.errors import EncodingError
from jp2batch.sample import encode as encoder
from jp2batch.sample.encode import Coding, Progression, encode

Rng = np.random.Generator
Segment = tuple[int, bytes | None]
"""Marker and content; None: a marker without a length (FF30 to FF3F)."""
ORDERS = ("LRCP", "RLCP", "RPCL", "PCRL", "CPRL")
STYLES = (1, 2, 8, 16, 32, 42)
"""Code-block styles, table A.19."""
_SMALL = 400  # samples of a tile: OpenJPEG's encoder writes beyond its buffer if these take many packets


@dataclass(frozen=True)
class Variant:
    """A file, and what is special about it."""

    seed: int
    data: bytes
    facts: tuple[str, ...]
    """The coding, then the features."""
    refusable: tuple[str, ...] = ()
    """Features for which a typed refusal is allowed as well, though OpenJPEG decodes the file without a warning."""

    @property
    def description(self) -> str:
        return f"{self.seed}: " + "; ".join(self.facts)


@dataclass
class Tile:
    """A tile before its division: marker segments of its first tile-part, packets, where OpenJPEG would divide it."""

    number: int
    segments: list[Segment]
    packets: list[bytes]
    cuts: list[int]


@dataclass
class Part:
    """A tile-part."""

    tile: int
    index: int
    total: int
    segments: list[Segment]
    packets: list[bytes]
    plt: int = 65000
    """The most bytes of packet lengths in one PLT segment; 0 = no PLT."""
    plt_backwards: bool = False
    packed: bool = False
    """Whether PPT holds the packet headers."""
    stripped: bool = False
    """Whether PPM holds them."""
    padding: bytes = b""

    def headers(self) -> bytes:
        return b"".join(packet[: _header_end(packet)] for packet in self.packets)

    def to_bytes(self) -> bytes:
        segments = [*self.segments, *(self._ppt() if self.packed else self._plt())]
        bodies = [p[_header_end(p) :] for p in self.packets] if self.packed or self.stripped else self.packets
        header = b"".join(map(encode_segment, segments)) + struct.pack(">H", SOD)
        length = 12 + len(header) + sum(map(len, bodies)) + len(self.padding)
        sot = struct.pack(">HHHIBB", SOT, 10, self.tile, length, self.index, self.total)
        return b"".join([sot, header, *bodies, self.padding])

    def _plt(self) -> list[Segment]:
        if not self.plt or self.stripped or not self.packets:
            return []
        pieces = [b""]
        for number in (variable(len(packet)) for packet in self.packets):
            if len(pieces[-1]) + len(number) > self.plt:
                pieces.append(b"")
            pieces[-1] += number
        if len(pieces) > 255:
            return []
        found: list[Segment] = [(PLT, bytes([index]) + piece) for index, piece in enumerate(pieces)]
        return found[::-1] if self.plt_backwards else found

    def _ppt(self) -> list[Segment]:
        headers = self.headers()
        size = max(1, len(headers) // 3) if len(headers) > 40 else 60_000
        first = 4 * self.index  # Zppt counts through all tile-parts of the tile
        return [(PPT, bytes([first + n // size]) + headers[n : n + size]) for n in range(0, len(headers), size)]


def _header_end(packet: bytes) -> int:
    return packet.index(b"\xff\x92") + 2


def variable(value: int) -> bytes:
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F | 0x80)
    return bytes(reversed(groups))


def encode_segment(segment: Segment) -> bytes:
    marker, content = segment
    return struct.pack(">H", marker) if content is None else struct.pack(">HH", marker, 2 + len(content)) + content


@dataclass
class Draft:
    """A file in the making."""

    rng: Rng
    pixels: NDArray[np.int32]
    coding: Coding
    style: int
    """Code-block style, and with it what else the encoder is told beside the coding."""
    main: list[Segment]
    tiles: dict[int, Tile]
    parts: list[Part] = field(default_factory=list)
    tlm: list[Segment] = field(default_factory=list)
    open_end: bool = False
    """Psot of the last tile-part is 0."""
    eoc: bytes = b"\xff\xd9"
    behind: bytes = b""
    """What follows the codestream, for OpenJPEG a part of it."""
    boxes: Boxes | None = None
    facts: list[str] = field(default_factory=list)
    refusable: list[str] = field(default_factory=list)

    def stream(self) -> bytes:
        parts = [part.to_bytes() for part in self.parts]
        if self.open_end:
            parts[-1] = parts[-1][:6] + bytes(4) + parts[-1][10:]
        header = b"\xff\x4f" + b"".join(map(encode_segment, [*self.main, *self.tlm]))
        return header + b"".join(parts) + self.eoc + self.behind

    def to_bytes(self) -> bytes:
        return self.stream() if self.boxes is None else jp2(self.boxes, self.stream())

    def content(self, marker: int) -> bytes:
        return next(content for found, content in self.main if found == marker and content is not None)

    def put(self, marker: int, content: bytes) -> None:
        """Exchange the content of a marker segment of the main header."""
        self.main = [(found, content if found == marker else old) for found, old in self.main]

    def flag(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def number(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def pick(self, items: Sequence[Any]) -> Any:
        return items[int(self.rng.integers(len(items)))]

    def some(self, items: Sequence[Any], share: float = 0.4) -> list[Any]:
        """Return some items, at least one."""
        return [item for item in items if self.flag(share)] or [self.pick(items)]


Feature = Callable[[Draft], str | None]
"""Changes a draft and says how; None: it does not apply to this draft."""


def variant(seed: int) -> Variant:
    """Return the variant of a seed. OpenJPEG's encoder could abort: call it in a child process if that matters."""
    rng = np.random.default_rng(seed)
    draft = _coded(rng)
    apply(draft, chosen(rng))
    return Variant(seed, draft.to_bytes(), tuple(draft.facts), tuple(draft.refusable))


def with_features(seed: int, *names: str) -> Variant | None:
    """Return the image of a seed with these features and no others; None if one of them does not apply to it."""
    draft = _coded(np.random.default_rng(seed))
    apply(draft, names)
    if len(draft.facts) <= len(names):
        return None
    return Variant(seed, draft.to_bytes(), tuple(draft.facts), tuple(draft.refusable))


def apply(draft: Draft, features: Sequence[str]) -> None:
    """Apply features by name, in the order of `STAGES`."""
    for stage, division in STAGES:
        for name, feature in stage.items():
            if name in features and (fact := feature(draft)) is not None:
                draft.facts.append(fact)
                draft.refusable += [name] * (name in REFUSABLE)
        if division:
            _divide(draft)


def chosen(rng: Rng) -> list[str]:
    """Choose features: mostly one to four, from different groups."""
    names = [name for stage, _ in STAGES for name in stage]
    weights = np.array([WEIGHTS.get(name, 1.0) for name in names])
    count = int(rng.choice([0, 1, 2, 3, 4, 6, 9], p=[0.03, 0.17, 0.27, 0.25, 0.15, 0.09, 0.04]))
    return [str(name) for name in rng.choice(names, count, replace=False, p=weights / weights.sum())]


# --- the coded image -------------------------------------------------------------------------------------------------


def _coded(rng: Rng) -> Draft:
    """Code an image in some way."""
    for _ in range(100):
        coding, components, size = _random_coding(rng)
        content, pixels = _random_pixels(rng, components, size, coding)
        style = int(rng.choice([0, 0, 0, 0, *STYLES])) if _smallest_tile(coding, size) >= _SMALL else 0
        coded = _encode(pixels, coding, style)
        if coded is not None:
            break
    else:
        raise RuntimeError("OpenJPEG refuses a hundred codings")
    main, tiles = coded
    draft = Draft(rng, pixels, coding, style, main, tiles)
    grid = f"{size[1]}x{size[0]}+{coding.image_offset} tile {coding.tile}+{coding.tile_offset}"
    draft.facts.append(
        f"{grid}, {components} {content} of {'-' * coding.signed}{coding.bits} bits, {coding.progression}"
        f" levels {coding.levels} layers {coding.layers} {'5/3' if coding.reversible else '9/7'}{' MCT' * coding.mct}"
        f" blocks {coding.code_block} style {style} precincts {coding.precincts}{' SOP' * coding.sop}"
        f"{' EPH' * coding.eph}{f' sampling {coding.subsampling[0]}' if coding.subsampling else ''}"
        f"{f' cut by {coding.tile_parts}' if coding.tile_parts else ''}{' POC' * bool(coding.changes)}"
    )
    return draft


def _random_coding(rng: Rng) -> tuple[Coding, int, tuple[int, int]]:
    def pick(*items: Any) -> Any:
        return items[int(rng.integers(len(items)))]

    size = (
        pick(*[(101, 118)] * 2, (64, 64), (129, 130), (200, 90), (1, 1), (1, 50), (37, 1), (7, 5))
        if (rng.random() < 0.5)
        else (int(rng.integers(1, 201)), int(rng.integers(1, 201)))
    )
    tile = pick(None, None, (64, 64), (64, 64), (50, 37), (48, 64), (32, 32), (24, 40), (16, 16), (128, 128))
    if rng.random() < 0.08:
        size, tile = pick((128, 128), (121, 97), (127, 128)), (8, 8)
    image_offset: tuple[int, int] = (0, 0)
    tile_offset: tuple[int, ...] = (0, 0)
    if rng.random() < 0.25:
        image_offset = int(rng.integers(0, 70)), int(rng.integers(0, 70))
        if tile is not None:
            tile_offset = tuple(
                int(rng.integers(max(0, o - t + 1), o + 1)) for o, t in zip(image_offset, tile, strict=True)
            )
    components = pick(1, 1, 1, 2, 3, 3, 4)
    levels = pick(0, 1, 2, 2, 3, 3, 4, 5)
    precincts = pick(None, None, (32, 32), (64, 64), ((64, 32), (16, 16)), ((128, 128), (32, 32)))
    order = pick(*ORDERS)
    bits, signed = pick(
        (8, False), (8, False), (8, True), (12, False), (15, False), (16, False), (16, True), (1, False)
    )
    changes: tuple[Progression, ...] = ()
    if rng.random() < 0.12 and levels:
        middle = int(rng.integers(1, levels + 1))
        changes = (
            Progression(pick(*ORDERS), (0, middle), (0, components)),
            Progression(pick(*ORDERS), (middle, levels + 1), (0, components)),
        )
    coding = Coding(
        tile=tile,
        tile_offset=(tile_offset[0], tile_offset[1]),
        image_offset=image_offset,
        levels=levels,
        code_block=pick((16, 16), (8, 8), (32, 8), (64, 64)) if precincts is None else (16, 16),
        precincts=precincts,
        progression=order,
        changes=changes,
        layers=pick(1, 1, 1, 2, 3, 4),
        reversible=bool(rng.random() < 0.7),
        mct=components >= 3 and bool(rng.random() < 0.5),
        bits=bits,
        signed=signed,
        subsampling=(pick((2, 2), (1, 2), (3, 1)),) * components if rng.random() < 0.07 else None,
        sop=bool(rng.random() < 0.15),
        eph=bool(rng.random() < 0.3),
        plt=True,
        tile_parts=pick("R", "L", "C") if precincts is None and not changes and rng.random() < 0.35 else "",
        raw=True,
    )
    if not coding.reversible and not _suits_97(coding, size):
        coding = replace(coding, reversible=True)
    if _smallest_tile(coding, size) < _SMALL:
        coding = replace(coding, sop=False, layers=1, levels=min(coding.levels, 2), changes=())
    return coding, components, size


def _is_legal(coding: Coding, size: tuple[int, int]) -> bool:
    """Tell whether to let OpenJPEG code this: it refuses some, and dies of others."""
    fits = _smallest_tile(coding, size) >= _SMALL or (not coding.sop and coding.layers == 1 and coding.levels <= 2)
    return _has_sane_tiles(coding, size) and fits and (coding.reversible or _suits_97(coding, size))


def _axes(coding: Coding, size: tuple[int, int]) -> Iterator[list[int]]:
    """Iterate over the edges of tiles, of columns and then of rows, in the samples of the first component."""
    sampling = coding.subsampling[0] if coding.subsampling else (1, 1)
    for axis, step in enumerate(sampling):
        start, length = coding.image_offset[axis], size[1 - axis]
        tile = coding.tile[axis] if coding.tile else start + length
        edges = range(coding.tile_offset[axis] + tile, start + length, tile)
        yield [-(-edge // step) for edge in (start, *edges, start + length)]


def _spans(edges: list[int], levels: int) -> Iterator[int]:
    for first, last in pairwise(edges):
        for level in range(levels + 1):
            yield -(-last // (1 << level)) - -(-first // (1 << level))


def _suits_97(coding: Coding, size: tuple[int, int]) -> bool:
    """Tell whether OpenJPEG's 9/7 encoder does not abort: it does on a row or a column of one sample."""
    return all(span > 1 for edges in _axes(coding, size) for span in _spans(edges, coding.levels))


def _smallest_tile(coding: Coding, size: tuple[int, int]) -> int:
    columns, rows = (min(_spans(edges, 0)) for edges in _axes(coding, size))
    return columns * rows


def _has_sane_tiles(coding: Coding, size: tuple[int, int]) -> bool:
    counts = [len(edges) - 1 for edges in _axes(coding, size)]
    late_start = coding.tile_parts and any(coding.image_offset)  # OpenJPEG cannot divide some of these
    filled = all(span > 0 for edges in _axes(coding, size) for span in _spans(edges, 0))
    deep = all(1 << coding.levels <= side for side in coding.tile or size)
    return counts[0] * counts[1] <= 260 and filled and deep and not late_start


def _random_pixels(rng: Rng, components: int, size: tuple[int, int], coding: Coding) -> tuple[str, NDArray[np.int32]]:
    low = -(1 << coding.bits - 1) if coding.signed else 0
    high = low + (1 << coding.bits) - 1
    kind = str(rng.choice(["smooth", "smooth", "noise", "constant", "ramp", "checks"]))
    rows, columns = np.mgrid[: size[0], : size[1]]
    planes = []
    for index in range(components):
        if kind == "noise":
            plane = rng.integers(low, high + 1, size)
        elif kind == "constant":
            plane = np.full(size, rng.integers(low, high + 1))
        elif kind == "ramp":
            plane = low + (rows * 3 + columns * (2 + index)) % (high - low + 1)
        elif kind == "checks":
            plane = np.where((rows // 5 + columns // (3 + index)) % 2, low, high)
        else:
            hills = np.sin(rows / (9 + index)) + np.cos(columns / (13 - index)) + rng.normal(0, 0.15, size)
            plane = np.rint((hills - hills.min()) / max(np.ptp(hills), 1e-9) * (high - low)).astype(np.int64) + low
        planes.append(np.clip(plane, low, high))
    return kind, np.stack(planes).astype(np.int32)


def _encode(pixels: NDArray[np.int32], coding: Coding, style: int) -> tuple[list[Segment], dict[int, Tile]] | None:
    """Code an image, and take the codestream to pieces; None if OpenJPEG does not code it so."""
    if not _is_legal(coding, (pixels.shape[1], pixels.shape[2])):
        return None
    usual = encoder._parameters  # `Coding` has no word for code-block styles

    def with_style(*args: Any) -> Any:
        parameters = usual(*args)
        parameters.mode = style
        return parameters

    try:
        with mock.patch.object(encoder, "_parameters", with_style):
            stream = rewrite.Codestream.parse(encode(pixels, coding))
    except EncodingError:  # its buffer is too small for some noise
        return None
    tiles: dict[int, Tile] = {}
    for part in stream.parts:
        tile = tiles.setdefault(part.tile, Tile(part.tile, [], [], []))
        if tile.packets:
            tile.cuts.append(len(tile.packets))
        tile.segments += [segment for segment in part.segments if segment[0] != PLT]
        position = 0
        for length in rewrite.packet_lengths(part):
            tile.packets.append(part.data[position : position + length])
            position += length
        if position != len(part.data):
            raise ValueError(f"PLT of tile {part.tile} tells of {position} bytes, of {len(part.data)}")
    return list(stream.segments), tiles


# --- features of tiles, before they are divided ----------------------------------------------------------------------


def _other_coding(draft: Draft, **change: Any) -> Coding:
    return replace(draft.coding, tile_parts="", **change)


def _take_tiles(draft: Draft, coding: Coding, style: int, numbers: Sequence[int]) -> list[Segment] | None:
    """Exchange some tiles for the same ones in another coding; return the main header of that."""
    coded = _encode(draft.pixels, coding, style)
    if coded is None:
        return None
    main, tiles = coded
    for number in numbers:
        draft.tiles[number].packets = tiles[number].packets
        draft.tiles[number].cuts = []
    return main


def _find(segments: Sequence[Segment], marker: int) -> bytes:
    return next(content for found, content in segments if found == marker and content is not None)


def _own_levels(draft: Draft, levels: int) -> Coding | None:
    coding = _other_coding(draft, levels=levels)
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
        draft.tiles[number].segments += [(COD, _find(main, COD))] + [(QCD, _find(main, QCD))] * (not alone)
    if alone and more:
        draft.put(QCD, _find(main, QCD))
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
    coding = _other_coding(draft, **change)
    numbers, style = draft.some(sorted(draft.tiles)), draft.pick([draft.style, 0, 8, 32])
    main = None if draft.coding.changes else _take_tiles(draft, coding, style, numbers)
    if main is None:
        return None
    for number in numbers:
        draft.tiles[number].segments += [(COD, _find(main, COD)), (QCD, _find(main, QCD))]
    return f"COD, QCD of tiles {numbers[:5]} with {change}"


def _coc_of(draft: Draft, main: Sequence[Segment], component: int) -> list[Segment]:
    cod, qcd, number = _find(main, COD), _find(main, QCD), bytes([component])
    return [(COC, number + bytes([cod[0] & 1]) + cod[5:]), (QCC, number + qcd)]


def tile_coc(draft: Draft) -> str | None:
    """All components of some tiles are coded otherwise, as COC and QCC say: mostly with more levels."""
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
    """Tell COC and QCC, or COC alone if QCD of the main header has steps for all levels."""
    if not draft.coding.reversible or draft.flag(0.5):
        return COC, QCC
    if levels > draft.coding.levels:
        draft.put(QCD, _find(main, QCD))
    return (COC,)


def _one_component(draft: Draft, numbers: Sequence[int]) -> list[Segment] | None:
    """Code one component of some tiles in another way; return COC and QCC."""
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
    coding = _other_coding(draft, **change)
    coded = _encode(draft.pixels, coding, draft.style)
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
    """COC and QCC stand before COD and QCD."""
    segments = _one_component(draft, sorted(draft.tiles)) or _coc_of(draft, draft.main, 0)
    kept = [segment for segment in segments if draft.flag(0.8)] or segments[:1]
    others = [segment for segment in segments if segment not in kept]
    draft.main = [draft.main[0], *kept, *draft.main[1:], *others]
    return f"{[hex(marker) for marker, _ in kept]} before COD"


def derived_steps(draft: Draft) -> str | None:
    """Let QCD tell one step, from which all others follow."""
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
    """Move POC to the main header, or add one that says what COD says."""
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


# --- the division into tile-parts ------------------------------------------------------------------------------------


def _divide(draft: Draft) -> None:
    """Divide tiles where OpenJPEG does, or nowhere; features divide them further."""
    if draft.parts:
        return
    for tile in draft.tiles.values():
        draft.parts += _parts(tile, tile.cuts)


def _parts(tile: Tile, cuts: Sequence[int]) -> list[Part]:
    edges = [0, *cuts, len(tile.packets)]
    groups = [tile.packets[a:b] for a, b in pairwise(edges)]
    total = len(groups)
    return [
        Part(tile.number, index, total, tile.segments if index == 0 else [], packets)
        for index, packets in enumerate(groups)
    ]


def _random_cuts(draft: Draft, tile: Tile, most: int) -> list[int]:
    inner = range(1, len(tile.packets))
    count = min(len(inner), draft.number(1, most))
    return sorted(int(cut) for cut in draft.rng.choice(inner, count, replace=False)) if count else []


def cut_some(draft: Draft) -> str:
    numbers = draft.some(sorted(draft.tiles), 0.6)
    for tile in draft.tiles.values():
        draft.parts += _parts(tile, _random_cuts(draft, tile, 4) if tile.number in numbers else tile.cuts)
    return f"tiles {numbers[:5]} cut at random"


def cut_all(draft: Draft) -> str:
    every = draft.pick([1, 2, 3, 5])
    for tile in draft.tiles.values():
        step = max(every, -(-len(tile.packets) // 100))
        draft.parts += _parts(tile, range(step, len(tile.packets), step))
    return f"tiles cut after every {every} packets"


def cut_in_two(draft: Draft) -> str:
    for tile in draft.tiles.values():
        cuts = [draft.number(1, len(tile.packets) - 1)] if len(tile.packets) > 1 else [len(tile.packets)]
        draft.parts += _parts(tile, cuts)
    return "tiles cut in two"


def empty_parts(draft: Draft) -> str:
    """Tile-parts without packets: a first one with the headers alone, or a last one."""
    for tile in draft.tiles.values():
        cuts = draft.pick([[0], [len(tile.packets)], [0, len(tile.packets)]])
        draft.parts += _parts(tile, cuts if draft.flag(0.7) else [])
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
    """The habit of old encoders: one less than there are, so that TPsot = TNsot occurs."""
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
    """Zeros behind the last packet of tiles, as if they were longer: searches need room."""
    most, everywhere = draft.pick([40, 700, 3000]), draft.flag(0.6)
    last = {part.tile: part for part in draft.parts}
    for part in last.values():
        if everywhere or draft.flag(0.4):
            part.padding = bytes(draft.number(1, most))
    return f"zeros up to {most} behind the last packets"


# --- PLT, PLM, PPM, PPT, TLM -----------------------------------------------------------------------------------------


def no_plt(draft: Draft) -> str:
    for part in draft.parts:
        part.plt = 0
    return "no PLT"


def plt_of_some_tiles(draft: Draft) -> str:
    tiles = draft.some(sorted(draft.tiles))
    for part in draft.parts:
        part.plt = 0 if part.tile in tiles else part.plt
    return f"no PLT in tiles {tiles[:5]}"


def plt_of_some_parts(draft: Draft) -> str:
    for part in draft.parts:
        part.plt = 0 if draft.flag(0.5) else part.plt
    return "no PLT in some tile-parts"


def plt_in_pieces(draft: Draft) -> str:
    largest, backwards = draft.pick([5, 7, 30]), draft.flag(0.3)
    for part in draft.parts:
        part.plt, part.plt_backwards = min(part.plt, largest), backwards
    return f"PLT in pieces of {largest}{', backwards' * backwards}"


def plm(draft: Draft) -> str | None:
    lengths = [b"".join(variable(len(packet)) for packet in part.packets) for part in draft.parts]
    if any(len(some) > 255 for some in lengths):
        return None
    keep, pieces = draft.flag(0.2), [b""]
    for part, some in zip(draft.parts, lengths, strict=True):
        if len(pieces[-1]) > 900:
            pieces.append(b"")
        pieces[-1] += bytes([len(some)]) + some
        part.plt = part.plt if keep else 0
    if len(pieces) > 255:
        return None
    draft.main += [(PLM, bytes([index]) + piece) for index, piece in enumerate(pieces)]
    return f"PLM{' and PLT' * keep}"


def _has_eph_everywhere(draft: Draft) -> bool:
    tiles = [content for part in draft.parts for marker, content in part.segments if marker == COD and content]
    return all(content[0] & 6 == 4 for content in (draft.content(COD), *tiles))


def ppt(draft: Draft) -> str | None:
    if not _has_eph_everywhere(draft) or max(part.index for part in draft.parts) > 60:
        return None
    tiles = draft.some(sorted(draft.tiles), 0.7)
    for part in draft.parts:
        part.packed = part.tile in tiles and bool(part.packets)
    return f"PPT in tiles {tiles[:5]}"


def ppm(draft: Draft) -> str | None:
    if not _has_eph_everywhere(draft) or any(part.packed for part in draft.parts):
        return None
    packed = b"".join(struct.pack(">I", len(part.headers())) + part.headers() for part in draft.parts)
    size = max(draft.pick([60_000, 200]), -(-len(packed) // 255))
    chunks = [packed[start : start + size] for start in range(0, len(packed), size)]
    for part in draft.parts:
        part.stripped = True
    draft.main += [(PPM, bytes([index]) + chunk) for index, chunk in enumerate(chunks)]
    return "PPM"


def tlm(draft: Draft) -> str:
    return _tlm(draft, draft.pick(["B", "H", "", "H"]), draft.pick(["H", "I", "I"]), draft.pick([1, 3, 10, 5000]), "")


def tlm_lie(draft: Draft) -> str:
    lie = draft.pick([lie for lie in _TLM_LIES if lie])
    tiles = "" if lie == "without tiles" else draft.pick(["B", "H"])
    return _tlm(draft, tiles, "I", draft.pick([2, 5000]), lie)


_TLM_LIES: dict[str, Callable[[Draft, list[list[int]]], list[list[int]]]] = {
    "": lambda draft, rows: rows,
    "cut": lambda draft, rows: rows,
    "without tiles": lambda draft, rows: rows,
    "no Ztlm order": lambda draft, rows: rows,
    "partial": lambda draft, rows: rows[: draft.number(0, len(rows) - 1)],
    "swapped": lambda draft, rows: [rows[int(n)] for n in draft.rng.permutation(len(rows))],
    "too many": lambda draft, rows: [*rows, [0, 14]],
    "by tile": lambda draft, rows: sorted(rows),
    "wrong length": lambda draft, rows: _with_row(
        draft, rows, lambda tile, length: [tile, max(0, length + draft.pick([1, -1, 14, -14, 1000]))]
    ),
    "wrong tile": lambda draft, rows: _with_row(
        draft, rows, lambda _, length: [draft.number(0, len(draft.tiles)), length]
    ),
    "zero length": lambda draft, rows: _with_row(draft, rows, lambda tile, _: [tile, 0]),
}
"""What TLM says of tile-parts (tile, length), from what is true."""


def _with_row(draft: Draft, rows: list[list[int]], change: Callable[[int, int], list[int]]) -> list[list[int]]:
    index = draft.number(0, len(rows) - 1)
    return [*rows[:index], change(*rows[index]), *rows[index + 1 :]]


def _tlm(draft: Draft, tiles: str, lengths: str, entries: int, lie: str) -> str:
    rows = _TLM_LIES[lie](draft, [[part.tile, len(part.to_bytes())] for part in draft.parts])
    in_order = [row[0] for row in rows] == sorted(draft.tiles)
    tiles = tiles if lie or tiles or in_order else "H"
    tiles = "H" if len(draft.tiles) > 255 and tiles == "B" else tiles
    lengths = "I" if any(length > 65535 for _, length in rows) else lengths
    size = {"": 0, "B": 0x10, "H": 0x20}[tiles] | (0x40 if lengths == "I" else 0)
    chunks = [rows[start : start + entries] for start in range(0, len(rows), entries)]
    if len(chunks) > 255:
        chunks = [rows]
    segments: list[Segment] = [
        (
            TLM,
            bytes([index, size])
            + b"".join(struct.pack(f">{tiles}{lengths}", *(row if tiles else row[1:])) for row in rows),
        )
        for index, rows in enumerate(chunks)
    ]
    if lie == "cut" and segments:
        marker, content = segments[-1]
        segments[-1] = marker, (content or b"")[:-1]
    if lie == "no Ztlm order":
        segments = [(marker, b"\0" + (content or b"")[1:]) for marker, content in segments]
    elif draft.flag(0.3):
        segments.reverse()
    draft.tlm = segments
    return f"TLM {tiles or 'without tiles'} {lengths} in {len(segments)} segments{f', {lie}' if lie else ''}"


# --- other marker segments -------------------------------------------------------------------------------------------


def look_alikes(draft: Draft) -> str:
    """COM holds what looks like a chain of tile-parts; it leads to a true one or nowhere."""
    numbers, leads = draft.some(draft.parts, 0.3), draft.flag(0.6)
    for part in numbers:
        part.segments = [(COM, _chain(draft, part, leads)), *part.segments]
    if draft.flag(0.3):
        draft.main.append((COM, _chain(draft, draft.parts[0], leads)))
    return f"look-alikes of SOT in {len(numbers)} headers, which lead {'on' if leads else 'nowhere'}"


def _chain(draft: Draft, part: Part, leads: bool) -> bytes:
    count = draft.number(1, 4)
    fakes = [
        struct.pack(">HHHIBB", SOT, 10, part.tile + index, 34, 0, 1) + b"\xff\x93" + bytes(20)
        for index in range(count - 1)
    ]
    rest = len(part.to_bytes()) - 12 if leads else 77
    last = struct.pack(">HHHIBB", SOT, 10, min(part.tile + count - 1, 65535), 14 + rest, 0, 1) + b"\xff\x93"
    return b"\0\1" + bytes(draft.number(0, 50)) + b"".join(fakes) + last


def reserved_marker(draft: Draft) -> str:
    marker = draft.number(0xFF30, 0xFF3F)
    draft.main.insert(draft.number(1, len(draft.main)), (marker, None))
    return f"reserved marker {marker:#x}"


def unknown_marker(draft: Draft) -> str:
    segment = draft.pick([0xFF66, 0xFF70, 0xFF7F, 0xFFC1]), bytes(2 * draft.number(0, 20))
    if draft.flag(0.9):
        draft.main.insert(draft.number(1, len(draft.main)), segment)
        return f"unknown marker segment {segment[0]:#x}"
    part = draft.pick(draft.parts)
    part.segments = [*part.segments, segment]
    return f"unknown marker segment {segment[0]:#x} in a header of tile {part.tile}"


def comments(draft: Draft) -> str:
    for _ in range(draft.number(1, 3)):
        draft.main.insert(draft.number(1, len(draft.main)), (COM, b"\0\1" + bytes(draft.number(0, 3000))))
    for part in draft.some(draft.parts):
        part.segments = [*part.segments, (COM, b"\0\1tile")]
    return "COM here and there"


def shuffle_main(draft: Draft) -> str:
    if any(marker in (COC, QCC) for marker, _ in draft.main):
        segments = [draft.main[0], *sorted(draft.main[1:], key=lambda s: (s[0] in (COC, QCC), s[0]))]
    else:
        segments = [draft.main[0], *(draft.main[1 + int(i)] for i in draft.rng.permutation(len(draft.main) - 1))]
    draft.main = segments
    return "main header in another order"


# --- the end ---------------------------------------------------------------------------------------------------------


def open_end(draft: Draft) -> str:
    draft.open_end = True
    if draft.flag(0.25):
        draft.eoc = b""
        draft.refusable.append("Psot 0, no EOC")
    return f"Psot 0 in the last tile-part{', no EOC' * (not draft.eoc)}"


def no_eoc(draft: Draft) -> str:
    draft.eoc = b""
    return "no EOC"


def append(draft: Draft) -> str:
    kind = draft.pick(["zeros", "random", "FF", "text", "half a SOT"])
    size = draft.pick([1, 2, 3, 13, 40, 300, 3000])
    draft.behind += {
        "zeros": bytes(size),
        "random": draft.rng.bytes(size),
        "FF": b"\xff" * size,
        "text": b"<xml/>" * (size // 6 + 1),
        "half a SOT": b"\xff\x90\x00\x0a\x00\x00",
    }[kind]
    return f"{size} {kind} behind EOC"


def _turned(draft: Draft) -> NDArray[np.int32]:
    """Return another image of the same size."""
    return np.flip(draft.pixels, axis=(1, 2)).copy()


def second_stream(draft: Draft) -> str | None:
    coded = _encode(_turned(draft), _other_coding(draft), draft.style)
    if coded is None:
        return None
    main, tiles = coded
    parts = b"".join(part.to_bytes() for tile in tiles.values() for part in _parts(tile, []))
    draft.behind += b"\xff\x4f" + b"".join(map(encode_segment, main)) + parts + b"\xff\xd9"
    return "a second codestream behind the first"


def tiles_again(draft: Draft) -> str | None:
    parts = draft.parts if draft.flag(0.4) else draft.parts[-draft.number(1, len(draft.parts)) :]
    numbers = {part.tile for part in parts}
    coded = _encode(_turned(draft), _other_coding(draft), draft.style)
    if coded is None:
        return None
    _, others = coded
    again = [part for number in sorted(numbers) for part in _parts(others[number], [])]
    draft.behind += b"".join(part.to_bytes() for part in again) + b"\xff\xd9" * draft.flag(0.8)
    return f"{len(again)} tiles once more behind EOC"


def copied_tail(draft: Draft) -> str:
    stream = draft.stream()
    draft.behind += stream[-draft.number(1, len(stream)) :]
    return "the tail once more, with EOC"


# --- boxes -----------------------------------------------------------------------------------------------------------


def _boxes(draft: Draft) -> Boxes:
    if draft.boxes is None:
        siz = draft.content(SIZ)
        xsiz, ysiz, xosiz, yosiz = struct.unpack_from(">IIII", siz, 2)
        depth = draft.coding.bits - 1 | draft.coding.signed << 7
        draft.boxes = Boxes.of(ysiz - yosiz, xsiz - xosiz, len(draft.pixels), depth)
    return draft.boxes


def in_jp2(draft: Draft) -> str:
    _boxes(draft)
    return "JP2"


def metadata_boxes(draft: Draft) -> str:
    boxes, places = _boxes(draft), []
    for _ in range(draft.number(1, 3)):
        place = draft.pick(["before", "between", "between", "behind"])
        kind, content = draft.pick(
            [(b"xml ", b"<a>jp2c</a>"), (b"uuid", bytes(range(40))), (b"free", bytes(9)), (b"asoc", b"")]
        )
        getattr(boxes, place).append(Box(kind, content, draft.pick(["short", "short", "long"])))
        places.append(f"{kind.decode()}{place}")
    return "boxes " + ", ".join(places)


def depth_boxes(draft: Draft) -> str:
    _boxes(draft).per_component_depth(len(draft.pixels))
    return "bpcc"


def codestream_length(draft: Draft) -> str:
    boxes = _boxes(draft)
    boxes.form = draft.pick(["short", "short", "long", "open"])
    return f"jp2c of {boxes.form} length"


def wrong_codestream_length(draft: Draft) -> str:
    boxes = _boxes(draft)
    boxes.form, boxes.wrong = draft.pick(["short", "long"]), draft.pick([-1, -2, -50, 1, 2, 9, 100_000])
    return f"jp2c {boxes.form}, wrong by {boxes.wrong}"


def garbage_box(draft: Draft) -> str:
    boxes = _boxes(draft)
    boxes.form, boxes.garbage = (
        "short",
        draft.pick([b"\0", b"\0\0\0", bytes(7), bytes(8), b"\0\0\0\1junk", b"\0\0\0\2junk", draft.rng.bytes(30)]),
    )
    return f"garbage {boxes.garbage[:8].hex()} behind the codestream's box"


def channel_definition(draft: Draft) -> str | None:
    components = len(draft.pixels)
    if components < 2 or any(box.kind == b"cmap" for box in _boxes(draft).all_inner()):
        return None
    if components >= 3:
        order = draft.pick([(3, 2, 1), (2, 1, 3), (1, 2, 3), (2, 3, 1)])
        rows = [(channel, 0, asoc) for channel, asoc in enumerate(order)] + [(3, 1, 0)] * (components == 4)
    else:
        rows = draft.pick([[(0, 0, 1), (1, 1, 0)], [(0, 1, 0), (1, 0, 1)]])
    content = struct.pack(">H", len(rows)) + b"".join(struct.pack(">HHH", *row) for row in rows)
    return f"cdef {rows} " + _placed(draft, [Box(b"cdef", content)])


def palette(draft: Draft) -> str | None:
    if draft.coding.bits > 8 or draft.coding.signed or len(draft.pixels) > 1:
        return None
    columns, deep, signed = draft.pick([1, 3, 3, 4]), draft.flag(0.3), draft.flag(0.25)
    size = 1 << draft.coding.bits
    bits = (12 if deep else 8) - 1
    low, high = (-(1 << bits), (1 << bits) - 1) if signed else (0, (1 << bits + 1) - 1)
    table = draft.rng.integers(low, high + 1, (size, columns))
    raw = table.astype(">i2" if signed else ">u2") if deep else table.astype("i1" if signed else "u1")
    depth = bits | signed << 7
    pclr = struct.pack(">HB", size, columns) + bytes([depth] * columns) + raw.tobytes()
    order = draft.pick([list(range(columns)), list(range(columns))[::-1]])
    cmap = b"".join(struct.pack(">HBB", 0, 1, column) for column in order) + bytes(4) * draft.flag(0.15)  # direct
    if signed:
        draft.refusable.append("signed palette")
    text = f"{'signed ' * signed}palette of {columns} columns of {bits + 1} bits "
    return text + _placed(draft, [Box(b"pclr", pclr), Box(b"cmap", cmap)])


def _placed(draft: Draft, inner: list[Box]) -> str:
    boxes = _boxes(draft)
    place: str = draft.pick(
        ["in jp2h", "in jp2h", "behind jp2h", "before jp2h", "in a second jp2h", "partly behind jp2h", "behind jp2c"]
    )
    if place == "in jp2h":
        boxes.header += inner
    elif place == "behind jp2h":
        boxes.between += inner
    elif place == "before jp2h":
        boxes.before += inner
    elif place == "in a second jp2h":
        boxes.between.append(Box(b"jp2h", b"".join(box.to_bytes() for box in (boxes.header[0], *inner))))
    elif place == "behind jp2c":
        boxes.behind += inner
    else:
        boxes.header += inner[:-1]
        boxes.between += inner[-1:]
    return place


def second_header(draft: Draft) -> str:
    boxes = _boxes(draft)
    content = draft.pick([boxes.header[0].to_bytes(), b"".join(box.to_bytes() for box in boxes.header)])
    getattr(boxes, draft.pick(["between", "behind"])).append(Box(b"jp2h", content))
    return "a second jp2h"


def second_codestream_box(draft: Draft) -> str | None:
    boxes = _boxes(draft)
    other = replace(draft, boxes=None, behind=b"", facts=[], refusable=[])
    if second_stream(other) is None:
        return None
    boxes.form = "short"
    boxes.behind.append(codestream_box(other.behind))
    return "a second jp2c"


STAGES: tuple[tuple[dict[str, Feature], bool], ...] = (
    (
        {
            "tile COD, more levels": lambda draft: tile_cod_levels(draft, True),
            "tile COD, fewer levels": lambda draft: tile_cod_levels(draft, False),
            "tile COD, other": tile_cod_other,
            "tile COC": tile_coc,
            "tile COC of one component": tile_coc_one,
            "main COC": main_coc,
            "COC first": coc_first,
            "tile repeats": tile_same,
            "QCD derived": derived_steps,
            "RGN": rgn,
            "POC": poc,
        },
        False,
    ),
    (
        {
            "tile-parts, some": lambda draft: None if draft.parts else cut_some(draft),
            "tile-parts, all": lambda draft: None if draft.parts else cut_all(draft),
            "tile-parts, two": lambda draft: None if draft.parts else cut_in_two(draft),
            "tile-parts, empty": lambda draft: None if draft.parts else empty_parts(draft),
        },
        True,
    ),
    (
        {
            "interleaved": interleave,
            "mixed": merge_at_random,
            "tiles shuffled": shuffle_tiles,
            "two tiles swapped": swap_two_tiles,
            "padded": pad,
            "no PLT": no_plt,
            "PLT in some tiles": plt_of_some_tiles,
            "PLT in some tile-parts": plt_of_some_parts,
            "PLT in pieces": plt_in_pieces,
            "PLM": plm,
            "PPT": ppt,
            "PPM": ppm,
            "TNsot high": totals_too_high,
            "TNsot low": totals_too_low,
            "TNsot low somewhere": totals_too_low_somewhere,
            "TNsot in some": totals_some,
            "TNsot 0": totals_zero,
            "look-alikes": look_alikes,
            "reserved marker": reserved_marker,
            "unknown marker": unknown_marker,
            "COM": comments,
            "main shuffled": shuffle_main,
            "TLM": tlm,
            "TLM lies": tlm_lie,
            "Psot 0": open_end,
            "no EOC": no_eoc,
            "appended": append,
            "second codestream": second_stream,
            "tiles again": tiles_again,
            "tail again": copied_tail,
            "JP2": in_jp2,
            "metadata boxes": metadata_boxes,
            "bpcc": depth_boxes,
            "palette": palette,
            "cdef": channel_definition,
            "second jp2h": second_header,
            "second jp2c": second_codestream_box,
            "jp2c length": codestream_length,
            "jp2c wrong length": wrong_codestream_length,
            "garbage box": garbage_box,
        },
        False,
    ),
)
FEATURES = tuple(name for stage, _ in STAGES for name in stage)
WEIGHTS = {
    "TLM": 3.0,
    "tile COD, more levels": 2.0,
    "tile COC": 1.5,
    "no PLT": 2.0,
    "JP2": 3.0,
    "padded": 2.0,
    "tile-parts, all": 2.0,
    "tile-parts, two": 2.0,
    "interleaved": 1.5,
    "TNsot low": 2.0,
    "palette": 2.0,
    "cdef": 1.5,
    "PPT": 1.5,
    "PPM": 1.5,
}
"""How often a feature is chosen, beside the others' 1."""
REFUSABLE: frozenset[str] = frozenset()
"""What a file may be refused for with a typed error, though OpenJPEG decodes it without a warning: nothing."""
