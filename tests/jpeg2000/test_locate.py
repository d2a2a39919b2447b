"""Finding tile-parts without TLM, from many places at once or near where they should be: what one long walk finds."""

import struct
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from unittest import mock

import dask
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jp2batch.core.costs import StoreCosts
from jp2batch.core.errors import CorruptImage
from jp2batch.core.window import Window
from jp2batch.image import inspect
from jp2batch.image.fetch import fetcher, run_steps
from jp2batch.image.open import OpenImage
from jp2batch.image.read import Pixels, read_from
from jp2batch.jpeg2000.locate import sot_proof
from jp2batch.jpeg2000.locate.completeness import InconsistentFile
from jp2batch.jpeg2000.locate.interpolation_search import locate_by_interpolation
from jp2batch.jpeg2000.locate.parallel_walk import locate_by_walk
from jp2batch.jpeg2000.locate.strategies import Cost, WalkStrategy, choose_pace
from jp2batch.jpeg2000.locate.tile_lengths import TileLengths
from jp2batch.jpeg2000.locate.tile_parts import TileQuery
from jp2batch.jpeg2000.plan import planner
from jp2batch.jpeg2000.syntax.headers import TilePartHeader
from jp2batch.jpeg2000.syntax.sparse_file import Ahead
from jp2batch.sample.encode import Coding
from jp2batch.storage.source import MemorySource
from support import rewrite
from support.images import CHANGES, REAL, SIZE, Made
from support.oracle import Oracle, random_window, verify_fetched_once
from support.rewrite import COM, PLT, SOD, SOT, Codestream
from support.tile_part_rows import learn

REMOTE = StoreCosts(latency=0.1, bandwidth=1e6, connections=64)
LINK = StoreCosts(latency=0.03, bandwidth=60e6, connections=128)
TILES = Made(Coding(tile=(16, 16), precincts=(16, 16), code_block=(8, 8), levels=2))
"""56 tiles, each one tile-part."""
COUNT = 56
Found = list[TilePartHeader] | tuple[type, str]


def walked(data: bytes, tiles: Iterable[int], starts: int | None, sibling: TileLengths | None = None) -> Found:
    """Find tile-parts from so many places, or by interpolation; or say how that ends."""
    source = MemorySource(data)
    with dask.config.set({"jp2batch.first-read": 200}):
        opened = OpenImage.start(source)
    header, codestream = opened.image.header, opened.image.container.codestream

    def ahead(_tile: int, length: int) -> Ahead:
        return Ahead(min(20, length - 12), min(50, max(0, length - 32)))

    query = TileQuery(opened.pieces, header, codestream, set(tiles), ahead, sibling=sibling)
    pace = WalkStrategy(starts or 0, -(-COUNT // (starts or 1)) + 1, Cost(0, 0, 0, 0))
    steps = locate_by_walk(query, pace) if starts else locate_by_interpolation(query)
    try:
        parts = run_steps(steps, fetcher(source, opened.pieces)).parts
        return [part._replace(packet_lengths=None) for part in parts]  # an array, which does not compare
    except (InconsistentFile, CorruptImage) as problem:
        return type(problem), str(problem)
    finally:
        verify_fetched_once(source)


def places(found: Found) -> list[tuple[int, int, int]]:
    assert isinstance(found, list), found
    return [(part.sot.tile, part.start, part.stop) for part in found]


def true_places(data: bytes, tiles: Iterable[int]) -> list[tuple[int, int, int]]:
    result, position = [], data.index(struct.pack(">HH", SOT, 10))
    for part in Codestream.parse(data).parts:
        stop = position + len(part.to_bytes())
        result.append((part.tile, position, stop))
        position = stop
    return [place for place in result if place[0] in set(tiles)]


LAYOUTS = {
    "plain": lambda data: data,
    "backwards": lambda data: rewrite.with_tile_order(data, range(COUNT - 1, -1, -1)),
    "shuffled": lambda data: rewrite.with_tile_order(data, list(np.random.default_rng(4).permutation(COUNT))),
    "several tile-parts": lambda data: rewrite.with_tile_parts(data, packets=1),
    "interleaved": lambda data: rewrite.with_tile_parts(data, packets=1, interleaved=True),
    "number untold": lambda data: rewrite.with_tile_parts(data, packets=2, total_known=False),
    "interleaved, number untold": lambda data: rewrite.with_tile_parts(
        data, packets=1, interleaved=True, total_known=False
    ),
    "no PLT": lambda data: rewrite.without(data, PLT),
    "PLM": rewrite.with_plm,
}


USUAL_STARTS = [1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 19, 27, 28, 29, 37, 48, 55, 56, 57, 64]
"""Few, many, those that divide 56 and not, and about as many as tiles."""
OTHER_STARTS = sorted(set(range(1, 65)) - set(USUAL_STARTS))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("starts", USUAL_STARTS + [pytest.param(n, marks=pytest.mark.exhaustive) for n in OTHER_STARTS])
def test_from_any_number_of_places_all_tile_parts_are_found_in_their_order(layout, starts):
    data = LAYOUTS[layout](TILES.data)
    assert places(walked(data, range(COUNT), starts)) == true_places(data, range(COUNT))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_few_tiles_are_found_near_where_they_should_be_or_not_at_all(layout):
    data, found = LAYOUTS[layout](TILES.data), 0
    for first in range(COUNT):
        tiles = {first, min(first + 1, COUNT - 1), min(first + 8, COUNT - 1)}
        outcome = walked(data, tiles, None)
        if isinstance(outcome, list):
            assert places(outcome) == true_places(data, tiles)
            found += 1
        else:
            assert outcome[0] is InconsistentFile
    assert found == COUNT if layout == "plain" else found < COUNT


def sot(tile: int, length: int, part: int = 0, parts: int = 1) -> bytes:
    return struct.pack(">HHHIBB", SOT, 10, tile, length, part, parts)


def with_look_alikes(data: bytes, *, every: int = 1, to_next: bool = True) -> bytes:
    """Put into tile-part headers a COM with what looks like a tile-part: it leads to the true next one, or not."""
    old = Codestream.parse(data)
    parts = []
    for index, part in enumerate(old.parts):
        if index % every == 0:
            decoy = struct.pack(">H", SOD) + bytes(range(20))
            rest = len(replace(part, segments=part.segments).to_bytes()) - 12 if to_next else 77
            comment = b"\0\1" + sot(part.tile, 12 + len(decoy) + rest) + decoy
            parts.append(replace(part, segments=((COM, comment), *part.segments)))
        else:
            parts.append(part)
    return replace(old, parts=tuple(parts)).to_bytes()


def with_changed_sot(data: bytes, index: int, **fields: int) -> bytes:
    """Let the SOT of a tile-part say something else."""
    start = true_places(data, range(65536))[index][1]
    names = ("marker", "size", "tile", "length", "part", "parts")
    values = dict(zip(names, struct.unpack_from(">HHHIBB", data, start), strict=True)) | fields
    return data[:start] + struct.pack(">HHHIBB", *values.values()) + data[start + 12 :]


def fake_parts(tiles: Iterable[int], lengths: Iterable[int], content: bytes = b"") -> bytes:
    """Return what looks like tile-parts, one behind the other, each so long in truth."""
    parts = []
    for tile, length in zip(tiles, lengths, strict=True):
        body = (struct.pack(">H", SOD) + content).ljust(length - 12, b"\1")[: length - 12]
        parts.append(sot(tile, length) + body)
    return b"".join(parts)


def with_fake_tiles(part: rewrite.Part, comments: Iterable[tuple[int, list[int], bool]]) -> rewrite.Part:
    """Put COM segments into a tile-part header: some padding, then chains of such fake tile-parts.

    Each comment is (bytes of padding, lengths of the parts, whether the last of them leads to the true next one).
    """
    segments, content = part.segments, part.data
    for padding, lengths, leads_on in comments:  # from the last to the first
        rest = len(replace(part, segments=segments).to_bytes()) - 12
        fakes = fake_parts(range(part.tile, part.tile + len(lengths)), lengths, content[::-1])
        last = sot(part.tile + len(lengths), 14 + (rest if leads_on else 77)) + struct.pack(">H", SOD)
        segments = ((COM, b"\0\1" + bytes(padding) + fakes + last), *segments)
    return replace(part, segments=segments)


def with_chains(data: bytes, *, fakes: int, comments: int = 1, every: int = 1, leads_on: bool = True) -> bytes:
    """Put chains of look-alikes into tile-part headers, which another decoder skips."""
    old = Codestream.parse(data)
    one = (40, [150] * (fakes - 1), leads_on)
    changed = [with_fake_tiles(p, [one] * comments) if p.tile % every == 0 else p for p in old.parts]
    return replace(old, parts=tuple(changed)).to_bytes()


HOSTILE = {
    "look-alikes that lead on": with_look_alikes,
    "look-alikes that lead nowhere": lambda data: with_look_alikes(data, to_next=False),
    "some look-alikes": lambda data: with_look_alikes(data, every=5),
    "two look-alikes that lead on": lambda data: with_chains(data, fakes=2),
    "four look-alikes that lead on": lambda data: with_chains(data, fakes=4, every=3),
    "chains of look-alikes in three COM": lambda data: with_chains(data, fakes=3, comments=3, every=4),
    "chains of look-alikes that lead nowhere": lambda data: with_chains(data, fakes=3, every=2, leads_on=False),
    "look-alikes, shuffled": lambda data: with_look_alikes(LAYOUTS["shuffled"](data)),
    "Psot too long": lambda data: with_changed_sot(data, 30, length=3000),
    "Psot too short": lambda data: with_changed_sot(data, 30, length=20),
    "Psot of 3": lambda data: with_changed_sot(data, 30, length=3),
    "Psot of 0": lambda data: with_changed_sot(data, 30, length=0),
    "Psot beyond the end": lambda data: with_changed_sot(data, 30, length=1 << 31),
    "Isot too high": lambda data: with_changed_sot(data, 30, tile=COUNT),
    "a tile twice": lambda data: with_changed_sot(data, 30, tile=29),
    "TPsot of 1": lambda data: with_changed_sot(data, 30, part=1, parts=2),
    "TNsot of 2": lambda data: with_changed_sot(data, 30, parts=2),
    "TNsot of 0": lambda data: with_changed_sot(data, 30, parts=0),
    "cut": lambda data: data[: len(data) * 2 // 3],
    "cut in EOC": lambda data: data[:-1],
    "junk behind EOC": lambda data: data + bytes(range(256)),
    "a tile is missing": lambda data: replace(
        Codestream.parse(data), parts=tuple(p for p in Codestream.parse(data).parts if p.tile != 31)
    ).to_bytes(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_end_as_one_long_walk_does(name):
    data = HOSTILE[name](TILES.data)
    expected = walked(data, range(COUNT), 1)
    for starts in (2, 3, 7, 15, 28, 64):
        assert walked(data, range(COUNT), starts) == expected
    for tiles in ({3}, {28, 29}, {30}, {31, 32, 39}, {50}, {COUNT - 1}):
        outcome = walked(data, tiles, None)
        along = walked(data, tiles, 1)
        if isinstance(outcome, list) and isinstance(along, list):
            assert outcome == along
        elif isinstance(outcome, list):  # what is broken lies before these
            assert places(outcome) == [p for p in true_places(TILES.data, tiles) if p[1] < len(data)]
        else:
            assert outcome[0] is InconsistentFile


@st.composite
def codestreams(draw: st.DrawFn) -> bytes:
    """Draw a codestream of tile-parts of any content, some of which look like tile-parts, in any order."""
    old = Codestream.parse(rewrite.without(TILES.data, PLT))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    parts = [
        replace(part, data=rng.integers(0, 256, int(rng.integers(1, 400)), dtype=np.uint8).tobytes())
        for part in old.parts
    ]
    if draw(st.booleans()):
        parts = [parts[i] for i in rng.permutation(COUNT)]
    for index in draw(st.lists(st.integers(0, COUNT - 1), max_size=12)):
        length, inside = len(parts[index].data), draw(st.integers(0, len(parts[index].data)))
        reach = length - inside + draw(st.sampled_from((0, 0, 0, 26, 5, 300)))
        decoy = sot(draw(st.integers(0, COUNT)), 14 + reach, draw(st.integers(0, 1)), draw(st.integers(0, 2)))
        content = parts[index].data[:inside] + decoy + struct.pack(">H", SOD) + parts[index].data[inside:]
        parts[index] = replace(parts[index], data=content)
    data = replace(old, parts=tuple(parts)).to_bytes()
    if draw(st.integers(0, 3)) == 0:
        field, value = draw(
            st.tuples(st.sampled_from(("tile", "part", "parts")), st.integers(0, 60))
            | st.tuples(st.just("length"), st.integers(0, 1000))
        )
        data = with_changed_sot(data, draw(st.integers(0, COUNT - 1)), **{field: value})
    return data[: draw(st.integers(len(data) // 2, len(data)))] if draw(st.integers(0, 5)) == 0 else data


_LONGEST = 900  # bytes of a marker segment, in these


@st.composite
def lawful_codestreams(draw: st.DrawFn) -> bytes:
    """Draw a codestream whose packets obey B.10.1, and whose headers hold chains of look-alikes, also several."""
    old = Codestream.parse(rewrite.without(TILES.data, PLT))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    parts = []
    for part in old.parts:
        packets = rng.integers(0, 256, int(rng.integers(1, 400)), dtype=np.uint8)
        packets[1:][packets[:-1] == 0xFF] &= 0x7F
        packets[-1] &= 0x7F
        parts.append(replace(part, data=packets.tobytes()))
    if draw(st.integers(0, 3)) == 0:
        parts = [parts[i] for i in rng.permutation(COUNT)]
    lengths = st.lists(st.integers(14, 200), max_size=3)
    comments = st.lists(st.tuples(st.integers(0, 250), lengths, st.booleans()), min_size=1, max_size=4)
    for index in draw(st.lists(st.integers(0, COUNT - 5), max_size=8, unique=True)):
        parts[index] = with_fake_tiles(parts[index], draw(comments))
    return replace(old, parts=tuple(parts)).to_bytes()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(lawful_codestreams(), st.sets(st.integers(0, COUNT - 1), min_size=1, max_size=4))
def test_what_is_found_near_where_it_should_be_is_what_a_long_walk_finds(data, tiles):
    with mock.patch.object(sot_proof, "LONGEST", _LONGEST):
        outcome = walked(data, tiles, None)
    assert outcome == walked(data, tiles, 1) or outcome[0] is InconsistentFile


def test_a_long_look_back_is_enough_where_a_header_is_longer():
    comments = [(250, [190, 190], False)] * 9 + [(0, [100, 100, 100], True)]
    old = Codestream.parse(rewrite.without(TILES.data, PLT))
    parts = [with_fake_tiles(part, comments) if part.tile == 20 else part for part in old.parts]
    data = replace(old, parts=tuple(parts)).to_bytes()
    with mock.patch.object(sot_proof, "LONGEST", _LONGEST):
        for tile in range(18, 30):
            outcome = walked(data, {tile}, None)
            assert outcome == walked(data, {tile}, 1) or outcome[0] is InconsistentFile


SIBLINGS = st.builds(
    TileLengths,
    st.lists(st.integers(14, 1500), min_size=COUNT, max_size=COUNT).map(tuple),
    st.sampled_from((0.01, 0.05, 0.1)),
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(lawful_codestreams(), st.sets(st.integers(0, COUNT - 1), min_size=1, max_size=4), SIBLINGS)
def test_whatever_a_sibling_says_a_few_tiles_are_found_as_by_a_long_walk(data, tiles, sibling):
    with mock.patch.object(sot_proof, "LONGEST", _LONGEST):
        outcome = walked(data, tiles, None, sibling)
    assert outcome == walked(data, tiles, 1) or outcome[0] is InconsistentFile


@settings(max_examples=60, deadline=None, derandomize=True)
@given(codestreams(), st.sets(st.integers(0, COUNT - 1), min_size=1), st.integers(2, 64), SIBLINGS)
def test_whatever_a_sibling_says_no_codestream_is_walked_along_differently(data, tiles, starts, sibling):
    assert walked(data, tiles, starts, sibling) == walked(data, tiles, 1)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("deviation", [0.01, 0.1])
def test_a_fitting_sibling_leads_to_the_same_tile_parts(layout, deviation):
    data = LAYOUTS[layout](TILES.data)
    lengths = tuple(stop - start for _, start, stop in sorted(true_places(TILES.data, range(COUNT))))
    sibling = TileLengths(lengths, deviation)
    for starts in (2, 7, 20):
        assert places(walked(data, range(COUNT), starts, sibling)) == true_places(data, range(COUNT))
    for first in range(0, COUNT, 5):
        outcome = walked(data, {first, first + 2}, None, sibling)
        if isinstance(outcome, list):
            assert places(outcome) == true_places(data, {first, first + 2})


@settings(max_examples=75, deadline=None, derandomize=True)
@given(codestreams(), st.sets(st.integers(0, COUNT - 1), min_size=1), st.integers(2, 64))
def test_no_codestream_whatsoever_is_walked_along_differently(data, tiles, starts):
    expected = walked(data, tiles, 1)
    assert walked(data, tiles, starts) == expected


def forced(monkeypatch: pytest.MonkeyPatch, starts: int | None) -> None:
    """Let a read walk from so many places, or interpolate."""
    cost = Cost(1, 1, 1e9 if starts else 0.0, 0)
    monkeypatch.setattr(planner, "interpolation_cost", lambda *_, **__: cost)
    pace = WalkStrategy(starts or 1, -(-COUNT // (starts or 1)) + 1, Cost(1, 1, 1.0, 0))
    monkeypatch.setattr(planner, "choose_pace", lambda *_: pace)


def read(data: bytes, rlevel: int, window: Window | None = None, store: StoreCosts = REMOTE) -> Pixels:
    source = MemorySource(data, profile=store)
    with dask.config.set({"jp2batch.max-whole-file": 0, "jp2batch.first-read": 300}):
        pixels = read_from(source, lambda opened: opened.selected(rlevel, window), threads=1)
    verify_fetched_once(source)
    return pixels


@pytest.mark.parametrize("starts", [1, 4, 15, 64, None])
@pytest.mark.parametrize("name", ["plain", *CHANGES, *list(HOSTILE)[:8]])
def test_pixels_are_exact_however_tile_parts_are_found(name, starts, monkeypatch):
    forced(monkeypatch, starts)
    change = CHANGES.get(name) or HOSTILE.get(name) or LAYOUTS[name]
    data, rng = change(TILES.data), np.random.default_rng(starts or 0)
    for rlevel in range(TILES.coding.levels + 1):
        np.testing.assert_array_equal(read(data, rlevel).values, TILES.oracle.at(rlevel))
        for window in (random_window(rng, SIZE) for _ in range(3)):
            expected = TILES.oracle.window(rlevel, window)
            if expected.size:
                np.testing.assert_array_equal(read(data, rlevel, window).values, expected)


@pytest.mark.system_openjpeg
@pytest.mark.skipif(not REAL, reason="no real images beside the repository")
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_real_images_are_read_exactly_over_a_network_however_tiles_are_found(path: Path, monkeypatch):
    info, data, rng = inspect.inspect(str(path)), path.read_bytes(), np.random.default_rng(4)
    oracle = Oracle(data, (0, 0), (info.bands, *info.shape), info.dtype)
    lowest, corners = len(info.levels) - 1, rng.integers(0, min(info.shape), (2, 2))
    sides = [[(int(c), min(int(c) + 60, n)) for c, n in zip(pair, info.shape, strict=True)] for pair in corners]
    windows = [Window(rows, columns) for rows, columns in sides]
    asked = [(lowest, None), *((0, window) for window in windows)]
    with monkeypatch.context() as patched:
        for starts in (7, 40, None):
            forced(patched, starts)
            for rlevel, window in asked:
                pixels = read(data, rlevel, window)
                assert pixels.stats.located_by in ("walk", "tlm")
                expected = oracle.window(rlevel, window) if window else oracle.at(rlevel)
                np.testing.assert_array_equal(pixels.values, expected)
    known = learn(data)
    for rlevel, window in asked:
        source = MemorySource(data, profile=REMOTE, etag=known.etag)
        with dask.config.set({"jp2batch.max-whole-file": 0}):
            pixels = read_from(source, lambda opened, r=rlevel, w=window: opened.selected(r, w), image_index=known)
        assert pixels.stats.located_by == "index"
        expected = oracle.window(rlevel, window) if window else oracle.at(rlevel)
        np.testing.assert_array_equal(pixels.values, expected)


def test_what_is_chosen_follows_from_what_requests_cost():
    whole = 84_000_000, 121, 1_000_000
    assert choose_pace(*whole, replace(LINK, latency=0)).starts == 1
    starts = [choose_pace(*whole, replace(LINK, latency=latency)).starts for latency in (0.001, 0.01, 0.03, 0.1)]
    assert starts == sorted(starts)
    assert 1 <= starts[0] < starts[-1] <= 60
    assert choose_pace(*whole, replace(LINK, connections=4)).starts <= 4
    assert 10 <= choose_pace(*whole, LINK).starts <= 20
