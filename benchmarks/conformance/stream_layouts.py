"""Layouts that differ in tile-parts, pointer marker segments, and other marker segments."""

import struct
from collections.abc import Callable
from dataclasses import replace

from benchmarks.conformance.canvas import PLAIN, Canvas
from benchmarks.conformance.layouts import Group, Layout
from jp2batch.sample.coding import Coding
from support import rewrite
from support.rewrite import COM, SOT
from support.variant_draft import Draft
from support.variant_tile_parts import tile_parts

_WHOLE = replace(PLAIN, precincts=None)
_EPH = replace(PLAIN, eph=True)


def _changed(change: Callable[[bytes], bytes], coding: Coding = PLAIN, bands: int = 1) -> Callable[[Canvas], bytes]:
    return lambda canvas: canvas.changed(change, coding, bands)


def _divided(letter: str, order: str) -> Callable[[Canvas], bytes]:
    coding = replace(_WHOLE, bits=8, layers=2, progression=order, tile_parts=letter)  # type: ignore[arg-type]
    return lambda canvas: canvas.coded(coding, 3)


def _in_parts(change: Callable[[Draft], object], coding: Coding = PLAIN) -> Callable[[Canvas], bytes]:
    """Change the tile-parts of an image."""
    return lambda canvas: canvas.drafted(lambda _: change, coding)


def _of_resolutions(change: Callable[[Draft], object] | None = None) -> Callable[[Canvas], bytes]:
    """Cut tiles at each resolution, and change the tile-parts."""
    coding = replace(_WHOLE, tile_parts="R")
    return lambda canvas: canvas.drafted(lambda _: change, coding)


def _too_low(draft: Draft) -> None:
    for part in draft.parts:
        part.total -= 1


def _too_high(draft: Draft) -> None:
    for part in draft.parts:
        part.total += 2


def _unknown_total(draft: Draft) -> None:
    for part in draft.parts:
        part.total = 0


def _interleaved(draft: Draft) -> None:
    draft.parts.sort(key=lambda part: (part.index, part.tile))


def _interleaved_and_too_low(draft: Draft) -> None:
    _interleaved(draft)
    _too_low(draft)


def _empty_parts(draft: Draft) -> None:
    draft.parts = [part for tile in draft.tiles.values() for part in tile_parts(tile, [0, len(tile.packets)])]


def _without_plt(draft: Draft) -> None:
    for part in draft.parts:
        part.plt = 0


def _partly_without_plt(draft: Draft) -> None:
    for part in draft.parts[::3]:
        part.plt = 0


def _padded(draft: Draft) -> None:
    for part in draft.parts:
        part.padding, part.plt = bytes(700), 0


def _open_end(draft: Draft) -> None:
    draft.open_end = True


def _look_alikes(draft: Draft) -> None:
    for part in draft.parts:
        fake = struct.pack(">HHHIBB", SOT, 10, part.tile, 14 + 77, 0, 1) + b"\xff\x93"
        part.segments, part.plt = [(COM, b"\0\1" + fake * 3), *part.segments], 0


def _tlm(change: Callable[[bytes], bytes]) -> Callable[[Canvas], bytes]:
    """Change the entries of TLM, of 6 bytes each."""

    def lie(data: bytes) -> bytes:
        honest = rewrite.Codestream.parse(rewrite.with_tlm(data, st=2, sp=4))
        tlm = honest.find(rewrite.TLM)
        entries = tlm[:2] + change(tlm[2:])
        segments = tuple((marker, entries if marker == rewrite.TLM else content) for marker, content in honest.segments)
        return replace(honest, segments=segments).to_bytes()

    return _changed(lie)


def _swapped(entries: bytes) -> bytes:
    """Swap the first two lengths, but not their tiles."""
    return entries[:2] + entries[8:12] + entries[6:8] + entries[2:6] + entries[12:]


def _reserved(data: bytes) -> bytes:
    """Insert a marker without a segment, FF30 (A.1), behind SIZ."""
    start = data.index(b"\xff\x4f\xff\x51") + 4
    (length,) = struct.unpack_from(">H", data, start)
    return data[: start + length] + b"\xff\x30" + data[start + length :]


def _second_codestream(canvas: Canvas) -> bytes:
    return canvas.coded(replace(PLAIN, raw=True)) + canvas.turned(PLAIN)


def _tiles_again(canvas: Canvas) -> bytes:
    """Append the tile-parts of another image behind EOC."""
    other = canvas.turned(PLAIN)
    return canvas.coded(replace(PLAIN, raw=True)) + other[other.index(b"\xff\x90\x00\x0a") :]


def _appended(tail: bytes) -> Callable[[Canvas], bytes]:
    return lambda canvas: canvas.coded(replace(PLAIN, raw=True)) + tail


GROUPS = (
    Group(
        "Tile-parts",
        (
            Layout("tile-parts by resolution", "B.9", _divided("R", "RLCP")),
            Layout("tile-parts by layer", "B.9", _divided("L", "LRCP")),
            Layout("tile-parts by component", "B.9", _divided("C", "CPRL")),
            Layout("tile-parts of tiles interleaved", "A.4.2", _of_resolutions(_interleaved)),
            Layout(
                "tiles in reverse order",
                "A.4.2",
                _changed(lambda data: rewrite.with_tile_order(data, range(65534, -1, -1))),
            ),
            Layout("tile-parts without packets", "A.4.2", _in_parts(_empty_parts)),
            Layout("TNsot 0", "A.4.2", _of_resolutions(_unknown_total)),
            Layout("TNsot too low by one", "A.4.2", _of_resolutions(_too_low)),
            Layout("TNsot too low, interleaved", "A.4.2", _of_resolutions(_interleaved_and_too_low)),
            Layout("TNsot too high", "A.4.2", _of_resolutions(_too_high)),
            Layout("Psot 0 in the last tile-part", "A.4.2", _in_parts(_open_end)),
            Layout("zeros behind the last packet", "B.9", _in_parts(_padded)),
        ),
        remote=True,
    ),
    Group(
        "Pointer marker segments",
        (
            Layout("no PLT", "A.7.3", _in_parts(_without_plt)),
            Layout("PLT in some tile-parts", "A.7.3", _in_parts(_partly_without_plt)),
            Layout(
                "PLT in pieces of 7 bytes", "A.7.3", _changed(lambda data: rewrite.with_plt_pieces(data, largest=7))
            ),
            Layout("PLM", "A.7.2", _changed(rewrite.with_plm)),
            Layout("TLM", "A.7.1", _changed(rewrite.with_tlm)),
            Layout("TLM without tile numbers", "A.7.1", _changed(lambda data: rewrite.with_tlm(data, st=0, sp=4))),
            Layout(
                "TLM in pieces, backwards",
                "A.7.1",
                _changed(lambda data: rewrite.with_tlm(data, entries=5, backwards=True)),
            ),
            Layout("TLM with two lengths swapped", "A.7.1", _tlm(_swapped)),
            Layout(
                "TLM that lists half of the tile-parts",
                "A.7.1",
                _tlm(lambda entries: entries[: len(entries) // 12 * 6]),
            ),
            Layout("TLM that lists more tile-parts", "A.7.1", _tlm(lambda entries: entries + entries[-6:] * 40)),
            Layout("PPT", "A.7.5", _changed(lambda data: rewrite.with_packed_headers(data, in_parts=True), _EPH)),
            Layout("PPM", "A.7.4", _changed(lambda data: rewrite.with_packed_headers(data, in_parts=False), _EPH)),
        ),
        remote=True,
    ),
    Group(
        "Other marker segments and the end",
        (
            Layout("COM that looks like tile-parts", "A.9.2", _in_parts(_look_alikes)),
            Layout("a marker without a segment (FF30)", "A.1", _changed(_reserved)),
            Layout(
                "a segment of an unknown marker",
                "A.1",
                _changed(lambda data: rewrite.with_segments(data, (0xFF70, bytes(6)))),
            ),
            Layout("3000 zeros behind EOC", "A.4.4", _appended(bytes(3000)), raw=True),
            Layout("a second codestream behind EOC", "A.4.4", _second_codestream, raw=True),
            Layout("other tile-parts behind EOC", "A.4.4", _tiles_again, raw=True),
        ),
        remote=True,
    ),
)
"""Layouts by kind."""
