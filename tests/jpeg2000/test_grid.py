"""Reference-grid arithmetic, against the plain definitions of T.800 annex B."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from jp2batch.core.errors import CorruptImage, InvalidRlevel, InvalidWindow
from jp2batch.core.window import Window
from jp2batch.image.open import OpenImage
from jp2batch.jpeg2000.geometry import grid, precinct_grids
from jp2batch.jpeg2000.geometry.grid import Rect
from jp2batch.jpeg2000.syntax.markers import Component, Siz
from jp2batch.storage.source import MemorySource
from support.images import PLAIN


@st.composite
def sizes(draw) -> Siz:
    tile = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    tile_offset = draw(st.integers(0, 20)), draw(st.integers(0, 20))
    offset = tuple(t + draw(st.integers(0, s - 1)) for t, s in zip(tile_offset, tile, strict=True))
    end = tuple(o + draw(st.integers(1, 150)) for o in offset)
    sampling = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return Siz(0, *end, *offset, *tile, *tile_offset, (Component(7, *sampling),))


def header_of(siz: Siz, levels: int) -> SimpleNamespace:
    return SimpleNamespace(siz=siz, levels=levels)


def positions(rect: Rect) -> set[tuple[int, int]]:
    return {(y, x) for y in range(rect.y0, rect.y1) for x in range(rect.x0, rect.x1)}


@given(sizes())
def test_tiles_cover_the_image_once(siz):
    areas = [grid.tile_area(siz, tile) for tile in range(grid.tile_count(siz))]
    assert not any(area.empty for area in areas)
    assert sum(area.height * area.width for area in areas) == math.prod(
        (grid.image_area(siz).height, grid.image_area(siz).width)
    )
    assert set().union(*map(positions, areas)) == positions(grid.image_area(siz))


@given(sizes(), st.integers(0, 5))
def test_samples_are_those_grid_points_that_the_step_divides(siz, rlevel):
    component = siz.components[0]
    dy, dx = component.yrsiz << rlevel, component.xrsiz << rlevel
    area = grid.image_area(siz)
    expected = {(y // dy, x // dx) for y, x in positions(area) if y % dy == 0 and x % dx == 0}
    assert positions(grid.samples(siz, area, rlevel)) == expected


@given(sizes(), st.integers(0, 4), st.data())
def test_a_window_selects_the_samples_inside_it(siz, rlevel, data):
    full = grid.samples(siz, grid.image_area(siz), 0)
    assume(not full.empty)
    bounds = [sorted((data.draw(st.integers(0, n)), data.draw(st.integers(0, n)))) for n in (full.height, full.width)]
    assume(all(start < stop for start, stop in bounds))
    (r0, r1), (c0, c1) = bounds
    window = Window((r0, r1), (c0, c1))
    step = 1 << rlevel
    inside = {
        (y, x)
        for y, x in positions(Rect(full.y0 + r0, full.x0 + c0, full.y0 + r1, full.x0 + c1))
        if y % step == 0 and x % step == 0
    }
    header = header_of(siz, 4)
    if not inside:
        with pytest.raises(InvalidWindow, match="holds no sample"):
            grid.select(header, rlevel, window)
        return
    selection = grid.select(header, rlevel, window)
    assert {(y * step, x * step) for y, x in positions(selection.area)} == inside
    assert selection.first == tuple(a - b for a, b in zip(min(inside), (full.y0, full.x0), strict=True))
    owners = set()
    for tile in range(grid.tile_count(siz)):
        if positions(grid.samples(siz, grid.tile_area(siz, tile), rlevel)) & positions(selection.area):
            owners.add(tile)
    assert set(selection.tiles) == owners


@given(sizes(), st.integers(0, 3))
def test_tile_bounds_cut_a_selection_at_tiles(siz, rlevel):
    assume(not grid.samples(siz, grid.image_area(siz), rlevel).empty)
    selection = grid.select(header_of(siz, 4), rlevel)
    rows, columns = grid.tile_bounds(siz, selection)
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (0, selection.area.height, 0, selection.area.width)
    assert rows == sorted(set(rows))


@given(st.integers(0, 300), st.integers(1, 200), st.integers(1, 3), st.integers(0, 4), st.integers(0, 6))
def test_precincts_are_the_cells_of_their_partition(start, length, sampling, drop, exponent):
    axis = precinct_grids.precinct_axis(start, start + length, sampling, drop, exponent)
    step = sampling << drop
    samples = [x // step for x in range(start, start + length) if x % step == 0]
    cells = sorted({sample >> exponent for sample in samples})
    assert axis.count == len(cells)
    if cells:
        assert axis.first == cells[0]
        for index, cell in enumerate(cells):
            assert axis.position(index) == max(start, (cell << exponent) * step)


@pytest.mark.parametrize(("rlevel", "lowest"), [(5, 4), (33, 4), (-2, 4)])
def test_a_level_that_is_not_there_names_those_that_are(rlevel, lowest):
    opened = OpenImage.start(MemorySource(PLAIN.data))
    with pytest.raises(InvalidRlevel, match=r"it has -1 \(lowest\), 0, 1, 2, 3, 4"):
        grid.select(opened.image.header, rlevel)
    assert grid.select(opened.image.header, -1).rlevel == lowest


def test_a_window_too_small_for_a_level_names_the_largest_that_serves():
    opened = OpenImage.start(MemorySource(PLAIN.data))
    with pytest.raises(InvalidWindow, match="the largest with one is 2"):
        grid.select(opened.image.header, 4, Window((4, 8), (4, 8)))


def test_more_tiles_than_can_be_numbered_are_refused():
    siz = OpenImage.start(MemorySource(PLAIN.data)).image.header.siz
    with pytest.raises(CorruptImage, match="tiles"):
        grid.check_grid(replace(siz, xsiz=70000, xtsiz=1, ysiz=10, ytsiz=10))
