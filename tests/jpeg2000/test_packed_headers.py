"""Packet headers in PPM and PPT, and changes of progression in POC: parsed as decoders do, or refused."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jp2batch.jpeg2000.locate.completeness import InconsistentFile
from jp2batch.jpeg2000.locate.packed_headers import check_packed_order
from jp2batch.jpeg2000.syntax.coding import ProgressionChange, parse_poc
from jp2batch.jpeg2000.syntax.markers import Marker, Segment
from jp2batch.jpeg2000.syntax.pointers import PackedHeaders, parse_ppm, parse_ppt


def segments(marker: Marker, *bodies: bytes) -> list[Segment]:
    return [Segment(marker, 0, body) for body in bodies]


def nppm(*headers: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(one)) + one for one in headers)


@given(st.lists(st.binary(max_size=9), min_size=1, max_size=9), st.data())
def test_ppm_is_cut_at_nppm(headers, data):
    stream = nppm(*headers)
    starts = [len(nppm(*headers[:count])) for count in range(len(headers))]
    inside = {start + byte for start in starts for byte in (1, 2, 3)}  # no number is cut in two
    places = sorted(set(range(1, len(stream))) - inside)
    cuts = sorted(data.draw(st.sets(st.sampled_from(places), max_size=5))) if places else []
    pieces = [stream[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    numbered = [bytes([index]) + piece for index, piece in enumerate(pieces)]
    assert parse_ppm(segments(Marker.PPM, *data.draw(st.permutations(numbered)))) == tuple(headers)


@pytest.mark.parametrize(
    "bodies",
    [
        (b"",),
        (b"\0",),
        (b"\0" + nppm(b"abc")[:-1],),
        (b"\0" + nppm(b"abc") + b"\0\0",),
        (b"\0" + nppm(b"abc")[:2], b"\1" + nppm(b"abc")[2:]),
        (b"\0" + nppm(b"abc"), b"\0" + nppm(b"def")),
    ],
    ids=["no index", "no data", "cut short", "number cut short", "number in two segments", "an index twice"],
)
def test_a_malformed_ppm_is_told(bodies):
    assert parse_ppm(segments(Marker.PPM, *bodies)) is None


def test_without_ppm_there_are_no_packed_headers():
    assert parse_ppm([]) == ()


def test_ppt_is_ordered_by_its_index():
    assert parse_ppt(segments(Marker.PPT, b"\7def", b"\2abc")) == PackedHeaders(b"abcdef", 2, 7)
    assert parse_ppt(segments(Marker.PPT, b"\2abc", b"\2abc")) is None
    assert parse_ppt(segments(Marker.PPT, b"\2")) is None


@pytest.mark.parametrize("tiles", [[], [0, 0, 1, 2, 2], [3, 0]])
def test_consecutive_tile_parts_are_in_the_order_of_ppm(tiles):
    check_packed_order(_Header(Marker.PPM), tiles)


def test_interleaved_tile_parts_are_not_in_the_order_of_ppm():
    check_packed_order(_Header(), [0, 1, 0])
    with pytest.raises(InconsistentFile, match="PPM"):
        check_packed_order(_Header(Marker.PPM), [0, 1, 0])


class _Header:
    """A main header with some marker segments."""

    def __init__(self, *markers: Marker) -> None:
        self.markers = markers

    def has(self, marker: Marker) -> bool:
        return marker in self.markers


POC = struct.pack(">BBHBBB", 0, 0, 1, 2, 3, 1) + struct.pack(">BBHBBB", 1, 0, 2, 6, 3, 4)
CHANGES = (
    ProgressionChange("RLCP", range(2), range(3), 1),
    ProgressionChange("CPRL", range(1, 6), range(3), 2),
)


def test_poc_is_parsed():
    assert parse_poc([], 3) == ()
    assert parse_poc(segments(Marker.POC, POC), 3) == CHANGES


def test_poc_of_many_components_has_longer_numbers():
    body = struct.pack(">BHHBHB", 0, 0, 1, 2, 3, 1) + struct.pack(">BHHBHB", 1, 0, 2, 6, 3, 4)
    assert parse_poc(segments(Marker.POC, body), 257) == CHANGES


@pytest.mark.parametrize(
    "bodies",
    [
        (b"",),
        (POC[:-1],),
        (POC, POC),
        (17 * POC,),
        (struct.pack(">BBHBBB", 2, 0, 1, 2, 3, 1),),
        (struct.pack(">BBHBBB", 0, 3, 1, 2, 3, 1),),
        (struct.pack(">BBHBBB", 0, 0, 0, 2, 3, 1),),
        (struct.pack(">BBHBBB", 0, 0, 1, 2, 3, 5),),
    ],
    ids=["empty", "cut", "twice", "too many", "no resolutions", "no components", "no layers", "unknown order"],
)
def test_a_poc_that_decoders_could_read_differently_is_not_used(bodies):
    assert parse_poc(segments(Marker.POC, *bodies), 3) is None
