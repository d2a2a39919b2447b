"""Damage the structure of variants, by seed: `mutation(seed)`.

The bytes are parsed into fields, marker segments, tile-parts and boxes, to change them at effective positions: one to
three fields are changed, or pieces dropped, doubled, swapped, moved or cut.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from support.variants import Variant, variant

Rng = np.random.Generator
_CODING = {"SIZ", "COD", "COC", "QCD", "QCC", "RGN", "POC"}
_PACKETS = {"PPM", "PPT"}
_PLACING = ("SOT Isot", "SOT Psot", "SOT TPsot", "SOT TNsot", "TLM", "PLT", "PLM", "cdef", "pclr", "cmap", "jp2c")
_NAMES = {
    0xFF51: "SIZ",
    0xFF52: "COD",
    0xFF53: "COC",
    0xFF5C: "QCD",
    0xFF5D: "QCC",
    0xFF5E: "RGN",
    0xFF5F: "POC",
    0xFF55: "TLM",
    0xFF57: "PLM",
    0xFF58: "PLT",
    0xFF60: "PPM",
    0xFF61: "PPT",
    0xFF64: "COM",
    0xFF90: "SOT",
}
_SIZES = ("Xsiz", "Ysiz", "XOsiz", "YOsiz", "XTsiz", "YTsiz", "XTOsiz", "YTOsiz")
_LAYOUTS = {
    "SIZ": ((("Rsiz", 2), *((name, 4) for name in _SIZES), ("Csiz", 2)), ("component", 1)),
    "COD": (
        (("Scod", 1), ("order", 1), ("layers", 2), ("MCT", 1), ("levels", 1), ("xcb", 1), ("ycb", 1)),
        ("style", 1),
    ),
    "COC": ((("Ccoc", 1), ("Scoc", 1), ("levels", 1), ("xcb", 1), ("ycb", 1), ("style", 1)), ("transform", 1)),
    "QCD": ((("Sqcd", 1),), ("step", 1)),
    "QCC": ((("Cqcc", 1), ("Sqcc", 1)), ("step", 1)),
    "RGN": ((("Crgn", 1), ("Srgn", 1)), ("SPrgn", 1)),
    "POC": ((("RSpoc", 1), ("CSpoc", 1), ("LYEpoc", 2), ("REpoc", 1), ("CEpoc", 1)), ("Ppoc", 1)),
    "TLM": ((("Ztlm", 1), ("Stlm", 1)), ("entry", 1)),
    "SOT": ((("Isot", 2), ("Psot", 4), ("TPsot", 1)), ("TNsot", 1)),
}
"""Fields of marker segments: the first, and the repeated field."""
_FATAL = (" marker", " length", " TBox")
"""Fields rarely changed, because OpenJPEG mostly refuses the file."""


@dataclass(frozen=True)
class Field:
    """A number in a file."""

    name: str
    start: int
    size: int


@dataclass(frozen=True)
class Span:
    """A piece of a file: a marker segment, a tile-part, a box, or the packets of a tile-part."""

    kind: str
    start: int
    stop: int
    place: str = ""
    """Container: "main", "tile", "file", "jp2h"."""


@dataclass
class Anatomy:
    """Positions of fields and pieces in a file."""

    data: bytes
    fields: list[Field] = field(default_factory=list)
    segments: list[Span] = field(default_factory=list)
    parts: list[Span] = field(default_factory=list)
    packets: list[Span] = field(default_factory=list)
    boxes: list[Span] = field(default_factory=list)

    @classmethod
    def of(cls, data: bytes) -> "Anatomy":
        """Parse a file, as far as it is valid."""
        found = cls(data)
        if data[4:8] == b"jP  ":
            found._read_boxes(0, len(data), "file")
        start = data.find(b"\xff\x4f\xff\x51")
        if start >= 0:
            position = found._read_segments(start + 2, "main")
            while data[position : position + 4] == b"\xff\x90\x00\x0a" and len(found.parts) < 1000:
                position = found._read_part(position)
        return found

    def boundaries(self) -> list[int]:
        spans = (*self.segments, *self.parts, *self.packets, *self.boxes)
        return sorted({0, len(self.data), *(edge for span in spans for edge in (span.start, span.stop))})

    def _read_boxes(self, position: int, limit: int, place: str) -> None:
        while position + 8 <= limit and len(self.boxes) < 100:
            length, kind = struct.unpack_from(">I4s", self.data, position)
            name, start = kind.decode("latin-1"), position + 8
            self.fields += [Field(f"{name} LBox", position, 4), Field(f"{name} TBox", position + 4, 4)]
            if length == 1 and position + 16 <= limit:
                self.fields.append(Field(f"{name} XLBox", start, 8))
                (length,) = struct.unpack_from(">Q", self.data, start)
                start += 8
            stop = limit if length == 0 else min(limit, position + length)
            if stop < start:
                return
            self.boxes.append(Span(name, position, stop, place))
            if name == "jp2h":
                self._read_boxes(start, stop, "jp2h")
            elif name != "jp2c":
                self.fields += [Field(f"{name} content", n, 1) for n in range(start, min(stop, start + 30))]
            position = stop

    def _read_segments(self, position: int, place: str) -> int:
        """Read marker segments up to SOT or SOD; return its position."""
        while position + 4 <= len(self.data):
            marker, length = struct.unpack_from(">HH", self.data, position)
            if marker in (0xFF90, 0xFF93) or marker < 0xFF00:
                break
            if 0xFF30 <= marker <= 0xFF3F:
                position += 2
                continue
            stop = min(len(self.data), position + 2 + max(2, length))
            self._read_segment(position, stop, place)
            position = stop
        return position

    def _read_segment(self, start: int, stop: int, place: str) -> None:
        marker = int.from_bytes(self.data[start : start + 2])
        name = _NAMES.get(marker, "unknown")
        self.segments.append(Span(name, start, stop, place))
        self.fields += [Field(f"{name} marker", start, 2), Field(f"{name} length", start + 2, 2)]
        firsts, (last, size) = _LAYOUTS.get(name, ((), (f"{name} byte", 1)))
        position = start + 4
        for part, length in firsts:
            self.fields.append(Field(f"{name} {part}", position, length))
            position += length
        repeated = range(position, min(stop - size + 1, position + 60), size)
        self.fields += [Field(f"{name} {last}", n, size) for n in repeated]

    def _read_part(self, start: int) -> int:
        (length,) = struct.unpack_from(">I", self.data, start + 6)
        self._read_segment(start, start + 12, "tile")
        self.segments.pop()  # the tile-part stands for it
        sod = self._read_segments(start + 12, "tile")
        stop = min(len(self.data), start + length) if length else len(self.data)
        stop = max(stop, min(sod + 2, len(self.data)))
        self.parts.append(Span("tile-part", start, stop))
        if sod + 2 < stop:
            self.packets.append(Span("packets", sod + 2, stop))
        return stop


@dataclass(frozen=True)
class Mutation:
    """A damaged file."""

    seed: int
    data: bytes
    base: Variant
    facts: tuple[str, ...]
    limited: bool
    """True if sizes, coding or packets are wrong: OpenJPEG then decodes garbage without a warning, and other
    garbage if packets are omitted."""

    @property
    def description(self) -> str:
        return f"{self.seed}: {'; '.join(self.facts)}; of variant {self.base.description}"


@dataclass(frozen=True)
class Change:
    """One step of a mutation."""

    data: bytes
    fact: str
    limited: bool = False


Step = Callable[[Anatomy, Rng], Change | None]


def mutation(seed: int) -> Mutation:
    """Return the mutation of a seed. Like `variant`, better called in a child process."""
    return mutation_of(variant, seed)


def mutation_of(make: Callable[[int], Variant], seed: int) -> Mutation:
    """Return a mutation of a file made by seed."""
    rng = np.random.default_rng([seed, 1])
    base = make(int(rng.integers(0, 1 << 31)))
    data, facts, limited = base.data, list[str](), False
    wanted = int(rng.choice([1, 1, 1, 1, 2, 3]))
    for _ in range(50):
        step = STEPS[int(rng.choice(len(STEPS), p=_SHARES))]
        change = step(Anatomy.of(data), rng)
        if change is not None and change.data != data:
            data, limited = change.data, limited or change.limited
            facts.append(change.fact)
        if len(facts) == wanted:
            break
    return Mutation(seed, data, base, tuple(facts), limited)


def _pick(rng: Rng, items: Sequence[Field]) -> Field:
    """Pick a field; every name has the same probability."""
    names = sorted({item.name for item in items})
    placing = [name for name in names if name.startswith(_PLACING)]
    numbers = [name for name in names if not name.endswith(_FATAL)]
    names = placing if placing and rng.random() < 0.3 else numbers if numbers and rng.random() < 0.7 else names
    name = names[int(rng.integers(len(names)))]
    alike = [item for item in items if item.name == name]
    return alike[int(rng.integers(len(alike)))]


def _span(rng: Rng, items: Sequence[Span]) -> Span:
    return items[int(rng.integers(len(items)))]


def _is_limited(name: str) -> bool:
    return name.split(maxsplit=1)[0] in _CODING | _PACKETS


def change_field(anatomy: Anatomy, rng: Rng) -> Change | None:
    if not anatomy.fields:
        return None
    chosen = _pick(rng, anatomy.fields)
    start, stop = chosen.start, chosen.start + chosen.size
    old, largest = int.from_bytes(anatomy.data[start:stop]), (1 << 8 * chosen.size) - 1
    alike = [int.from_bytes(anatomy.data[f.start : f.start + f.size]) for f in anatomy.fields if f.name == chosen.name]
    choices = [
        0,
        1,
        2,
        largest,
        old + 1,
        old - 1,
        old + 1,
        old - 1,
        old ^ 1 << int(rng.integers(8 * chosen.size)),
        old * 2,
    ]
    choices += [int(rng.integers(0, min(largest, 300) + 1)), alike[int(rng.integers(len(alike)))], old + 14, old // 2]
    if chosen.name.endswith("marker"):
        choices += [*_NAMES, 0xFF30, 0xFF66, 0xFF93, 0xFFD9, 0xFF4F]
    new = choices[int(rng.integers(len(choices)))] & largest
    data = anatomy.data[:start] + new.to_bytes(chosen.size) + anatomy.data[stop:]
    return Change(data, f"{chosen.name} at {start}: {new:#x}, not {old:#x}", _is_limited(chosen.name) or new == 0xFF93)


def _spliced(anatomy: Anatomy, start: int, stop: int, new: bytes, *, adapt: bool) -> bytes:
    """Exchange bytes; `adapt` the lengths of the tile-part and the boxes that hold them."""
    data = bytearray(anatomy.data)
    grown = len(new) - (stop - start)
    if adapt:
        for part in anatomy.parts:
            if part.start + 12 <= start and stop <= part.stop:
                _grow(data, part.start + 6, grown)
        for box in anatomy.boxes:
            if box.start + 8 <= start and stop <= box.stop:
                _grow(data, box.start, grown)
    data[start:stop] = new
    return bytes(data)


def _grow(data: bytearray, position: int, by: int) -> None:
    (old,) = struct.unpack_from(">I", data, position)
    if old > 1:  # 0: to the end; 1: XLBox
        struct.pack_into(">I", data, position, max(0, old + by))


def drop(anatomy: Anatomy, rng: Rng) -> Change | None:
    return _with_span(anatomy, rng, lambda content: b"", "dropped")


def double(anatomy: Anatomy, rng: Rng) -> Change | None:
    return _with_span(anatomy, rng, lambda content: content * 2, "doubled")


def _with_span(anatomy: Anatomy, rng: Rng, change: Callable[[bytes], bytes], word: str) -> Change | None:
    groups = [group for group in (anatomy.segments, anatomy.parts, anatomy.boxes) if group]
    if not groups:
        return None
    span, adapt = _span(rng, groups[int(rng.integers(len(groups)))]), bool(rng.random() < 0.8)
    new = change(anatomy.data[span.start : span.stop])
    data = _spliced(anatomy, span.start, span.stop, new, adapt=adapt)
    return Change(data, f"{_named(span)} {word}{', lengths adapted' * adapt}", _is_limited(span.kind))


def _named(span: Span) -> str:
    return f"{span.kind} {span.start}:{span.stop}{f' of {span.place}' if span.place else ''}"


def swap(anatomy: Anatomy, rng: Rng) -> Change | None:
    """Exchange two pieces of a kind: tile-parts, segments of one header, boxes."""
    main = [span for span in anatomy.segments if span.place == "main"]
    groups = [
        group for group in (main, anatomy.parts, [b for b in anatomy.boxes if b.place == "file"]) if len(group) > 1
    ]
    if not groups:
        return None
    group = groups[int(rng.integers(len(groups)))]
    first, second = (group[int(n)] for n in sorted(rng.choice(len(group), 2, replace=False)))
    data = anatomy.data
    middle = data[first.stop : second.start]
    pieces = data[: first.start], data[second.start : second.stop], middle, data[first.start : first.stop]
    limited = _is_limited(first.kind) or _is_limited(second.kind)
    return Change(b"".join((*pieces, data[second.stop :])), f"{_named(first)} and {_named(second)} swapped", limited)


def move(anatomy: Anatomy, rng: Rng) -> Change | None:
    """Move a marker segment to another header."""
    if not anatomy.segments:
        return None
    span = _span(rng, anatomy.segments)
    target = _span(rng, anatomy.segments).start
    if target == span.start:
        return None
    content = anatomy.data[span.start : span.stop]
    added = Anatomy.of(_spliced(anatomy, target, target, content, adapt=True))
    shift = len(content) if target < span.start else 0
    data = _spliced(added, span.start + shift, span.stop + shift, b"", adapt=True)
    return Change(data, f"{_named(span)} moved to {target}", _is_limited(span.kind))


def cut(anatomy: Anatomy, rng: Rng) -> Change:
    edges = anatomy.boundaries()
    place = edges[int(rng.integers(len(edges)))] if rng.random() < 0.6 else int(rng.integers(0, len(anatomy.data) + 1))
    place = max(0, place + int(rng.choice([0, 0, 0, -1, 1, 2, -2])))
    return Change(anatomy.data[:place], f"cut at {place} of {len(anatomy.data)}")


def insert_eoc(anatomy: Anatomy, rng: Rng) -> Change | None:
    """Put EOC before a tile-part, or over its SOT.

    TLM, if any, leads past it, where OpenJPEG fills tiles with zeros.
    """
    if not anatomy.parts:
        return None
    span, over = _span(rng, anatomy.parts), bool(rng.random() < 0.3)
    data = anatomy.data
    return Change(
        data[: span.start] + b"\xff\xd9" + data[span.start + 2 * over :],
        f"EOC {'over' if over else 'before'} the tile-part at {span.start}",
        limited=over and b"\xff\x55" in data[: anatomy.parts[0].start],
    )


def insert(anatomy: Anatomy, rng: Rng) -> Change:
    """Insert a few bytes at a boundary, or take some away."""
    edges = anatomy.boundaries()
    place, count = edges[int(rng.integers(len(edges)))], int(rng.integers(1, 15))
    if rng.random() < 0.5:
        return Change(anatomy.data[:place] + bytes(count) + anatomy.data[place:], f"{count} zeros inserted at {place}")
    return Change(anatomy.data[:place] + anatomy.data[place + count :], f"{count} bytes taken away at {place}")


def flip_in_packets(anatomy: Anatomy, rng: Rng) -> Change | None:
    if not anatomy.packets:
        return None
    span = _span(rng, anatomy.packets)
    place = span.start + min(int(rng.exponential(20)), span.stop - span.start - 1)
    new = bytes([anatomy.data[place] ^ 1 << int(rng.integers(8))])
    return Change(anatomy.data[:place] + new + anatomy.data[place + 1 :], f"a bit of packets flipped at {place}", True)


def cut_packets(anatomy: Anatomy, rng: Rng) -> Change | None:
    """Take bytes away from the end of a tile-part's packets, Psot adapted."""
    if not anatomy.packets:
        return None
    span = _span(rng, anatomy.packets)
    start = int(rng.integers(span.start, span.stop))
    data = _spliced(anatomy, start, span.stop, b"", adapt=True)
    return Change(data, f"packets of {span.start}:{span.stop} end at {start}", True)


def retype_tile(anatomy: Anatomy, rng: Rng) -> Change | None:
    """Give a tile-part the tile and index of another."""
    if len(anatomy.parts) < 2:
        return None
    one, other = _span(rng, anatomy.parts), _span(rng, anatomy.parts)
    data = bytearray(anatomy.data)
    data[one.start + 4 : one.start + 6] = anatomy.data[other.start + 4 : other.start + 6]
    if rng.random() < 0.5:
        data[one.start + 10 : one.start + 12] = anatomy.data[other.start + 10 : other.start + 12]
    return Change(bytes(data), f"the tile-part at {one.start} says it is that at {other.start}")


_WEIGHTS: dict[Step, float] = {
    change_field: 8,
    drop: 2,
    double: 2,
    swap: 1.5,
    move: 1,
    cut: 0.5,
    insert_eoc: 1,
    insert: 1,
    flip_in_packets: 1,
    cut_packets: 0.3,
    retype_tile: 0.5,
}
STEPS = tuple(_WEIGHTS)
_SHARES = np.array(list(_WEIGHTS.values())) / sum(_WEIGHTS.values())
