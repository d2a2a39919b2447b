"""Features of the codestream's end: Psot 0, a missing EOC, and bytes, tiles or codestreams after EOC."""

import numpy as np
from numpy.typing import NDArray

from support.variant_draft import Draft, encode_segment
from support.variant_image import encode_tiles
from support.variant_tile_parts import tile_parts


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
    coded = encode_tiles(_turned(draft), draft.other_coding(), draft.style)
    if coded is None:
        return None
    main, tiles = coded
    parts = b"".join(part.to_bytes() for tile in tiles.values() for part in tile_parts(tile, []))
    draft.behind += b"\xff\x4f" + b"".join(map(encode_segment, main)) + parts + b"\xff\xd9"
    return "a second codestream behind the first"


def tiles_again(draft: Draft) -> str | None:
    parts = draft.parts if draft.flag(0.4) else draft.parts[-draft.number(1, len(draft.parts)) :]
    numbers = {part.tile for part in parts}
    coded = encode_tiles(_turned(draft), draft.other_coding(), draft.style)
    if coded is None:
        return None
    _, others = coded
    again = [part for number in sorted(numbers) for part in tile_parts(others[number], [])]
    draft.behind += b"".join(part.to_bytes() for part in again) + b"\xff\xd9" * draft.flag(0.8)
    return f"{len(again)} tiles once more behind EOC"


def copied_tail(draft: Draft) -> str:
    stream = draft.stream()
    draft.behind += stream[-draft.number(1, len(stream)) :]
    return "the tail once more, with EOC"
