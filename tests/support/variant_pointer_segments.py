"""Features of pointer marker segments (T.800 A.7): PLT, PLM, PPT, PPM and TLM.

They hold the lengths of packets, the packet headers, and the lengths of tile-parts; TLM may be wrong.
"""

import struct
from collections.abc import Callable

from support.rewrite import COD, PLM, PPM, TLM
from support.variant_draft import Draft, Segment, variable


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
"""Wrong TLM entries (tile, length) by the name of the error, made from the true entries."""


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
