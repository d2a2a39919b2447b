"""What the format allows but a shortcut cannot serve is read in larger units: exactly, and told in the statistics."""

import itertools
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jp2batch.image import inspect
from jp2batch.image.read import Stats
from jp2batch.jpeg2000.plan.tile_packets import TileResolver
from jp2batch.sample.encode import Progression
from support import rewrite
from support.images import PLAIN, Made
from support.reads import FREE, REMOTE, read
from support.rewrite import CAP, COC, COD, PLT, POC, QCC, QCD, RGN, TLM, Codestream
from support.tile_part_rows import rows_of, tlm

ORDERS = ("LRCP", "RLCP", "RPCL", "PCRL", "CPRL")
LEVELS = PLAIN.coding.levels


def check(data: bytes, image: Made, *, whole: bool = False) -> list[Stats]:
    """Read at every rlevel from both stores, verify the pixels; return what it took where packets could be left out."""
    stats = []
    for rlevel, store in itertools.product(range(image.coding.levels + 1), (FREE, REMOTE)):
        pixels = read(data, rlevel, None, store, whole=whole)
        np.testing.assert_array_equal(pixels.values, image.oracle.at(rlevel))
        if rlevel:
            stats.append(pixels.stats)
    window = ((50, 101), (20, 90))
    np.testing.assert_array_equal(read(data, 1, window, FREE, whole=whole).values, image.oracle.window(1, window))
    return stats


TLM_LIES = {
    "swapped": lambda rows: tlm([rows[1], rows[0], *rows[2:]]),
    "lengths swapped": lambda rows: tlm([(0, rows[1][1]), (1, rows[0][1]), *rows[2:]]),
    "wrong lengths of the right sum": lambda rows: tlm([(0, rows[0][1] + 9), (1, rows[1][1] - 9), *rows[2:]]),
    "wrong sum": lambda rows: tlm([(0, rows[0][1] + 9), *rows[1:]]),
    "an entry is missing": lambda rows: tlm(rows[:-1]),
    "an entry is missing, its length is with another": lambda rows: tlm([*rows[:2], (2, rows[2][1] + rows[3][1])]),
    "too many entries": lambda rows: tlm([*rows, (0, 14)]),
    "too many entries of the right sum": lambda rows: tlm([(0, rows[0][1] - 14), (0, 14), *rows[1:]]),
    "wrong tiles": lambda rows: tlm([((tile + 1) % 4, length) for tile, length in rows]),
    "tiles that are not there": lambda rows: tlm([(tile + 100, length) for tile, length in rows]),
    "lengths of zero": lambda rows: tlm([(tile, 0) for tile, _ in rows]),
    "huge lengths": lambda rows: tlm([(tile, 0xFFFFFFFF) for tile, _ in rows]),
    "garbage": lambda rows: bytes(range(7, 31)),
    "an entry is cut": lambda rows: tlm(rows)[:-3],
    "nothing": lambda rows: b"",
    "no size": lambda rows: b"\0",
    "unknown sizes": lambda rows: b"\0\x30" + tlm(rows)[2:],
}


@pytest.mark.parametrize("lie", TLM_LIES)
def test_a_lying_tlm_is_not_believed(lie):
    data = rewrite.with_segments(PLAIN.data, (TLM, TLM_LIES[lie](rows_of(PLAIN.data))))
    for stats in check(data, PLAIN):
        assert (stats.located_by, stats.precision) == ("walk", "packets")


def test_doubt_about_tlm_is_told():
    data = rewrite.with_segments(PLAIN.data, (TLM, TLM_LIES["lengths swapped"](rows_of(PLAIN.data))))
    (reason,) = read(data, 2, None, REMOTE).stats.reasons
    assert "TLM entry" in reason


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_no_tlm_whatsoever_changes_pixels(data):
    rows = rows_of(PLAIN.data)
    lengths = st.integers(0, 2**32 - 1) | st.sampled_from([length for _, length in rows])
    lie = data.draw(st.lists(st.tuples(st.integers(0, 4), lengths), max_size=6) | st.permutations(rows))
    changed = rewrite.with_segments(PLAIN.data, (TLM, tlm(lie)))
    rlevel = data.draw(st.integers(0, LEVELS))
    for store in (FREE, REMOTE):
        np.testing.assert_array_equal(read(changed, rlevel, None, store).values, PLAIN.oracle.at(rlevel))


def coded(order: str, layers: int, *, sop: bool = False, eph: bool = False) -> Made:
    return Made(replace(PLAIN.coding, progression=order, layers=layers, levels=3, sop=sop, eph=eph))


IMAGES = {f"{order}, {layers} layers": coded(order, layers) for order, layers in itertools.product(ORDERS, (1, 3))} | {
    f"{order}, SOP {sop}, EPH {eph}": coded(order, 3, sop=sop, eph=eph)
    for order, (sop, eph) in itertools.product(ORDERS, ((True, False), (False, True), (True, True)))
}

PLT_LIES = {
    "a length is missing": lambda lengths: lengths[:-1],
    "a length too many": lambda lengths: [*lengths, 1],
    "split": lambda lengths: [*lengths[:-1], lengths[-1] - 1, 1],
    "joined": lambda lengths: [lengths[0] + lengths[1], *lengths[2:]],
    "too long": lambda lengths: [lengths[0] + 1, *lengths[1:]],
    "too short": lambda lengths: [lengths[0] - 1, *lengths[1:]],
    "huge": lambda lengths: [1 << 60, *lengths[1:]],
    "zero": lambda lengths: [0, lengths[0] + lengths[1], *lengths[2:]],
    "nothing": lambda lengths: [],
}


@pytest.mark.parametrize("lie", PLT_LIES)
@pytest.mark.parametrize("order", ORDERS)
def test_a_plt_that_does_not_add_up_is_not_believed(order, lie):
    image = IMAGES[f"{order}, 3 layers"]
    for stats in check(rewrite.with_lengths(image.data, PLT_LIES[lie]), image):
        if lie in ("huge", "zero"):  # as without PLT: by packet headers, where it pays
            assert stats.precision in ("packets", "tile-parts")
        else:
            assert stats.precision == "tile-parts"
            assert any("PLT" in reason for reason in stats.reasons)


@pytest.mark.parametrize("content", [b"", b"\0", b"\0\x80", b"\0\xff\xff\xff", b"\0" + bytes(range(1, 100))], ids=repr)
def test_a_malformed_plt_is_not_believed(content):
    data = rewrite.with_segments(rewrite.without(PLAIN.data, PLT), (PLT, content), in_parts=True)
    for stats in check(data, PLAIN):
        assert stats.precision in ("packets", "tile-parts")  # by their headers, where it pays


def redistributed(lengths: list[int], draw: Callable) -> list[int]:
    """Move bytes from packets to others, so that their number and their sum stay."""
    lengths = list(lengths)
    kind = draw(st.sampled_from(("move", "neighbours", "swap", "all", "rotate")))
    first = draw(st.integers(0, len(lengths) - 2))
    if kind == "all":
        cuts = sorted(
            draw(st.sets(st.integers(1, sum(lengths) - 1), min_size=len(lengths) - 1, max_size=len(lengths) - 1))
        )
        return [b - a for a, b in itertools.pairwise([0, *cuts, sum(lengths)])]
    if kind == "rotate":
        return lengths[first:] + lengths[:first]
    second = first + 1 if kind == "neighbours" else draw(st.integers(first + 1, len(lengths) - 1))
    if kind == "swap":
        lengths[first], lengths[second] = lengths[second], lengths[first]
        return lengths
    moved = draw(st.integers(1 - lengths[second], lengths[first] - 1))
    lengths[first] -= moved
    lengths[second] += moved
    return lengths


@pytest.mark.parametrize("name", IMAGES)
@settings(max_examples=80, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_plt_that_adds_up_but_lies_is_found_out(name, data):
    image = IMAGES[name]
    lie = rewrite.with_lengths(image.data, lambda lengths: redistributed(lengths, data.draw))
    for rlevel in range(1, image.coding.levels + 1):
        pixels = read(lie, rlevel, None, FREE)
        np.testing.assert_array_equal(pixels.values, image.oracle.at(rlevel))
        assert pixels.stats.reasons or pixels.stats.precision == "packets"


@pytest.mark.parametrize("order", ["LRCP", "RLCP", "RPCL"])
def test_a_boundary_moved_by_a_byte_is_found_out(order):
    image = IMAGES[f"{order}, 1 layers"]
    packets = len(rewrite.packet_lengths(Codestream.parse(image.data).parts[0]))
    for index, step in itertools.product(range(packets - 1), (-1, 1)):

        def moved(lengths: list[int], index: int = index, step: int = step) -> Iterator[int]:
            for n, length in enumerate(lengths):
                yield max(1, length + step * ((n == index) - (n == index + 1)))

        pixels = read(rewrite.with_lengths(image.data, moved), 1, None, FREE)
        np.testing.assert_array_equal(pixels.values, image.oracle.at(1))


EPH = coded("RPCL", 2, eph=True)
MAIN = Codestream.parse(PLAIN.data)
COD_BODY, QCD_BODY = MAIN.find(COD), MAIN.find(QCD)
IN_TILES = {
    "COD": (COD, COD_BODY),
    "COC": (COC, b"\0" + COD_BODY[:1] + COD_BODY[5:]),
    "QCD": (QCD, QCD_BODY),
    "QCC": (QCC, b"\0" + QCD_BODY),
    "RGN": (RGN, bytes(3)),
}


@pytest.mark.parametrize("name", IN_TILES)
def test_marker_segments_that_change_the_coding_of_a_tile_are_heeded(name):
    for stats in check(rewrite.with_segments(PLAIN.data, IN_TILES[name], in_parts=True), PLAIN):
        assert stats.precision == "tile-parts"
        assert stats.reasons == ("a tile changes its coding or progression",)


def changed(tile: tuple[int, int] | None) -> Made:
    changes = (Progression("RLCP", (0, 2), (0, 1)), Progression("CPRL", (2, 5), (0, 1)))
    return Made(replace(PLAIN.coding, changes=changes, layers=2, tile=tile))


CHANGED_TILES, CHANGED_TILE = changed(PLAIN.coding.tile), changed(None)
(CHANGE,) = {
    segment for part in Codestream.parse(CHANGED_TILE.data).parts for segment in part.segments if segment[0] == POC
}
CHANGED_HEADER = rewrite.with_segments(rewrite.without(CHANGED_TILE.data, POC), CHANGE)


@pytest.mark.parametrize(
    ("data", "image"),
    [
        (CHANGED_TILES.data, CHANGED_TILES),
        (CHANGED_TILE.data, CHANGED_TILE),
        (CHANGED_HEADER, CHANGED_TILE),
    ],
    ids=["of a tile among others", "of the only tile", "of the file"],
)
def test_packets_are_found_despite_changes_of_progression(data, image):
    for stats in check(data, image):
        assert (stats.precision, stats.reasons) == ("packets", ())


def test_a_change_of_progression_in_header_and_tile_takes_whole_tile_parts():
    for stats in check(rewrite.with_segments(CHANGED_TILE.data, CHANGE), CHANGED_TILE):
        assert stats.precision == "tile-parts"
        assert stats.reasons == ("a tile changes its coding or progression",)


def test_without_plt_packets_are_found_by_their_headers(monkeypatch):
    monkeypatch.setattr(TileResolver, "_worthwhile", lambda _, queries, packets: bool(queries))
    found = {stats.precision for stats in check(rewrite.without(PLAIN.data, PLT), PLAIN)}
    assert "packets" in found <= {"packets", "tile-parts"}


def test_plm_serves_as_well_as_plt():
    for stats in check(rewrite.with_plm(PLAIN.data), PLAIN):
        assert (stats.precision, stats.reasons) == ("packets", ())


@pytest.mark.parametrize("marker", ["PPT", "PPM"])
def test_packets_are_found_by_headers_away_from_them(marker, monkeypatch):
    monkeypatch.setattr(TileResolver, "_worthwhile", lambda _, queries, packets: bool(queries))
    for stats in check(rewrite.with_packed_headers(EPH.data, in_parts=marker == "PPT"), EPH):
        assert (stats.precision, stats.reasons) == ("packets", ())


def test_sop_before_packets_with_headers_elsewhere_takes_whole_tile_parts():
    image = coded("RPCL", 2, sop=True, eph=True)
    for in_parts in (True, False):
        for stats in check(rewrite.with_packed_headers(image.data, in_parts=in_parts), image):
            assert stats.precision == "tile-parts"
            assert stats.reasons == ("SOP may stand before packets with headers in PPM or PPT",)


LAYOUTS = {
    "Psot 0": rewrite.with_last_length_zero,
    "interleaved": lambda data: rewrite.with_tile_parts(data, packets=3, interleaved=True),
    "number of tile-parts untold": lambda data: rewrite.with_tile_parts(data, packets=3, total_known=False),
    "interleaved, number untold": lambda data: rewrite.with_tile_parts(
        data, packets=3, interleaved=True, total_known=False
    ),
    "tiles backwards": lambda data: rewrite.with_tile_order(data, [3, 2, 1, 0]),
    "junk behind EOC": lambda data: data + b"junk",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_order_of_tile_parts_is_followed(layout):
    for stats in check(LAYOUTS[layout](PLAIN.data), PLAIN):
        assert (stats.located_by, stats.precision, stats.reasons) == ("walk", "packets", ())


def test_htj2k_is_told_and_read_by_tile_parts(tmp_path):
    path = tmp_path / "ht.jp2"
    data = rewrite.with_segments(PLAIN.data, (CAP, struct.pack(">IH", 1 << 17, 0)))
    path.write_bytes(data)
    info = inspect.inspect(str(path))
    assert info.htj2k
    assert "CAP" in info.markers
    assert inspect.plan(str(path), 2).precision == "tile-parts"
