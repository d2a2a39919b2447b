"""Another decoder than OpenJPEG: its samples, limits and warnings are respected wherever images are read."""

from dataclasses import replace

import dask
import numpy as np
import pytest

import jp2batch
from jp2batch.core.errors import ConfigurationError, CorruptImage, ImageTooLarge, UnsupportedImage
from jp2batch.image.decoder import Samples, default_decoder
from jp2batch.image.open import OpenImage, memory_needed
from jp2batch.image.openjpeg_decoder import OpenJpegDecoder
from jp2batch.image.read import Pixels, read_from
from jp2batch.jpeg2000.geometry.grid import Rect
from jp2batch.sample.encode import Coding
from jp2batch.storage.source import MemorySource
from support import rewrite
from support.fake_decoder import FakeDecoder, decoding_by, pattern
from support.images import PLAIN, SIZE, Made
from support.reads import FREE, REMOTE, read

WINDOW = ((20, 33), (70, 90))
"""Within one tile of `PLAIN`."""
UNPROVEN = rewrite.with_segments(PLAIN.data, (0xFF70, b"odd!"))
"""With a marker segment that T.800 does not have."""
OFFSETS = Made(replace(PLAIN.coding, tile=(48, 64), image_offset=(37, 20), tile_offset=(16, 8)))
ODD_TILES = Made(replace(PLAIN.coding, tile=(50, 37)))


def verify(pixels: Pixels) -> None:
    """Samples must be the pattern of their coordinates, as the fake computes it."""
    for band, values in enumerate(pixels.values):
        expected = pattern(pixels.selection.area, band).astype(pixels.values.dtype)
        np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("around", [0, 3, None])
@pytest.mark.parametrize("store", [FREE, REMOTE], ids=["free", "remote"])
@pytest.mark.parametrize("image", [PLAIN, OFFSETS, ODD_TILES], ids=["plain", "offsets", "odd tiles"])
def test_reads_take_the_samples_of_another_decoder(image, store, around):
    with decoding_by(FakeDecoder(around)) as fake:
        for rlevel in range(image.coding.levels + 1):
            for window in (None, ((3, 99), (20, 88)), ((0, 17), (64, 82))):
                verify(read(image.data, rlevel, window, store))
    assert fake.calls


def test_threads_share_a_decoder():
    with decoding_by(FakeDecoder(tiles=1)) as fake:
        verify(read_from(MemorySource(PLAIN.data), lambda opened: opened.selected(0), threads=3))
    assert len(fake.calls) == 4


@pytest.mark.parametrize("rlevel", [0, 2])
@pytest.mark.parametrize("around", [0, 2, 5])
def test_a_part_is_decoded_with_the_border_of_the_decoder(around, rlevel):
    with decoding_by(FakeDecoder(around)) as fake:
        pixels = read(PLAIN.data, rlevel, WINDOW, FREE)
    (call,) = fake.calls
    tile = call.grid.scaled(1 << call.reduce, 1 << call.reduce)
    wanted = pixels.selection.area.grown(around).intersection(tile)
    if wanted.height * wanted.width < 0.8 * tile.height * tile.width:
        left, top, right, bottom = call.area
        assert Rect(top, left, bottom, right).scaled(1 << call.reduce, 1 << call.reduce) == wanted
    else:
        assert call.area is None


def test_a_decoder_without_a_border_decodes_all():
    with decoding_by(FakeDecoder(None)) as fake:
        read(PLAIN.data, 0, WINDOW, FREE)
    assert [call.area for call in fake.calls] == [None]


@pytest.mark.parametrize("most", [1, 2, 3, 100])
def test_a_codestream_has_no_more_tiles_than_the_decoder_takes(most):
    with decoding_by(FakeDecoder(tiles=most)) as fake:
        verify(read(PLAIN.data, 0, None, FREE))
    assert max(call.tiles for call in fake.calls) <= most
    assert sum(call.tiles for call in fake.calls) == 4


def test_a_read_that_takes_the_decoder_too_much_memory_is_refused_before_its_bytes_are_fetched():
    source = MemorySource(PLAIN.data)
    limits = {"jp2batch.first-read": 300, "jp2batch.max-result": "1 GiB"}
    with decoding_by(FakeDecoder(needs=3 << 30)), dask.config.set(limits), pytest.raises(ImageTooLarge):
        read_from(source, lambda opened: opened.selected(0))
    assert source.meter.bytes_read < len(PLAIN.data) / 2


def test_memory_of_a_read_counts_that_of_its_decoder():
    with decoding_by(FakeDecoder()) as fake:
        opened = OpenImage.start(MemorySource(PLAIN.data))
        selection = opened.selected(1)
        before = memory_needed(opened, selection)
        fake.needs = 12345
        assert memory_needed(opened, selection) - before == 12345
    assert set(fake.asked_memory) == {(1, 1, False)}


def test_memory_of_a_whole_file_counts_its_tiles_and_levels():
    with decoding_by(FakeDecoder()) as fake:
        verify(read(UNPROVEN, 2, None, FREE, whole=True))
    assert fake.asked_memory[-1] == (2, 4, True)


def test_warnings_lead_to_larger_units_and_are_told():
    with decoding_by(FakeDecoder(warnings={1: "odd", 2: "odder"}, tiles=100)) as fake:
        pixels = read(PLAIN.data, 1, None, FREE, whole=True)
    verify(pixels)
    assert pixels.stats.reasons == ("odd", "odder")
    assert pixels.stats.precision == "tile-parts"
    assert len(fake.calls) == 2


def test_failures_lead_to_the_whole_file():
    with decoding_by(FakeDecoder(fails=2, tiles=100)) as fake:
        pixels = read(PLAIN.data, 1, None, FREE, whole=True)
    verify(pixels)
    assert fake.calls[-1].data == PLAIN.data
    assert pixels.stats.precision == "file"
    assert pixels.stats.reasons == ("the fake cannot decode it",)


def test_a_failure_of_the_whole_file_is_the_error():
    with decoding_by(FakeDecoder(fails=9)), pytest.raises(CorruptImage, match="the fake cannot decode it"):
        read(PLAIN.data, 1, None, FREE, whole=True)


def test_a_shape_that_is_not_proven_goes_to_it_whole():
    with decoding_by(FakeDecoder(warnings={1: "odd"})) as fake:
        pixels = read(UNPROVEN, 1, WINDOW, FREE, whole=True)
    verify(pixels)
    (call,) = fake.calls
    assert (call.data, call.reduce, call.area) == (UNPROVEN, 1, None)
    assert pixels.stats.reasons[-1] == "odd"


def test_an_image_that_it_cannot_decode_is_refused(tmp_path):
    path = tmp_path / "image.jp2"
    path.write_bytes(PLAIN.data)
    with decoding_by(FakeDecoder(refuses="it has no such transform")) as fake:
        for act in (jp2batch.read, jp2batch.open, lambda path: jp2batch.respond({"Path": str(path)})):
            with pytest.raises(UnsupportedImage, match="no such transform"):
                act(path)
        assert jp2batch.inspect(path).bands == 1
    assert fake.calls == []


def test_it_tells_the_samples_of_misplaced_boxes():
    image = Made(Coding(tile=None, bits=8))
    start = image.data.index(b"jp2c") - 4
    data = image.data[:start] + b"\0\0\0\x0dpclr\0\1\1\7\0" + image.data[start:]  # not in the JP2 header box
    with decoding_by(FakeDecoder(channels=(Samples(12, False), Samples(12, False)))):
        pixels = read(data, 0, None, FREE, whole=True)
    assert (pixels.values.shape, pixels.values.dtype) == ((2, *SIZE), np.uint16)
    verify(pixels)


def test_every_way_of_reading_uses_it(tmp_path):
    path = tmp_path / "image.jp2"
    path.write_bytes(PLAIN.data)
    expected = pattern(Rect(0, 0, *SIZE)).astype(np.uint16)
    with decoding_by(FakeDecoder()):
        np.testing.assert_array_equal(jp2batch.read(path, rlevel=0), expected)
        np.testing.assert_array_equal(jp2batch.open(path, rlevel=0, chunks={}).compute(scheduler="threads"), expected)
        assert jp2batch.respond({"Path": str(path), "rlevel": 0})["img_data"] == expected.tolist()
        report = jp2batch.run([jp2batch.Request(str(path), rlevel=0)])
    np.testing.assert_array_equal(report.results[0].value, expected)


def out_of_order() -> None:
    raise RuntimeError("no such device")


def test_a_decoder_that_cannot_be_made_is_told(monkeypatch):
    monkeypatch.setattr("support.fake_decoder.current", out_of_order)
    name = {"jp2batch.decoder": "support.fake_decoder:current"}
    with dask.config.set(name), pytest.raises(ConfigurationError, match="RuntimeError"):
        default_decoder()


def test_openjpeg_is_the_default():
    assert isinstance(default_decoder(), OpenJpegDecoder)


@pytest.mark.parametrize(
    "name", ["", "nowhere:Decoder", "jp2batch.image.openjpeg_decoder:Nothing", "jp2batch.image:index", 7, None, "a b:c"]
)
def test_a_name_that_is_no_decoder_is_told(name, tmp_path):
    path = tmp_path / "image.jp2"
    path.write_bytes(PLAIN.data)
    with (
        dask.config.set({"jp2batch.decoder": name}),
        pytest.raises(ConfigurationError, match=r"jp2batch\.decoder") as error,
    ):
        jp2batch.read(path)
    assert str(error.value).count("\n") == 0
