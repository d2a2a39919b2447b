"""Marker segments: what is read is written again; what is wrong is refused."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jp2batch.core.errors import CorruptImage, UnsupportedImage
from jp2batch.image.open import OpenImage
from jp2batch.jpeg2000.syntax.coding import Cod, Quantization
from jp2batch.jpeg2000.syntax.headers import check_supported
from jp2batch.jpeg2000.syntax.markers import Marker, Segment, Siz, Sot
from jp2batch.jpeg2000.syntax.pointers import parse_lengths, parse_plm, parse_plt, parse_tlm
from jp2batch.sample.encode import Coding as Encoding
from jp2batch.storage.source import MemorySource
from support import rewrite
from support.images import PLAIN, Made, made, pairwise_choices


def header_of(data: bytes):
    return OpenImage.start(MemorySource(data)).image.header


@pytest.mark.parametrize("choice", pairwise_choices()[:20], ids=str)
def test_what_was_read_is_written_again(choice):
    header = header_of(made(**choice).data)
    written = {Marker.SIZ: header.siz.encode(), Marker.COD: header.cod.encode()}
    for segment in header.segments:
        if segment.marker in written:
            assert written[segment.marker] == segment.encode()


@pytest.mark.parametrize("levels", range(5))
@pytest.mark.parametrize(("reversible", "width"), [(True, 1), (False, 2)])
def test_quantization_keeps_the_steps_of_the_subbands_that_are_left(levels, reversible, width):
    header = header_of(Made(Encoding(tile=None, reversible=reversible)).data)
    reduced = header.quantizations[0].reduced(levels)
    assert len(reduced.steps) == (1 + 3 * levels) * width
    assert header.quantizations[0].steps.startswith(reduced.steps)


def test_derived_quantization_keeps_its_only_step():
    derived = Quantization(0x41, b"\x12\x34")
    assert derived.reduced(0) == derived


@given(st.integers(0, 65534), st.integers(0, 2**32 - 1), st.integers(0, 254), st.integers(0, 255))
def test_sot_survives_a_round_trip(tile, length, part, parts):
    sot = Sot(tile, length, part, parts)
    assert Sot.parse(sot.encode()) == sot


@given(st.lists(st.integers(1, 2**31), max_size=50))
def test_packet_lengths_survive_a_round_trip(lengths):
    coded = b"".join(rewrite._variable(length) for length in lengths)
    assert parse_lengths(coded).tolist() == lengths


@given(st.binary(max_size=60))
def test_any_bytes_are_lengths_or_none(data):
    lengths = parse_lengths(data)
    assert lengths is None or all(length > 0 for length in lengths)


@given(st.lists(st.integers(1, 300).flatmap(lambda n: st.sampled_from([n, n << 7, n << 20])), min_size=1), st.binary())
def test_lengths_are_the_sums_of_seven_bits(lengths, rest):
    data = b"".join(rewrite._variable(length) for length in lengths) + rest
    expected, value = [], 0
    for byte in data:
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            expected.append(value)
            value = 0
    parsed = parse_lengths(data)
    if parsed is None:
        assert data[-1] >= 0x80 or 0 in expected or max(expected) >> 28 or b"\x80" in data
    else:
        assert parsed.tolist() == expected


def test_segments_are_put_in_the_order_of_their_index():
    plt = [Segment(Marker.PLT, 0, bytes((1, 7))), Segment(Marker.PLT, 0, bytes((0, 5, 6)))]
    assert parse_plt(plt).tolist() == [5, 6, 7]
    plm = [Segment(Marker.PLM, 0, bytes((1, 8, 1, 9))), Segment(Marker.PLM, 0, bytes((0, 2, 7)))]
    assert [lengths.tolist() for lengths in parse_plm(plm)] == [[7, 8], [9]]


@pytest.mark.parametrize(
    ("st_", "sp", "layout"), [(0, 2, "H"), (0, 4, "I"), (1, 2, "BH"), (1, 4, "BI"), (2, 2, "HH"), (2, 4, "HI")]
)
def test_tlm_is_read_in_all_its_sizes(st_, sp, layout):
    entries = [(n, 100 + n) for n in range(5)]
    coded = [struct.pack(f">{layout}", *(entry if st_ else entry[1:])) for entry in entries]
    stlm = st_ << 4 | (0x40 if sp == 4 else 0)
    first = Segment(Marker.TLM, 0, bytes((0, stlm)) + b"".join(coded[:2]))
    second = Segment(Marker.TLM, 0, bytes((1, stlm)) + b"".join(coded[2:]))
    assert parse_tlm([second, first]) == tuple((tile if st_ else None, length) for tile, length in entries)


@pytest.mark.parametrize(
    ("marker", "offset", "value"),
    [
        (Marker.SIZ, 2, bytes(4)),  # Xsiz 0
        (Marker.SIZ, 18, bytes(4)),  # XTsiz 0
        (Marker.SIZ, 26, b"\xff" * 4),  # XTOsiz behind XOsiz
        (Marker.SIZ, 34, b"\xff\xff"),  # 65535 components
        (Marker.SIZ, 37, b"\0"),  # XRsiz 0
        (Marker.COD, 1, b"\5"),  # no such progression
        (Marker.COD, 2, b"\0\0"),  # no layer
        (Marker.COD, 5, b"\x21"),  # 33 levels
        (Marker.COD, 6, b"\x09"),  # code-blocks of 2^11
        (Marker.COD, 9, b"\2"),  # no such transform
        (Marker.COD, 11, b"\0"),  # precincts of one sample above the lowest resolution
    ],
)
def test_what_the_standard_does_not_have_is_refused(marker, offset, value):
    segment = next(s for s in header_of(PLAIN.data).segments if s.marker == marker)
    body = segment.body[:offset] + value + segment.body[offset + len(value) :]
    with pytest.raises(CorruptImage, match=rf"^the {marker.name} marker segment at byte \d+ claims"):
        (Siz if marker == Marker.SIZ else Cod).parse(Segment(marker, segment.start, body))


def test_differently_sampled_components_are_refused():
    coding = Encoding(tile=(64, 64), subsampling=((1, 1), (2, 2), (2, 2)))
    with pytest.raises(UnsupportedImage, match="sampled differently"):
        check_supported(header_of(Made(coding, 3).data))
