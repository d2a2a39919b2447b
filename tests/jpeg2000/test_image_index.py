"""What is known of a file: it is packed and unpacked, grows, and is checked."""

import pickle
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jp2batch.image.open import OpenImage
from jp2batch.jpeg2000.locate.image_index import ImageIndex
from jp2batch.jpeg2000.locate.kayrros import from_kayrros
from jp2batch.jpeg2000.locate.tile_parts import TilePartExtent
from jp2batch.storage.source import MemorySource
from support.images import PLAIN, WITH_TLM
from support.tile_part_rows import kayrros, learn, rows_of, tlm


def test_it_holds_headers_and_places_and_no_packets():
    known = learn(PLAIN)
    assert [place.tile for place in known.tile_parts] == [0, 1, 2, 3]
    assert [place.length for place in known.tile_parts] == [length for _, length in rows_of(PLAIN.data)]
    assert all(PLAIN.data[start : start + len(data)] == data for start, data in known.header_bytes)
    assert sum(len(data) for _, data in known.header_bytes) < 0.1 * len(PLAIN.data)
    assert known.header_bytes[0][0] == 0


def test_it_survives_packing():
    known = learn(WITH_TLM)
    assert ImageIndex.from_bytes(known.to_bytes()) == known
    assert pickle.loads(pickle.dumps(known)) == known
    assert len(known.to_bytes()) < known.weight


def test_what_two_reads_teach_is_joined():
    first, second = learn(PLAIN, window=((0, 10), (0, 10))), learn(PLAIN, window=((90, 101), (100, 118)))
    both = first.joined(second)
    assert [place.tile for place in both.tile_parts] == [0, 3]
    assert both.joined(first) is both
    assert first.joined(learn(PLAIN)) == learn(PLAIN)


def test_another_version_takes_its_place():
    known = learn(PLAIN)
    other = ImageIndex(known.size + 1, known.etag)
    assert known.joined(other) is other


damage = st.tuples(st.integers(0, 10**4), st.binary(max_size=3))


@given(st.lists(damage, max_size=3), st.integers(0, 10**4))
def test_what_is_damaged_is_refused(damages, cut):
    packed = bytearray(learn(WITH_TLM).to_bytes())
    for position, data in damages:
        packed[position % len(packed) : position % len(packed) + len(data)] = data
    damaged = bytes(packed[: cut % (len(packed) + 1)])
    try:
        known = ImageIndex.from_bytes(damaged)
    except ValueError:
        return
    assert known == learn(WITH_TLM)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[1]",
        b"null",
        b'{"size":9,"etag":null,"stretches":[[0,4]],"places":[]}\nabc',
        b'{"size":9,"etag":null,"stretches":[[8,3]],"places":[]}\nabc',
        b'{"size":9,"etag":null,"stretches":[[0,2],[1,1]],"places":[]}\nabc',
        b'{"size":9,"etag":null,"stretches":[[0,-3]],"places":[]}\nabc',
        b'{"size":9,"etag":null,"stretches":[],"places":[[0,0,true]]}\n',
        b'{"size":9,"etag":null,"stretches":[],"places":[[0,0,3],[1,2,3]]}\n',
        b'{"size":9,"etag":null,"stretches":[],"places":[[0,0]]}\n',
        b'{"size":"9","etag":null,"stretches":[],"places":[]}\n',
        b"[" * 100_000,
    ],
)
def test_what_contradicts_itself_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011  # it says many things, to nobody
        ImageIndex.from_bytes(zlib.compress(text))


def test_the_index_of_kayrros_tells_places():
    start = OpenImage.start(MemorySource(PLAIN.data)).image.header.stop
    body = tlm(rows_of(PLAIN.data))
    segment = struct.pack(">HH", 0xFF55, len(body) + 2) + body
    known = from_kayrros(kayrros(PLAIN.data, start, segment))
    assert known is not None
    assert known.tile_parts == learn(PLAIN).unproven().tile_parts
    assert (known.size, known.etag, known.header_bytes) == (len(PLAIN.data), None, ())


@pytest.mark.parametrize("index", [b"short", kayrros(b"abc", 0, b"no TLM at all"), kayrros(b"abc", 0, b"\xff\x55\0\3")])
def test_an_index_of_something_else_is_refused(index):
    with pytest.raises(ValueError):  # noqa: PT011
        from_kayrros(index)


def test_an_empty_index_says_that_the_file_has_its_own():
    assert from_kayrros(b"") is None


def test_places_are_in_the_file():
    with pytest.raises(ValueError, match="outside"):
        ImageIndex(10, None, (), (TilePartExtent(0, 0, 5, 6),))
