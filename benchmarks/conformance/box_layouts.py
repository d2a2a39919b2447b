"""Layouts that differ in the boxes of JP2 (T.800 annex I)."""

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np

from benchmarks.conformance.canvas import PLAIN, Canvas, boxed
from benchmarks.conformance.layouts import Group, Layout
from support import rewrite
from support.jp2_boxes import Box, Boxes, codestream_box

_BYTES = replace(PLAIN, bits=8)


def _boxed(change: Callable[[Boxes], object], bands: int = 1) -> Callable[[Canvas], bytes]:
    return lambda canvas: boxed(canvas, change, _BYTES, bands)


def _length(form: Literal["open", "short", "long"]) -> Callable[[Canvas], bytes]:
    return lambda canvas: rewrite.with_box_length(canvas.coded(PLAIN), form)


def _wrong_length(boxes: Boxes) -> None:
    boxes.form, boxes.wrong = "short", -50


def _metadata(boxes: Boxes) -> None:
    boxes.between += [Box(b"xml ", b"<a>jp2c</a>"), Box(b"uuid", bytes(range(40)), "long")]


def _palette_boxes(*, signed: bool) -> list[Box]:
    table = np.stack([np.arange(256), 255 - np.arange(256), np.arange(256) // 2 + 17], axis=1).astype(np.uint8)
    pclr = struct.pack(">HB", 256, 3) + bytes([7 | signed << 7] * 3) + table.tobytes()
    return [Box(b"pclr", pclr), Box(b"cmap", b"".join(struct.pack(">HBB", 0, 1, column) for column in range(3)))]


def _rgb(boxes: Boxes) -> None:
    boxes.header[1] = Box(b"colr", struct.pack(">BBBI", 1, 0, 0, 16))


def _palette(boxes: Boxes) -> None:
    _rgb(boxes)
    boxes.header += _palette_boxes(signed=False)


def _signed_palette(boxes: Boxes) -> None:
    _rgb(boxes)
    boxes.header += _palette_boxes(signed=True)


def _palette_outside(boxes: Boxes) -> None:
    _rgb(boxes)
    boxes.between += _palette_boxes(signed=False)


def _cdef(*rows: tuple[int, int, int]) -> Box:
    return Box(b"cdef", struct.pack(">H", len(rows)) + b"".join(struct.pack(">HHH", *row) for row in rows))


_BGR = _cdef((0, 0, 3), (1, 0, 2), (2, 0, 1))


def _reversed_channels(boxes: Boxes) -> None:
    boxes.header.append(_BGR)


def _channels_outside(boxes: Boxes) -> None:
    boxes.between.append(_BGR)


def _channels_in_second_header(boxes: Boxes) -> None:
    boxes.between.append(Box(b"jp2h", boxes.header[0].to_bytes() + _BGR.to_bytes()))


def _opacity(boxes: Boxes) -> None:
    boxes.header.append(_cdef((0, 0, 1), (1, 0, 2), (2, 0, 3), (3, 1, 0)))


def _depths(boxes: Boxes) -> None:
    boxes.per_component_depth(3)


def _second_box(canvas: Canvas) -> bytes:
    def change(boxes: Boxes) -> None:
        boxes.form = "short"
        boxes.behind.append(codestream_box(canvas.turned(_BYTES)))

    return boxed(canvas, change, _BYTES)


def _open_box_and_more(canvas: Canvas) -> bytes:
    """Let a box of length 0 hold two codestreams."""
    return canvas.coded(PLAIN) + canvas.turned(PLAIN)


GROUPS = (
    Group(
        "JP2 boxes",
        (
            Layout(
                "a codestream without boxes", "A.2", lambda canvas: canvas.coded(replace(PLAIN, raw=True)), raw=True
            ),
            Layout("jp2c with LBox", "I.4", _length("short")),
            Layout("jp2c with XLBox", "I.4", _length("long")),
            Layout("jp2c, LBox too low by 50", "I.4", _boxed(_wrong_length)),
            Layout("xml and uuid before jp2c", "I.7", _boxed(_metadata)),
            Layout("bpcc", "I.5.3.2", _boxed(_depths, 3)),
            Layout("pclr and cmap: a palette", "I.5.3.4", _boxed(_palette)),
            Layout("pclr and cmap outside jp2h", "I.5.3.4", _boxed(_palette_outside)),
            Layout("pclr with signed entries", "I.5.3.4", _boxed(_signed_palette)),
            Layout("cdef: blue, green, red", "I.5.3.6", _boxed(_reversed_channels, 3)),
            Layout("cdef: opacity", "I.5.3.6", _boxed(_opacity, 4)),
            Layout("cdef outside jp2h", "I.5.3.6", _boxed(_channels_outside, 3)),
            Layout("cdef in a second jp2h", "I.5.3.6", _boxed(_channels_in_second_header, 3)),
            Layout("a second jp2c", "I.5.4", _second_box),
            Layout("two codestreams in a jp2c of LBox 0", "I.4", _open_box_and_more),
        ),
    ),
)
"""Layouts by kind."""
