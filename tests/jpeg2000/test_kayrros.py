"""Kayrros' format of positions, in and out; and headers without the entries of their TLM."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jp2batch.jpeg2000.locate.image_index import ImageIndex
from jp2batch.jpeg2000.locate.kayrros import from_kayrros, to_kayrros
from jp2batch.jpeg2000.locate.tile_parts import consecutive
from jp2batch.jpeg2000.locate.tlm_entries import TILES_NAMED, tlm_segment, with_entries, without_entries
from support.images import MANY_TILES, PLAIN, WITH_TLM
from support.tile_part_rows import learn

LENGTHS = st.lists(st.integers(14, 2**32 - 1), min_size=1, max_size=300)


def positions(lengths: list[int], tiles: list[int] | None = None, start: int = 100) -> ImageIndex:
    entries = list(zip(tiles or [None] * len(lengths), lengths, strict=True))
    return ImageIndex(start + sum(lengths) + 2, None, (), tuple(consecutive(entries, start)))


@pytest.mark.parametrize("image", [PLAIN, MANY_TILES], ids=["4 tiles", "132 tiles"])
def test_positions_of_a_file_are_those_that_were_written(image):
    known = from_kayrros(to_kayrros(learn(image)))
    assert known is not None
    assert known.tile_parts == learn(image).unproven().tile_parts
    assert known.size == len(image.data)


def test_a_file_with_its_own_tlm_has_an_empty_entry():
    assert to_kayrros(learn(WITH_TLM)) == b""


@given(LENGTHS, st.integers(20, 2**40))
def test_any_lengths_in_the_order_of_tiles_come_back(lengths, start):
    index = positions(lengths, start=start)
    packed = to_kayrros(index)
    assert from_kayrros(packed) == index
    assert len(packed) == 20 + 6 + 4 * len(lengths)


@given(st.lists(st.tuples(st.integers(0, 2**16 - 1), st.integers(14, 2**32 - 1)), min_size=1, max_size=300))
def test_any_order_of_tiles_comes_back(entries):
    index = positions([length for _, length in entries], [tile for tile, _ in entries])
    assert from_kayrros(to_kayrros(index)) == index


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (ImageIndex(100, None), "not known"),
        (positions([50] * 20_000), "too many"),
    ],
)
def test_positions_without_a_place_in_it_are_refused(index, message):
    with pytest.raises(ValueError, match=message):
        to_kayrros(index)


def test_positions_with_a_gap_are_refused():
    first, *_, last = positions([50] * 3).tile_parts
    with pytest.raises(ValueError, match="follow"):
        to_kayrros(ImageIndex(1000, None, (), (first, last)))


@pytest.mark.parametrize("code", [0x40, 0x50, 0x60])
@given(
    lengths=st.lists(st.integers(14, 2**32 - 1), min_size=1, max_size=200), around=st.tuples(st.binary(), st.binary())
)
def test_a_header_without_entries_of_its_tlm_comes_back(code, lengths, around):
    parts = positions(lengths).tile_parts
    head = tlm_segment(code, parts).join(around)
    short, position = without_entries(head, parts)
    assert with_entries(short, position, parts) == head
    assert position is not None
    assert len(short) < len(head)


def test_a_header_with_a_tlm_of_other_tile_parts_stays_whole():
    head = tlm_segment(TILES_NAMED, positions([50, 60]).tile_parts)
    assert without_entries(head, positions([50, 61]).tile_parts) == (head, None)
    assert without_entries(head, ()) == (head, None)


@pytest.mark.parametrize(("head", "position"), [(b"", 0), (b"123456", 7), (b"123456", 6), (b"12345\x50", -1)])
def test_entries_have_no_place_in_another_header(head, position):
    with pytest.raises(ValueError):  # noqa: PT011
        with_entries(head, position, positions([50, 60]).tile_parts)
