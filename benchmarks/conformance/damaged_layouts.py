"""Damaged files: a reader may refuse them, or return the pixels of the file before the damage."""

import struct
from collections.abc import Callable
from dataclasses import replace

from benchmarks.conformance.canvas import PLAIN, Canvas
from benchmarks.conformance.layouts import Group, Layout
from support import rewrite
from support.rewrite import Codestream


def _intact(canvas: Canvas) -> bytes:
    return canvas.coded(PLAIN)


def _damaged(name: str, clause: str, damage: Callable[[bytes], bytes]) -> Layout:
    return Layout(name, clause, lambda canvas: damage(_intact(canvas)), intact=_intact)


def _half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _short_header(data: bytes) -> bytes:
    return data[: data.index(b"\xff\x4f\xff\x51") + 60]


def _early_eoc(data: bytes) -> bytes:
    """Write EOC in place of a SOT in the middle."""
    parts = Codestream.parse(data).parts
    start = len(data) - 2 - sum(len(part.to_bytes()) for part in parts[len(parts) // 2 :])
    return data[:start] + b"\xff\xd9" + data[start + 2 :]


def _missing_tile(data: bytes) -> bytes:
    stream = Codestream.parse(data)
    middle = len(stream.parts) // 2
    return replace(stream, parts=(*stream.parts[:middle], *stream.parts[middle + 1 :])).to_bytes()


def _long_tile_part(data: bytes) -> bytes:
    """Let the last tile-part exceed the file."""
    last = Codestream.parse(data).parts[-1].to_bytes()
    start = len(data) - 2 - len(last)
    return data[: start + 6] + struct.pack(">I", len(last) + 1_000_000) + data[start + 10 :]


def _siz_late(data: bytes) -> bytes:
    stream = Codestream.parse(data)
    siz, second, *others = stream.segments
    return replace(stream, segments=(second, siz, *others)).to_bytes()


def _no_qcd(data: bytes) -> bytes:
    return rewrite.without(data, rewrite.QCD)


def _unknown_tile(data: bytes) -> bytes:
    """Give the last tile a number beyond the grid."""
    stream = Codestream.parse(data)
    return replace(stream, parts=(*stream.parts[:-1], replace(stream.parts[-1], tile=60_000))).to_bytes()


GROUPS = (
    Group(
        "Damaged files: to refuse is right",
        (
            _damaged("the second half is missing", "A.4", _half),
            _damaged("the main header is cut", "A.4.1", _short_header),
            _damaged("no EOC", "A.4.4", lambda data: data[:-2]),
            _damaged("EOC in the middle", "A.4.4", _early_eoc),
            _damaged("a tile is missing", "A.4.2", _missing_tile),
            _damaged("Psot exceeds the file", "A.4.2", _long_tile_part),
            _damaged("a tile number beyond the grid", "A.4.2", _unknown_tile),
            _damaged("SIZ is not first", "A.5.1", _siz_late),
            _damaged("no QCD", "A.6.4", _no_qcd),
        ),
        damaged=True,
    ),
)
"""Layouts by kind."""
