"""Marker segments: what is read is written again; what is wrong is refused."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jp2batch.core.errors import CorruptImage, UnsupportedImage
from jp2batch.image.open import OpenImage
from jp2batch.jpeg2000.syntax.coding import Cod, Quantization
from jp2batch.jpeg2000.syntax.headers import check_supported, read_tile_part
from jp2batch.jpeg2000.syntax.markers import SOT_SIZE, Marker, Segment, Siz, Sot, encode_segment
from jp2batch.jpeg2000.syntax.pointers import parse_lengths, parse_lists, parse_plm, parse_plt, parse_tlm
from jp2batch.jpeg2000.syntax.sparse_file import Ahead, SparseFile
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


@given(st.lists(st.one_of(st.binary(max_size=80), st.lists(st.integers(1, 127), min_size=60).map(bytes))))
def test_many_lists_are_parsed_like_each_alone(lists):
    together = [None if lengths is None else lengths.tolist() for lengths in parse_lists(lists)]
    alone = [None if lengths is None else lengths.tolist() for lengths in map(parse_lengths, lists)]
    assert together == alone


@given(
    st.binary(max_size=9), st.dictionaries(st.integers(0, 30), st.sampled_from(b"\0\1\2\3\x58\x64\x93\xff"), max_size=2)
)
def test_a_header_in_a_piece_is_read_as_one_in_many(plt, changes):
    segment = encode_segment(Marker.PLT, b"\0" + plt) if plt else b""
    data = bytearray(Sot(3, 60, 0, 1).encode() + segment + Marker.SOD.code + bytes(range(1, 30)))[:60]
    for place, value in changes.items():
        if place >= SOT_SIZE:
            data[min(place, len(data) - 1)] = value
    whole, cut = SparseFile(60), SparseFile(60)
    whole.add(0, bytes(data))
    for place, value in enumerate(data):
        cut.add(place, bytes([value]))
    read = [outcome_of(pieces, Sot(3, 60, 0, 1), len(data)) for pieces in (whole, cut)]
    assert read[0] == read[1]


def outcome_of(pieces: SparseFile, sot: Sot, stop: int):
    """Return what a tile-part header is read as, or the error."""
    try:
        next(read_tile_part(pieces, 0, sot, stop, Ahead()))
    except StopIteration as end:
        part, lengths = end.value, end.value.packet_lengths
        return part._replace(packet_lengths=None), None if lengths is None else lengths.tolist()
    except CorruptImage as error:
        return str(error)
    return "asks for more"


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
