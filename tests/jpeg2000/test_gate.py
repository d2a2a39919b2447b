"""What no shortcut is proven for goes to OpenJPEG whole: its pixels, its warnings and its refusals are ours."""

import struct
from collections.abc import Callable
from dataclasses import replace

import dask
import numpy as np
import pytest

from jp2batch.core.errors import CorruptImage, ImageTooLarge
from jp2batch.core.window import Window, WindowLike
from jp2batch.image import openjpeg
from jp2batch.image.info import info_of
from jp2batch.image.open import OpenImage
from jp2batch.image.read import Pixels, read_from
from jp2batch.jpeg2000.syntax.boxes import SIGNATURE
from jp2batch.sample.encode import Coding, encode
from jp2batch.storage.source import MemorySource
from support import rewrite
from support.images import PLAIN, WITH_TLM, Made
from support.oracle import random_window
from support.rewrite import COC, COD, COM, POC, QCC, QCD, SIZ, Codestream

RAW = Made(replace(PLAIN.coding, raw=True))
RGB = Made(replace(PLAIN.coding, raw=True, eph=True), 3)
Change = Callable[[], bytes]
Segments = tuple[tuple[int, bytes], ...]


def box(kind: bytes, content: bytes, length: int | None = None) -> bytes:
    return struct.pack(">I4s", len(content) + 8 if length is None else length, kind) + content


FTYP = box(b"ftyp", b"jp2 \0\0\0\0jp2 ")


def image_header(codestream: bytes, *boxes: bytes) -> bytes:
    width, height = struct.unpack_from(">II", codestream, 8)
    (components,) = struct.unpack_from(">H", codestream, 40)
    ihdr = box(b"ihdr", struct.pack(">IIHBBBB", height, width, components, 7, 7, 0, 0))
    return box(b"jp2h", ihdr + box(b"colr", struct.pack(">BBBI", 1, 0, 0, 16)) + b"".join(boxes))


def cdef(*order: int) -> bytes:
    entries = b"".join(struct.pack(">HHH", channel, 0, colour + 1) for channel, colour in enumerate(order))
    return box(b"cdef", struct.pack(">H", len(order)) + entries)


def colours(depth: int) -> tuple[bytes, bytes]:
    """Return a palette of three columns, whose entries have `depth` (of which bit 7 says signed), and its mapping."""
    entries = np.random.default_rng(3).integers(0, 256, (256, 3), np.uint8).tobytes()
    mapping = b"".join(struct.pack(">HBB", 0, 1, column) for column in range(3))
    return box(b"pclr", struct.pack(">HB", 256, 3) + bytes([depth] * 3) + entries), box(b"cmap", mapping)


def with_entry(boxes: tuple[bytes, bytes], entry: tuple[int, int, int]) -> tuple[bytes, bytes]:
    """Add an entry to the mapping of a palette."""
    return boxes[0], box(b"cmap", boxes[1][8:] + struct.pack(">HBB", *entry))


def with_ihdr_last(header: bytes) -> bytes:
    return box(b"jp2h", header[30:] + header[8:30])


@pytest.fixture(scope="module")
def eight_bits() -> bytes:
    pixels = np.random.default_rng(2).integers(0, 256, (90, 75), np.uint8)
    return encode(pixels, Coding(tile=(32, 32), levels=2, bits=8, raw=True))


def jp2(codestream: bytes, *before: bytes, behind: tuple[bytes, ...] = (), length: int | None = None) -> bytes:
    return b"".join([SIGNATURE, FTYP, *before, box(b"jp2c", codestream, length), *behind])


def with_segments(
    data: bytes, change: Callable[[tuple[tuple[int, bytes], ...]], tuple[tuple[int, bytes], ...]]
) -> bytes:
    old = Codestream.parse(data)
    return replace(old, segments=change(old.segments)).to_bytes()


def inserted(data: bytes, marker: int, segment: bytes) -> bytes:
    """Insert bytes before the first segment of a marker."""
    at = data.index(marker.to_bytes(2, "big"), 4)
    return data[:at] + segment + data[at:]


def own_coding(data: bytes, component: int) -> bytes:
    cod = Codestream.parse(data).find(COD)
    return struct.pack(">HHBB", COC, 4 + len(cod) - 5, component, cod[0] & 1) + cod[5:]


def own_steps(data: bytes, component: int) -> bytes:
    qcd = Codestream.parse(data).find(QCD)
    return struct.pack(">HHB", QCC, 3 + len(qcd), component) + qcd


def progression_change(data: bytes) -> bytes:
    """Return a POC marker segment that says what COD does."""
    cod = Codestream.parse(data).find(COD)
    layers = int.from_bytes(cod[2:4], "big")
    return struct.pack(">HHBBHBBB", POC, 9, 0, 0, layers, cod[5] + 1, 1, cod[1])


HEADERS: dict[str, tuple[Change, str]] = {
    "COD twice": (lambda: with_segments(RAW.data, lambda s: (*s, next(x for x in s if x[0] == COD))), "2 COD"),
    "QCD twice": (lambda: with_segments(RAW.data, lambda s: (*s, next(x for x in s if x[0] == QCD))), "2 QCD"),
    "a reserved marker": (lambda: inserted(RAW.data, COD, b"\xff\x30"), "0xff30"),
    "reserved markers": (lambda: inserted(RAW.data, QCD, b"\xff\x31\xff\x3f"), "0xff31"),
    "an unknown marker segment": (lambda: inserted(RAW.data, QCD, b"\xff\x6a\0\6abcd"), "0xff6a"),
    "COC before COD": (lambda: inserted(RGB.data, COD, own_coding(RGB.data, 1)), "COC stands before COD"),
    "QCC before QCD": (lambda: inserted(RGB.data, QCD, own_steps(RGB.data, 1)), "QCC stands before QCD"),
    "POC before COD": (lambda: inserted(RAW.data, COD, progression_change(RAW.data)), "POC stands before COD"),
    "extensions of T.801": (
        lambda: with_segments(RAW.data, lambda s: tuple((m, b"\x80\0" + b[2:]) if m == SIZ else (m, b) for m, b in s)),
        "T.801",
    ),
    "too few step sizes": (
        lambda: with_segments(RAW.data, lambda s: tuple((m, b[:-1]) if m == QCD else (m, b) for m, b in s)),
        "step sizes",
    ),
}
"""A header, and what is said of it."""


def whole(data: bytes, rlevel: int) -> list[np.ndarray]:
    """Return OpenJPEG's decode of a file, component by component."""
    with openjpeg._decoded(data, rlevel, None) as (image, _):
        components = [image.comps[n] for n in range(image.numcomps)]
        return [np.ctypeslib.as_array(c.data, shape=(c.h, c.w)).astype(np.int64) for c in components]


def read(data: bytes, rlevel: int, window: WindowLike | None = None) -> Pixels:
    with dask.config.set({"jp2batch.index.enabled": False}):
        return read_from(MemorySource(data), lambda opened: opened.selected(rlevel, window and Window.parse(window)))


def full(bounds: tuple[int, int], rlevel: int, size: int) -> tuple[int, int]:
    """Return what bounds at a resolution level are in pixels of the full image."""
    return bounds[0] << rlevel, min(bounds[1] << rlevel, size)


def verify_whole(data: bytes, reason: str) -> None:
    """Check that a file is read whole, exactly, for the reason that is told."""
    rng = np.random.default_rng(1)
    levels = info_of(OpenImage.start(MemorySource(data))).levels
    for rlevel, shape in enumerate(levels):
        expected = whole(data, rlevel)
        stats = read(data, rlevel).stats
        assert (stats.precision, reason in stats.reasons[0]) == ("file", True), stats
        for _ in range(3):
            rows, columns = random_window(rng, shape)
            window = tuple(
                (a << rlevel, min(b << rlevel, size)) for (a, b), size in zip((rows, columns), levels[0], strict=True)
            )
            values = read(data, rlevel, window).values  # type: ignore[arg-type]
            assert len(values) == len(expected)
            for plane, of_whole in zip(values, expected, strict=True):
                np.testing.assert_array_equal(plane, of_whole[slice(*rows), slice(*columns)])


@pytest.mark.parametrize("name", HEADERS)
def test_an_unproven_main_header_goes_to_openjpeg_whole(name):
    make, reason = HEADERS[name]
    verify_whole(make(), reason)


BOXES: dict[str, tuple[Callable[[bytes, bytes], bytes], str]] = {
    "channels defined beside the header box": (lambda _, rgb: jp2(rgb, image_header(rgb), cdef(2, 1, 0)), "cdef"),
    "palette beside the header box": (lambda grey, _: jp2(grey, image_header(grey), *colours(7)), "cmap"),
    "signed palette beside the header box": (lambda grey, _: jp2(grey, image_header(grey), *colours(0x87)), "cmap"),
    "channels defined before the header box": (lambda _, rgb: jp2(rgb, cdef(2, 1, 0), image_header(rgb)), "cdef"),
    "palette and a direct channel that OpenJPEG drops": (
        lambda grey, _: jp2(grey, image_header(grey, *with_entry(colours(7), (0, 0, 0)))),
        "palette",
    ),
    "image header box not the first": (lambda grey, _: jp2(grey, with_ihdr_last(image_header(grey))), "image header"),
    "palette without its mapping in the header box": (
        lambda grey, _: jp2(grey, image_header(grey, colours(7)[0]), colours(7)[1]),
        "cmap",
    ),
    "two header boxes": (
        lambda _, rgb: jp2(rgb, image_header(rgb), box(b"jp2h", image_header(rgb)[8:30] + cdef(2, 1, 0))),
        "2 JP2 header boxes",
    ),
    "channels defined behind the codestream": (
        lambda _, rgb: jp2(rgb, image_header(rgb), behind=(cdef(2, 1, 0),)),
        "cdef",
    ),
    "header box once more behind the codestream": (
        lambda grey, _: jp2(grey, image_header(grey), behind=(image_header(grey, *colours(7)),)),
        "2 JP2 header boxes",
    ),
    "codestream box longer than the file": (
        lambda grey, _: jp2(grey, image_header(grey), length=len(grey) + 100),
        "its jp2c box ends at byte",
    ),
    "codestream box shorter than the codestream": (
        lambda grey, _: jp2(grey, image_header(grey), length=len(grey) - 100),
        "",
    ),
    "codestream box of no length": (lambda grey, _: jp2(grey, image_header(grey), length=8), ""),
}


@pytest.mark.parametrize("name", BOXES)
def test_boxes_in_odd_places_are_left_to_openjpeg(eight_bits, name):
    make, reason = BOXES[name]
    verify_whole(make(eight_bits, RGB.data), reason)


@pytest.mark.parametrize("behind", [b"\0", b"\0\0\0\3free", box(b"free", b"", 6), box(b"xml ", b"<a/>", 1 << 20)])
def test_what_is_no_box_behind_the_codestream_costs_nothing(behind):
    data = rewrite.with_box_length(PLAIN.data, "short", behind=behind)
    pixels = read(data, 2, ((0, 60), (0, 60)))
    np.testing.assert_array_equal(pixels.values, PLAIN.oracle.window(2, ((0, 60), (0, 60))))
    assert (pixels.stats.precision, pixels.stats.reasons) == ("packets", ())


def test_a_signed_palette_never_wraps(eight_bits):
    data = jp2(eight_bits, image_header(eight_bits, *colours(0x87)))
    values = read(data, 0).values
    np.testing.assert_array_equal(values, np.stack(whole(data, 0)))
    assert values.max() > 127
    assert values.dtype == np.int16


def test_entries_of_32_bits_never_wrap(eight_bits):
    palette = box(b"pclr", struct.pack(">HBB", 1, 1, 31) + b"\xff\xff\xfd\xef")
    data = jp2(eight_bits, image_header(eight_bits, palette, box(b"cmap", struct.pack(">HBB", 0, 1, 0))))
    with pytest.raises(CorruptImage, match="does not fit uint32"):
        read(data, 0)


def test_a_box_too_large_to_be_kept_hides_no_other(eight_bits):
    fill = box(b"free", bytes((16 << 20) - 70))
    verify_whole(jp2(eight_bits, image_header(eight_bits), fill, *colours(7)), "cmap")


def test_values_that_do_not_fit_are_refused(eight_bits):
    data = jp2(eight_bits, image_header(eight_bits, *colours(0x87)))
    with pytest.raises(CorruptImage, match="does not fit int8"):
        openjpeg.decode(data, np.zeros((3, 90, 75), np.int8))


def test_what_samples_are_is_told_by_openjpeg_where_boxes_cannot(eight_bits):
    info = info_of(OpenImage.start(MemorySource(jp2(eight_bits, image_header(eight_bits), *colours(7)))))
    assert (info.bands, info.dtype) == (3, "uint8")


def test_so_it_is_where_a_tile_has_fewer_levels_than_the_image(eight_bits):
    cod = Codestream.parse(eight_bits).find(COD)
    fewer = (COC, bytes([0, cod[0] & 1, 0]) + cod[6:10] + cod[10 : 10 + (cod[0] & 1)])
    data = jp2(rewrite.with_segments(eight_bits, fewer, in_parts=True), image_header(eight_bits), *colours(7))
    assert info_of(OpenImage.start(MemorySource(data))).bands == 3
    np.testing.assert_array_equal(read(data, 0).values, np.stack(whole(data, 0)))


@pytest.mark.parametrize("levels", [0, 1])
def test_openjpeg_is_not_asked_where_that_would_take_too_much_memory(eight_bits, levels):
    def huge(marker: int, body: bytes) -> bytes:
        if marker == SIZ:
            return body[:2] + struct.pack(">IIIIII", 30000, 30000, 0, 0, 30000, 30000) + body[26:]
        return body[:5] + bytes([levels]) + b"\4\4\0\1" if marker == COD else body

    raw = with_segments(eight_bits, lambda segments: tuple((m, huge(m, b)) for m, b in segments))
    raw = raw.replace(bytes([*struct.pack(">H", COD), 0, 12, 1]), bytes([*struct.pack(">H", COD), 0, 12, 0]))
    source = MemorySource(jp2(raw, image_header(raw), *colours(7)))
    with dask.config.set({"jp2batch.max-result": "64 MiB"}), pytest.raises(ImageTooLarge, match="max-result"):
        read_from(source, lambda opened: opened.selected(-1))


def test_a_file_that_is_too_large_to_be_read_whole_is_refused(eight_bits):
    source = MemorySource(jp2(eight_bits, image_header(eight_bits), *colours(7)))
    with dask.config.set({"jp2batch.max-whole-file": "1 kB"}), pytest.raises(ImageTooLarge, match="cmap"):
        read_from(source, lambda opened: opened.selected(0))


def test_tlm_is_kept_from_openjpeg_whatever_else_is_odd():
    data = inserted(WITH_TLM.data, COD, b"\xff\x30")
    values = read(data, 1).values
    np.testing.assert_array_equal(values, PLAIN.oracle.at(1))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda s: (s[1], s[0], *s[2:]), "does not begin with SIZ"),
        (lambda s: ((COM, b"\0\1a"), *s), "does not begin with SIZ"),
        (lambda s: tuple(x for x in s if x[0] != COD), "no COD"),
        (lambda s: tuple(x for x in s if x[0] != QCD), "no QCD"),
    ],
)
def test_a_main_header_without_what_it_must_have_is_refused(eight_bits, change, problem):
    data = jp2(with_segments(eight_bits, change), image_header(eight_bits))
    with pytest.raises(CorruptImage, match=problem):
        read(data, 0)


@pytest.mark.parametrize("own", [COD, COC])
@pytest.mark.parametrize("reversible", [True, False])
def test_a_tile_may_have_more_levels_than_the_image(own, reversible):
    """QCD has steps for all of them: they are not cut where a tile may need them."""
    image = Made(Coding(tile=(64, 64), levels=4, precincts=None, code_block=(16, 16), reversible=reversible, raw=True))
    old = Codestream.parse(image.data)
    cod = old.find(COD)
    fewer = cod[:5] + b"\2" + cod[6:]
    segments = tuple((m, fewer) if m == COD else (m, b) for m, b in old.segments)
    more = (COD, cod) if own == COD else (COC, bytes([0, cod[0] & 1]) + cod[5:])
    data = rewrite.with_segments(replace(old, segments=segments).to_bytes(), more, in_parts=True)
    np.testing.assert_array_equal(read(data, 0).values, image.oracle.at(0))
    window = (10, 90), (20, 70)
    np.testing.assert_array_equal(read(data, 0, window).values, image.oracle.window(0, window))
