"""Palettes and channel definitions are applied as OpenJPEG applies them to the whole file."""

import struct

import dask
import numpy as np
import pytest

from jp2batch.core.errors import CorruptImage
from jp2batch.core.window import Window
from jp2batch.image import inspect
from jp2batch.image.read import read_from
from jp2batch.jpeg2000.syntax.boxes import SIGNATURE
from jp2batch.sample.encode import Coding, encode
from jp2batch.storage.source import MemorySource
from support.images import texture
from support.oracle import Oracle

SIZE = 101, 118


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, kind) + content


def jp2(codestream: bytes, components: int, bits: int, *boxes: bytes) -> bytes:
    """Return a JP2 file whose header holds the given boxes."""
    ihdr = box(b"ihdr", struct.pack(">IIHBBBB", *SIZE, components, bits - 1, 7, 0, 0))
    header = box(b"jp2h", ihdr + box(b"colr", struct.pack(">BBBI", 1, 0, 0, 16)) + b"".join(boxes))
    return SIGNATURE + box(b"ftyp", b"jp2 \0\0\0\0jp2 ") + header + box(b"jp2c", codestream)


def palette(entries: int, depths: tuple[int, ...]) -> bytes:
    rng = np.random.default_rng(5)
    sizes = [1 if depth <= 8 else 2 for depth in depths]
    rows = (
        b"".join(
            int(rng.integers(0, 1 << depth)).to_bytes(size, "big") for depth, size in zip(depths, sizes, strict=True)
        )
        for _ in range(entries)
    )
    return box(b"pclr", struct.pack(">HB", entries, len(depths)) + bytes(d - 1 for d in depths) + b"".join(rows))


def mapping(*entries: tuple[int, int, int]) -> bytes:
    return box(b"cmap", b"".join(struct.pack(">HBB", *entry) for entry in entries))


def definitions(*entries: tuple[int, int, int]) -> bytes:
    return box(b"cdef", struct.pack(">H", len(entries)) + b"".join(struct.pack(">HHH", *entry) for entry in entries))


def codestream(components: int, bits: int) -> bytes:
    coding = Coding(tile=(32, 32), bits=bits, raw=True, levels=2)
    return encode(texture(components, coding), coding)


IMAGES = {
    "colours": (
        jp2(codestream(1, 6), 1, 6, palette(64, (8, 8, 8)), mapping((0, 1, 0), (0, 1, 1), (0, 1, 2))),
        3,
        "uint8",
    ),
    "deep colours": (jp2(codestream(1, 6), 1, 6, palette(64, (12, 8)), mapping((0, 1, 0), (0, 1, 1))), 2, "uint16"),
    "channels in another order": (
        jp2(codestream(3, 8), 3, 8, definitions((0, 0, 3), (1, 0, 2), (2, 0, 1))),
        3,
        "uint8",
    ),
    "an alpha channel": (
        jp2(codestream(4, 8), 4, 8, definitions((0, 0, 1), (1, 0, 2), (2, 0, 3), (3, 1, 0))),
        4,
        "uint8",
    ),
}


@pytest.mark.parametrize("rlevel", range(3))
@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("whole", [0, "1 GiB"], ids=["parts", "whole"])
def test_channels_are_those_of_the_whole_file(name, rlevel, whole):
    data, bands, dtype = IMAGES[name]
    oracle = Oracle(data, (0, 0), (bands, *SIZE), dtype)
    for window in (None, Window((3, 77), (40, 99))):
        with dask.config.set({"jp2batch.max-whole-file": whole}):
            values = read_from(MemorySource(data), lambda opened, w=window: opened.selected(rlevel, w)).values
        assert values.dtype == dtype
        expected = oracle.at(rlevel) if window is None else oracle.window(rlevel, window)
        np.testing.assert_array_equal(values, expected)


def test_an_image_tells_its_channels(tmp_path):
    path = tmp_path / "palette.jp2"
    path.write_bytes(IMAGES["deep colours"][0])
    info = inspect.inspect(str(path))
    assert (info.bands, info.bits, info.dtype) == (2, (12, 8), "uint16")


@pytest.mark.parametrize(
    "boxes",
    [
        (palette(4, (8,)), mapping((0, 1, 3))),
        (palette(4, (8,)), mapping((9, 0, 0))),
        (box(b"pclr", b"\0"), mapping((0, 1, 0))),
        (palette(4, (8,)), box(b"cmap", b"\0\0\1")),
        (palette(4, (8,)), box(b"cmap", b"")),
    ],
)
def test_a_palette_that_does_not_fit_is_told(boxes):
    data = jp2(codestream(1, 6), 1, 6, *boxes)
    with pytest.raises(CorruptImage, match="palette"):
        read_from(MemorySource(data), lambda opened: opened.selected(0))


def test_a_palette_that_openjpeg_does_not_apply_is_told():
    data = jp2(codestream(1, 6), 1, 6, palette(64, (8, 8)), mapping((0, 1, 1), (0, 1, 0)))
    with pytest.raises(CorruptImage, match="palette mapping"):
        read_from(MemorySource(data), lambda opened: opened.selected(0))
