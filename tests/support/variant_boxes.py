"""Features of JP2 boxes (T.800 annex I): metadata, palettes, channel definitions, wrong lengths, second boxes."""

import struct
from dataclasses import replace

from support.jp2_boxes import Box, Boxes, codestream_box
from support.rewrite import SIZ
from support.variant_codestream_end import second_stream
from support.variant_draft import Draft


def _boxes(draft: Draft) -> Boxes:
    """Return the boxes of a draft; a raw codestream becomes a JP2 file."""
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
