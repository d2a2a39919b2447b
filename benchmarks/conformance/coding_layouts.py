"""Layouts that differ in the coding: progression, tiles, wavelets, code-blocks, components, samples."""

import struct
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from benchmarks.conformance.canvas import PLAIN, RICH, Canvas
from benchmarks.conformance.layouts import Group, Layout
from jp2batch.sample.coding import Coding, Progression
from jp2batch.sample.encode import encode
from support import rewrite
from support.rewrite import COC, COD, POC, QCC, QCD, RGN
from support.variant_draft import Draft, Segment, find_content
from support.variant_image import encode_tiles

_ORDERS = ("LRCP", "RLCP", "RPCL", "PCRL", "CPRL")
_THREE = replace(PLAIN, bits=8)


def _coded(coding: Coding, bands: int = 1) -> Callable[[Canvas], bytes]:
    return lambda canvas: canvas.coded(coding, bands)


def _changed(change: Callable[[bytes], bytes], coding: Coding = PLAIN, bands: int = 1) -> Callable[[Canvas], bytes]:
    return lambda canvas: canvas.changed(change, coding, bands)


def _drafted(change: Callable[[Draft], object], coding: Coding = PLAIN, bands: int = 1) -> Callable[[Canvas], bytes]:
    return lambda canvas: canvas.drafted(change, coding, bands)


def _styled(style: int) -> Callable[[Canvas], bytes]:
    return _coded(replace(PLAIN, tile=None, style=style))  # one tile: OpenJPEG cannot terminate passes of small blocks


def _sized(rows: int, columns: int, coding: Coding) -> Callable[[Canvas], bytes]:
    return lambda _: Canvas((rows, columns)).coded(coding)


def _one_less(canvas: Canvas) -> bytes:
    rows, columns = canvas.size
    return Canvas((rows - 7, columns - 5)).coded(canvas.scaled(PLAIN))


def _high_throughput(canvas: Canvas) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.htj2k_encode(canvas.pixels(PLAIN)[0].astype(np.uint16)))


def _poc_in_main(draft: Draft) -> None:
    """Move POC of the only tile to the main header."""
    (tile,) = draft.tiles.values()
    draft.main += [segment for segment in tile.segments if segment[0] == POC]
    tile.segments = [segment for segment in tile.segments if segment[0] != POC]


def _recoded(draft: Draft, coding: Coding, numbers: list[int], style: int = 0) -> list[Segment]:
    """Take some tiles from another coding; return its main header."""
    taken = encode_tiles(draft.pixels, coding, style)
    assert taken is not None
    main, tiles = taken
    for number in numbers:
        draft.tiles[number].packets, draft.tiles[number].cuts = tiles[number].packets, []
    return main


def _tile_cod(coding: Coding) -> Callable[[Draft], None]:
    def change(draft: Draft) -> None:
        numbers = sorted(draft.tiles)[1::2]
        main = _recoded(draft, coding, numbers)
        for number in numbers:
            draft.tiles[number].segments += [(marker, find_content(main, marker)) for marker in (COD, QCD)]

    return change


def _own_component(coding: Coding, *, first: bool = False) -> Callable[[Draft], None]:
    """Code the second of the components of a CPRL image otherwise, as COC and QCC say."""

    def change(draft: Draft) -> None:
        taken = encode_tiles(draft.pixels, coding, 0)
        assert taken is not None
        main, tiles = taken
        bands = len(draft.pixels)
        for number, tile in draft.tiles.items():
            others = tiles[number].packets
            mine, theirs = len(tile.packets) // bands, len(others) // bands
            tile.packets = [*tile.packets[:mine], *others[theirs : 2 * theirs], *tile.packets[2 * mine :]]
            tile.cuts = []
        cod, qcd = find_content(main, COD), find_content(main, QCD)
        own: list[Segment] = [(COC, bytes([1, cod[0] & 1]) + cod[5:]), (QCC, b"\1" + qcd)]
        draft.main = [draft.main[0], *own, *draft.main[1:]] if first else [*draft.main, *own]

    return change


def _region(data: bytes) -> bytes:
    """Declare all coefficients a region of interest: they are decoded 12 bits higher, and shifted back."""
    return rewrite.with_segments(data, (RGN, bytes([0, 0, 12])))


def _derived(draft: Draft) -> None:
    qcd = draft.content(QCD)
    draft.put(QCD, bytes([qcd[0] & ~31 | 1]) + qcd[1:3])


def _luma_and_chroma(*chroma: int) -> Callable[[Canvas], bytes]:
    """Code luma and subsampled chroma, and say so in colr (sYCC)."""
    coding = replace(_THREE, subsampling=((1, 1), (chroma[0], chroma[1]), (chroma[0], chroma[1])))
    colr = b"colr\1\0\0\0\0\0"
    return lambda canvas: canvas.coded(coding, 3).replace(colr + b"\x10", colr + b"\x12")


def _mixed_depths(canvas: Canvas) -> bytes:
    """Code bands of 8 bits, and write 5 for the second (Ssiz), whose samples suit its level shift (G.1.1)."""
    coding = replace(_THREE, raw=True)
    pixels = canvas.pixels(coding, 3)
    pixels[1] = (pixels[1] >> 3) - (1 << 4) + (1 << 7)
    data = bytearray(encode(pixels, canvas.scaled(coding)))
    struct.pack_into("B", data, 4 + 2 + 36 + 3, 4)
    return bytes(data)


_POC = replace(RICH, changes=(Progression("LRCP", (0, 2), (0, 3)), Progression("CPRL", (2, 4), (0, 3))), precincts=None)
_CPRL = replace(PLAIN, progression="CPRL", bits=8)

GROUPS = (
    Group(
        "Progression order and layers",
        (
            Layout("LRCP, one layer, PLT (as Sentinel-2)", "B.12.1.1", _coded(PLAIN)),
            *(
                Layout(
                    f"{order}, 3 components, 2 layers", f"B.12.1.{number}", _coded(replace(RICH, progression=order), 3)
                )
                for number, order in enumerate(_ORDERS, 1)
            ),
            Layout("POC in a tile-part header", "A.6.6", _coded(_POC, 3)),
            Layout("POC in the main header", "A.6.6", _drafted(_poc_in_main, replace(_POC, tile=None), 3)),
            Layout("10 layers", "B.10", _coded(replace(PLAIN, layers=10))),
            Layout(
                "precincts that differ by resolution", "B.6", _coded(replace(RICH, precincts=((128, 64), (32, 32))))
            ),
            Layout("SOP", "A.8.1", _coded(replace(PLAIN, sop=True))),
            Layout("SOP and EPH", "A.8.2", _coded(replace(PLAIN, sop=True, eph=True))),
        ),
        remote=True,
    ),
    Group(
        "Tiles and the reference grid",
        (
            Layout("one tile", "B.3", _coded(replace(PLAIN, tile=None))),
            Layout("tiles of odd size", "B.3", _coded(replace(PLAIN, tile=(151, 93)))),
            Layout("tiles of 32 x 32", "B.3", _coded(replace(PLAIN, tile=(32, 32)))),
            Layout("image offset", "B.2", _coded(replace(PLAIN, image_offset=(13, 7)))),
            Layout(
                "image offset and tile offset",
                "B.3",
                _coded(replace(PLAIN, image_offset=(37, 50), tile_offset=(16, 8))),
            ),
            Layout("sides that are no multiple of 2", "B.5", _one_less),
            Layout("a single sample", "B.2", _sized(1, 1, replace(PLAIN, tile=None, levels=0, precincts=None))),
            Layout("a single row", "B.2", _sized(1, 300, replace(PLAIN, levels=1))),
            Layout("a single column", "B.2", _sized(300, 1, replace(PLAIN, levels=1))),
        ),
        remote=True,
    ),
    Group(
        "Wavelet and quantisation",
        (
            Layout("9/7, scalar expounded", "F.3.8.2", _coded(replace(PLAIN, reversible=False))),
            Layout("9/7, scalar derived", "E.1.1", _drafted(_derived, replace(PLAIN, reversible=False))),
            Layout("5/3 with RCT", "G.2", _coded(replace(_THREE, mct=True), 3)),
            Layout("9/7 with ICT", "G.3", _coded(replace(_THREE, mct=True, reversible=False), 3)),
            Layout("no decomposition level", "A.6.1", _coded(replace(PLAIN, levels=0))),
            Layout("7 decomposition levels", "A.6.1", _coded(replace(PLAIN, levels=7))),
        ),
    ),
    Group(
        "Code-blocks",
        (
            Layout("code-blocks of 4 x 4", "B.7", _coded(replace(PLAIN, code_block=(4, 4)))),
            Layout("code-blocks of 4 x 256", "B.7", _coded(replace(PLAIN, code_block=(4, 256), tile=(256, 256)))),
            Layout("selective arithmetic coding bypass", "D.6", _styled(1)),
            Layout("reset of context probabilities", "D.4", _styled(2)),
            Layout("termination on each coding pass", "D.4", _styled(4)),
            Layout("vertically causal context", "D.7", _styled(8)),
            Layout("predictable termination", "D.4.2", _styled(16)),
            Layout("segmentation symbols", "D.5", _styled(32)),
            Layout("all six styles", "A.6.1", _styled(63)),
            Layout("HT code-blocks, CAP", "T.814 A.3", _high_throughput, raw=True, needs="imagecodecs"),
        ),
    ),
    Group(
        "Coding of tiles and components",
        (
            Layout("COC and QCC that repeat COD and QCD", "A.6.2", _changed(rewrite.with_coc_and_qcc, _THREE, 3)),
            Layout(
                "COC: a component of other code-blocks",
                "A.6.2",
                _drafted(_own_component(replace(_CPRL, code_block=(16, 16))), _CPRL, 3),
            ),
            Layout(
                "COC: a component of fewer levels",
                "A.6.2",
                _drafted(_own_component(replace(_CPRL, levels=2)), _CPRL, 3),
            ),
            Layout(
                "COC before COD",
                "A.6.2",
                _drafted(_own_component(replace(_CPRL, code_block=(16, 16)), first=True), _CPRL, 3),
            ),
            Layout("COD of tiles: more levels", "A.6.1", _drafted(_tile_cod(replace(PLAIN, levels=5)))),
            Layout("COD of tiles: fewer levels", "A.6.1", _drafted(_tile_cod(replace(PLAIN, levels=1)))),
            Layout("COD of tiles: 9/7", "A.6.1", _drafted(_tile_cod(replace(PLAIN, reversible=False)))),
            Layout(
                "COD of tiles: other progression",
                "A.6.1",
                _drafted(_tile_cod(replace(RICH, bits=15, progression="PCRL"))),
            ),
            Layout("RGN (Maxshift)", "A.6.3", _changed(_region, replace(PLAIN, bits=8))),
        ),
    ),
    Group(
        "Components and samples",
        (
            Layout("2 components", "A.5.1", _coded(_THREE, 2)),
            Layout("4 components of 15 bits", "A.5.1", _coded(PLAIN, 4)),
            Layout("8 components", "A.5.1", _coded(_THREE, 8)),
            Layout("all components subsampled 2 x 2", "B.2", _coded(replace(PLAIN, subsampling=((2, 2),)))),
            Layout("4:2:2, sYCC", "B.2", _luma_and_chroma(2, 1)),
            Layout("4:2:0, sYCC", "B.2", _luma_and_chroma(2, 2)),
            Layout("components of 8, 5 and 8 bits", "A.5.1", _mixed_depths, raw=True),
            *(
                Layout(f"{bits} bit{'s' * (bits > 1)}", "A.5.1", _coded(replace(PLAIN, bits=bits)))
                for bits in (1, 4, 8, 12, 16, 20)
            ),
            Layout("8 bits, signed", "A.5.1", _coded(replace(PLAIN, bits=8, signed=True))),
            Layout("16 bits, signed", "A.5.1", _coded(replace(PLAIN, bits=16, signed=True))),
        ),
    ),
)
"""Layouts by kind."""
