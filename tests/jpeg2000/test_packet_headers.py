"""Packet headers tell where packets and code-blocks lie, and are written anew for some of the code-blocks."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jp2batch.jpeg2000.syntax import packet_headers
from jp2batch.jpeg2000.syntax.packet_header_writer import EMPTY, BandWriter, write_packet_header
from jp2batch.jpeg2000.syntax.packet_headers import (
    BYPASS,
    TERMINATION,
    BadPacketHeader,
    BandState,
    MoreBytes,
    parse_packet_header,
)
from jp2batch.jpeg2000.syntax.stuffed_bits import StuffedBits, stuff_bits
from jp2batch.jpeg2000.syntax.tag_trees import tag_tree_shape

EXAMPLE = bytes.fromhex("f801fe70f08800")
"""Header for five code-blocks in a row in each of three subbands, two of which contribute, by OpenJPEG."""


@given(st.text("01", min_size=1, max_size=200))
def test_stuffed_bits_are_read_as_they_were_written(text):
    data = stuff_bits(text)
    bits = StuffedBits(data + b"\x00\x00")
    assert bits.text.startswith(text)
    assert bits.bytes_of(len(text)) == len(data)
    assert data[-1] != 0xFF
    assert not any(before == 0xFF and after > 0x7F for before, after in itertools.pairwise(data))


def test_a_marker_is_no_part_of_a_packet_header():
    bits = StuffedBits(bytes.fromhex("ff91ffff"))
    with pytest.raises(ValueError, match="marker"):
        bits.bytes_of(12)


@pytest.mark.parametrize(("width", "height", "nodes"), [(1, 1, 1), (2, 2, 5), (5, 1, 11), (3, 2, 9), (0, 4, 0)])
def test_a_tag_tree_halves_each_level(width, height, nodes):
    shape = tag_tree_shape(width, height)
    assert (shape.leaves, shape.size) == (width * height, nodes)
    assert list(shape.parents).count(-1) == min(1, nodes)


def test_a_packet_header_of_openjpeg_is_understood():
    states = [BandState.new(5, 1) for _ in range(3)]
    header = parse_packet_header(EXAMPLE + b"\xff\x92rest", states, 0, 0)
    assert header.size == len(EXAMPLE)
    assert [band.blocks for band in header.bands] == [[0, 1], [], []]
    assert header.bands[0].sizes == [7, 2]
    assert header.body == 9
    assert states[0].zero_bit_planes[:2] == [10, 14]
    assert states[0].passes[:2] == [13, 1]


@pytest.mark.parametrize("cut", range(len(EXAMPLE)))
def test_a_header_that_is_cut_short_asks_for_more(cut):
    with pytest.raises(MoreBytes):
        parse_packet_header(EXAMPLE[:cut], [BandState.new(5, 1) for _ in range(3)], 0, 0)


def test_an_empty_packet_takes_a_byte():
    assert parse_packet_header(b"\x40\xff", [BandState.new(5, 1)], 0, 0).size == 1


def test_an_endless_lblock_is_refused():
    with pytest.raises(BadPacketHeader):
        parse_packet_header(stuff_bits("1110" + "1" * 40 + "0" * 80), [BandState.new(1, 1)], 0, 0)


@settings(deadline=None)
@given(data=st.data())
def test_a_header_written_for_some_code_blocks_tells_just_those(data):
    """Write arbitrary headers of several layers, cut them, and parse them again."""
    width, height = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 5)))
    layers = data.draw(st.integers(1, 4))
    style = data.draw(st.sampled_from((0, BYPASS, TERMINATION, BYPASS | TERMINATION)))
    wanted = data.draw(st.frozensets(st.integers(0, width * height - 1)))
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 30)))
    state, other = BandState.new(width, height), BandState.new(width, height)
    writer = BandWriter.new(state, wanted)
    for layer in range(layers):
        before = [state.copy()]
        header = _random_header(rng, before, layer, style)
        parsed = parse_packet_header(header + bytes(8), [state], layer, style)
        band = parsed.bands[0] if parsed.bands else None
        cut = write_packet_header([writer], parsed.bands, layer)
        again = parse_packet_header(cut + bytes(8), [other], layer, style)
        assert again.size == len(cut)
        if band is None or not wanted.intersection(band.blocks):
            assert cut == EMPTY
            continue
        kept = [index for index, block in enumerate(band.blocks) if block in wanted]
        assert again.bands[0].blocks == [band.blocks[index] for index in kept]
        assert again.bands[0].sizes == [band.sizes[index] for index in kept]
        assert again.bands[0].codes == [band.codes[index] for index in kept]
        blocks = again.bands[0].blocks
        assert [other.zero_bit_planes[block] for block in blocks] == [state.zero_bit_planes[b] for b in blocks]


def _random_header(rng: np.random.Generator, states: list[BandState], layer: int, style: int) -> bytes:
    """Return random bits that are a packet header: the parser decides what they mean."""
    while True:
        bits = "1" + "".join(map(str, (rng.random(4000) < rng.choice([0.3, 0.5, 0.6])).astype(int)))
        trial = [state.copy() for state in states]
        try:
            parsed = parse_packet_header(stuff_bits(bits), trial, layer, style)
        except (BadPacketHeader, MoreBytes):
            continue
        return stuff_bits(bits)[: parsed.size]


@pytest.mark.parametrize(
    ("style", "done", "passes", "segments"),
    [
        (TERMINATION, 0, 3, [1, 1, 1]),
        (BYPASS, 0, 10, [10]),
        (BYPASS, 0, 14, [10, 2, 1, 1]),
        (BYPASS, 9, 5, [1, 2, 1, 1]),
        (BYPASS, 11, 3, [1, 1, 1]),
        (BYPASS | TERMINATION, 8, 3, [1, 1, 1]),
    ],
)
def test_codeword_segments_end_where_table_d9_says(style, done, passes, segments):
    assert list(packet_headers._segments(done, passes, style)) == segments
