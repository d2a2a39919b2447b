"""Features of other marker segments: comments, look-alikes of SOT, unknown markers, the order of the main header."""

import struct

from support.rewrite import COC, COM, QCC, SOT
from support.variant_draft import Draft, Part


def look_alikes(draft: Draft) -> str:
    """Add COM segments that look like a chain of tile-parts. It leads to a true SOT or nowhere."""
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
