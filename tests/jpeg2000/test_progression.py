"""The five progression orders, against the loops that T.800 B.12.1 spells out."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from jp2batch.core.ranges import ByteRange, merged
from jp2batch.image.open import OpenImage
from jp2batch.jpeg2000.geometry import progression
from jp2batch.jpeg2000.geometry.grid import Rect, WholeTiles, ceil_div, select_area, tile_area, tile_samples
from jp2batch.jpeg2000.geometry.packet_choice import TilePackets, choose_packets, places_in
from jp2batch.jpeg2000.geometry.precinct_grids import TileShapes, tile_precincts
from jp2batch.jpeg2000.geometry.precincts import Precincts, PrecinctUnion, wanted_precincts
from jp2batch.jpeg2000.geometry.progression import Packet, changed_order, count_packets, packet_order
from jp2batch.jpeg2000.geometry.reduction import reduced_siz
from jp2batch.jpeg2000.plan.packet_ranges import locate_all, locate_packets
from jp2batch.jpeg2000.syntax.coding import PROGRESSIONS, CodingStyle, ProgressionChange
from jp2batch.jpeg2000.syntax.headers import TilePartHeader
from jp2batch.jpeg2000.syntax.markers import Component, Siz, Sot
from jp2batch.storage.source import MemorySource
from support.images import FACTORS, made
from support.rewrite import Codestream, packet_lengths


@st.composite
def headers(draw) -> SimpleNamespace:
    tile, offset = draw(st.tuples(st.integers(4, 40), st.integers(4, 40))), draw(st.tuples(*[st.integers(0, 3)] * 2))
    components = tuple(
        Component(7, draw(st.integers(1, 2)), draw(st.integers(1, 2))) for _ in range(draw(st.integers(1, 2)))
    )
    siz = Siz(0, 45, 38, *offset, *tile, 0, 0, components)
    codings = []
    for _ in components:
        levels = draw(st.integers(0, 2))
        precincts = [draw(st.tuples(st.integers(1, 4), st.integers(1, 4))) for _ in range(levels + 1)]
        codings.append(CodingStyle(levels, (4, 4), 0, 1, tuple(precincts), True))
    cod = SimpleNamespace(progression=draw(st.sampled_from(PROGRESSIONS)), layers=draw(st.integers(1, 2)))
    return SimpleNamespace(siz=siz, cod=cod, codings=tuple(codings), changes=())


def spelled_out(header, tile: int) -> list[Packet]:  # noqa: C901  # the standard's loops, side by side
    """Return the packets of a tile by the nested loops of B.12.1.1 to B.12.1.5, as they stand there."""
    area, grids = tile_area(header.siz, tile), tile_precincts(header, tile)
    components, layers = range(len(grids)), range(header.cod.layers)
    highest = range(max(len(levels) for levels in grids))

    def has(c: int, r: int) -> bool:
        return r < len(grids[c])

    def precincts(c: int, r: int) -> range:
        return range(grids[c][r][0].count * grids[c][r][1].count)

    def here(c: int, r: int, y: int, x: int) -> list[int]:
        """Return the precinct that comes at a position, by the condition of B.12.1.3."""
        if not has(c, r) or not precincts(c, r):
            return []
        drop = header.codings[c].levels - r
        numbers = []
        for position, start, sampling, exponent in (
            (y, area.y0, header.siz.components[c].yrsiz, header.codings[c].precincts[r][1]),
            (x, area.x0, header.siz.components[c].xrsiz, header.codings[c].precincts[r][0]),
        ):
            first = ceil_div(ceil_div(start, sampling), 1 << drop)
            divides = position % (sampling << exponent + drop) == 0
            begins = position == start and (first << drop) % (1 << exponent + drop) != 0
            if not (divides or begins):
                return []
            numbers.append((ceil_div(position, sampling << drop) >> exponent) - (first >> exponent))
        row, column = numbers
        if row >= grids[c][r][0].count or column >= grids[c][r][1].count:
            return []
        return [row * grids[c][r][1].count + column]

    ys, xs = range(area.y0, area.y1), range(area.x0, area.x1)
    match header.cod.progression:
        case "LRCP":
            return [
                Packet(c, r, k, n)
                for n in layers
                for r in highest
                for c in components
                if has(c, r)
                for k in precincts(c, r)
            ]
        case "RLCP":
            return [
                Packet(c, r, k, n)
                for r in highest
                for n in layers
                for c in components
                if has(c, r)
                for k in precincts(c, r)
            ]
        case "RPCL":
            return [
                Packet(c, r, k, n)
                for r in highest
                for y in ys
                for x in xs
                for c in components
                for k in here(c, r, y, x)
                for n in layers
            ]
        case "PCRL":
            return [
                Packet(c, r, k, n)
                for y in ys
                for x in xs
                for c in components
                for r in highest
                for k in here(c, r, y, x)
                for n in layers
            ]
    return [
        Packet(c, r, k, n)
        for c in components
        for y in ys
        for x in xs
        for r in highest
        for k in here(c, r, y, x)
        for n in layers
    ]


@given(headers(), st.data())
def test_packets_come_in_the_order_of_the_standard(header, data):
    rows, columns = ceil_div(38, header.siz.ytsiz), ceil_div(45, header.siz.xtsiz)
    tile = data.draw(st.integers(0, rows * columns - 1))
    expected = spelled_out(header, tile)
    assert list(packet_order(header, tile_precincts(header, tile))) == expected
    assert count_packets(header, tile_precincts(header, tile)) == len(expected)


@st.composite
def progression_changes(draw) -> tuple[ProgressionChange, ...]:
    def part(most: int) -> range:
        start = draw(st.integers(0, most))
        return range(start, start + draw(st.integers(1, most + 1)))

    change = st.builds(
        lambda order, layers: ProgressionChange(order, part(2), part(1), layers),
        st.sampled_from(PROGRESSIONS),
        st.integers(1, 3),
    )
    return tuple(draw(st.lists(change, max_size=4)))


@given(headers(), progression_changes())
def test_changes_of_progression_add_the_packets_not_yet_there(header, changes):
    expected: list[Packet] = []
    for change in changes:
        header.cod.progression = change.progression
        expected += [
            packet
            for packet in spelled_out(header, 0)
            if packet not in expected
            and packet.resolution in change.resolutions
            and packet.component in change.components
            and packet.layer < change.layers
        ]
    if not changes:
        expected = spelled_out(header, 0)
    assert list(changed_order(header, tile_precincts(header, 0), changes)) == expected


@given(headers())
def test_more_layers_leave_the_order_of_the_others(header):
    longer = list(packet_order(header, tile_precincts(header, 0), more_layers=1))
    assert [p for p in longer if p.layer < header.cod.layers] == list(packet_order(header, tile_precincts(header, 0)))
    assert not longer or longer[-1].layer == header.cod.layers


@st.composite
def choices(draw, header) -> dict[tuple[int, int], Precincts | PrecinctUnion]:
    def part(rows: int, columns: int) -> Precincts:
        spans = [sorted(draw(st.tuples(*[st.integers(0, count)] * 2))) for count in (rows, columns)]
        return Precincts(range(*spans[0]), range(*spans[1]), max(1, columns), rows * columns)

    levels = {}
    for component, grids in enumerate(tile_precincts(header, 0)):
        for resolution, (rows, columns) in enumerate(grids[: draw(st.integers(0, len(grids)))]):
            parts = tuple(part(rows.count, columns.count) for _ in range(draw(st.integers(1, 2))))
            levels[component, resolution] = parts[0] if len(parts) == 1 else PrecinctUnion(parts)
    return levels


@given(headers(), st.data())
def test_packets_are_chosen_by_their_precincts(header, data):
    order, levels = packet_order(header, tile_precincts(header, 0)), data.draw(choices(header))
    chosen = [n for n, p in enumerate(order) if p.precinct in levels.get((p.component, p.resolution), ())]
    assert choose_packets(order, levels).places.tolist() == chosen


@given(headers(), st.data())
def test_chosen_packets_are_found_among_fewer_levels_and_more_layers(header, data):
    grids, levels = tile_precincts(header, 0), data.draw(choices(header))
    choice = choose_packets(packet_order(header, grids), levels)
    fewer = tuple(own[: 1 + max((r for c, r in levels if c == n), default=-1)] for n, own in enumerate(grids))
    longer = packet_order(header, fewer, more_layers=data.draw(st.integers(0, 2)))
    packets, others = list(choice.order), list(longer)
    assert [others[place] for place in places_in(choice, longer)] == [packets[place] for place in choice.places]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9)), max_size=12))
def test_ranges_are_those_of_single_packets_merged(spans):
    starts, stops, position = [], [], 0
    for gap, length in spans:
        starts.append(position + gap)
        position = starts[-1] + length
        stops.append(position)
    packets = TilePackets(SimpleNamespace(), np.array(starts, np.int64), np.array(stops, np.int64))
    assert packets.ranges() == merged(map(ByteRange, starts, stops))


@pytest.mark.parametrize("progression", FACTORS["progression"])
@pytest.mark.parametrize("grid", ["tiles", "odd tiles", "both offsets", "one tile"])
def test_there_are_as_many_packets_as_plt_has_lengths(progression, grid):
    choice = {name: values[0] for name, values in FACTORS.items()}
    image = made(**choice | {"progression": progression, "grid": grid, "layers": 3, "bands": (3, True)})
    header = OpenImage.start(MemorySource(image.data)).image.header
    for part in Codestream.parse(image.data).parts:
        assert count_packets(header, tile_precincts(header, part.tile)) == len(packet_lengths(part))


def test_counting_does_not_list():
    coding = CodingStyle(32, (4, 4), 0, 1, ((0, 0), *[(1, 1)] * 32), True)
    siz = Siz(0, 2**31, 2**31, 0, 0, 2**31, 2**31, 0, 0, (Component(7, 1, 1),))
    header = SimpleNamespace(siz=siz, cod=SimpleNamespace(layers=65535, progression="RPCL"), codings=(coding,))
    assert progression.count_packets(header, tile_precincts(header, 0)) > 2**60


@given(st.integers(1, 6), st.integers(1, 6), st.tuples(*[st.tuples(*[st.integers(0, 6)] * 2)] * 4))
def test_precincts_are_marked_even_if_none_are(down, across, ends):
    """Mark rectangles whose ranges may be empty or reversed."""
    spans = [
        range(min(start, most), min(stop, most)) for (start, stop), most in zip(ends, [down, across] * 2, strict=True)
    ]
    parts = [Precincts(rows, columns, across, down * across) for rows, columns in (spans[:2], spans[2:])]
    for marked in (*parts, PrecinctUnion(tuple(parts))):
        mask = np.zeros(down * across, bool)
        marked.mark(mask)
        assert mask.tolist() == [number in marked for number in range(down * across)]
        assert marked.all == mask.all()
        assert len(marked) == mask.sum()


@given(headers(), st.data())
def test_located_packets_are_those_of_a_plain_loop(header, data):
    rows, columns = ceil_div(38, header.siz.ytsiz), ceil_div(45, header.siz.xtsiz)
    tile = data.draw(st.integers(0, rows * columns - 1))
    rlevel = data.draw(st.integers(0, min(coding.levels for coding in header.codings)))
    inside = tile_samples(header.siz, tile, rlevel)
    assume(not inside.empty)
    y0, x0 = data.draw(st.integers(inside.y0, inside.y1 - 1)), data.draw(st.integers(inside.x0, inside.x1 - 1))
    area = Rect(y0, x0, data.draw(st.integers(y0 + 1, inside.y1)), data.draw(st.integers(x0 + 1, inside.x1)))
    selection = select_area(header, rlevel, area)
    order, grids = spelled_out(header, tile), tile_precincts(header, tile)
    cut = data.draw(st.integers(0, len(order)))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    parts, where, position = [], {}, 1000
    for own in (order[:cut], order[cut:]):  # two tile-parts with a gap between
        lengths, start, position = rng.integers(1, 300, len(own)), position, position + 20
        for packet, length in zip(own, lengths.tolist(), strict=True):
            where[packet] = ByteRange(position, position + length)
            position += length
        sot = SimpleNamespace(tile=tile)
        of = SimpleNamespace(sot=sot, start=start, data=start + 20, stop=position, packet_lengths=lengths)
        parts.append(SimpleNamespace(**vars(of), changes_coding=False, packed_headers=None, segments=()))
        position += data.draw(st.integers(0, 50))
    levels = wanted_precincts(header, selection, tile, grids)
    expected = [where[p] for p in order if p.precinct in levels.get((p.component, p.resolution), ())]
    packets, reason = locate_packets(header, parts, selection)
    assert packets is not None, reason
    assert list(map(ByteRange, packets.starts.tolist(), packets.stops.tolist())) == expected
    assert packets.ranges() == merged(expected)


@given(headers(), st.data())
def test_tiles_located_together_are_located_as_each_alone(header, data):
    rlevel = data.draw(st.integers(0, min(coding.levels for coding in header.codings)))
    tiles = range(ceil_div(38, header.siz.ytsiz) * ceil_div(45, header.siz.xtsiz))
    inside = [tile_samples(header.siz, tile, rlevel) for tile in (tiles[0], tiles[-1])]
    y0, x0 = data.draw(st.integers(inside[0].y0, inside[1].y1)), data.draw(st.integers(inside[0].x0, inside[1].x1))
    area = Rect(y0, x0, data.draw(st.integers(y0, inside[1].y1)), data.draw(st.integers(x0, inside[1].x1)))
    selection = select_area(header, rlevel, area)
    rng, position, parts = np.random.default_rng(data.draw(st.integers(0, 99))), 1000, {}
    wrong, too_long = (data.draw(st.sampled_from([-1, -1, *selection.tiles])) for _ in range(2))
    for tile in selection.tiles:
        packets = count_packets(header, tile_precincts(header, tile)) + (tile == wrong)
        lengths = rng.integers(1, 300, packets)
        start, position = position, position + 20 + int(lengths.sum()) + (tile == too_long)
        parts[tile] = [TilePartHeader(Sot(tile, 0, 0, 1), start, start + 20, position, lengths, changes_coding=False)]
    found, reasons = locate_all(header, parts, selection)
    alone = {tile: locate_packets(header, own, selection) for tile, own in parts.items()}
    assert set(reasons) == {reason for _, reason in alone.values()} - {""}
    assert reasons or set(found) == set(parts)
    for tile, packets in found.items():
        assert packets.choice.places.tolist() == alone[tile][0].choice.places.tolist()
        assert packets.starts.tolist() == alone[tile][0].starts.tolist()
        assert packets.stops.tolist() == alone[tile][0].stops.tolist()
    whole, samples = (
        WholeTiles(header.siz, selection),
        {t: tile_samples(header.siz, t, rlevel) for t in selection.tiles},
    )
    assert all((tile in whole) == (own.intersection(area) == own) for tile, own in samples.items())


@given(headers())
def test_tiles_of_equal_shape_have_the_same_packets(header):
    shapes, orders = TileShapes(header), {}
    for tile in range(ceil_div(38, header.siz.ytsiz) * ceil_div(45, header.siz.xtsiz)):
        order = list(packet_order(header, tile_precincts(header, tile)))
        assert orders.setdefault(shapes[tile], order) == order


@given(headers(), st.data())
def test_tiles_with_one_order_have_one_at_each_level(header, data):
    rlevel = data.draw(st.integers(0, min(coding.levels for coding in header.codings)))
    assume((siz := reduced_siz(header.siz, rlevel)) is not None)
    codings = [coding.reduced(rlevel) for coding in header.codings]
    reduced, orders = SimpleNamespace(siz=siz, codings=codings, cod=header.cod), {}
    for tile in range(ceil_div(38, header.siz.ytsiz) * ceil_div(45, header.siz.xtsiz)):
        whole = packet_order(header, tile_precincts(header, tile))
        order = list(packet_order(reduced, tile_precincts(reduced, tile), more_layers=1))
        assert orders.setdefault(whole, order) == order


@pytest.mark.parametrize("order", PROGRESSIONS)
def test_no_levels_have_no_packets(order):
    header = SimpleNamespace(cod=SimpleNamespace(progression=order, layers=2))
    assert not list(packet_order(header, ((),)))
