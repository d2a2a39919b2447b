"""Fields in samples of an image: in any reference system, across the antimeridian, on any grid."""

import numpy as np
import pytest
import shapely

from jp2batch.core.errors import InvalidWindow, OutsideImage
from jp2batch.image.fields.field_set import FieldSet
from jp2batch.image.fields.on_grid import Grid, field_runs, projected_fields

pyproj = pytest.importorskip("pyproj")


def grid_at(epsg: int, x: float, y: float, size: int = 1000, metres: float = 10) -> Grid:
    """Return a grid whose first sample begins at a position."""
    return Grid(pyproj.CRS(epsg).to_wkt(), (metres, 0, x, 0, -metres, y), (size, size))


def centres(grid: Grid, count: int, target: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return rows and columns of some samples, and their centres in another system."""
    rng = np.random.default_rng(count)
    rows, columns = rng.integers(0, grid.shape[0], count), rng.integers(0, grid.shape[1], count)
    there = pyproj.Transformer.from_crs(pyproj.CRS.from_wkt(grid.crs_wkt), target, always_xy=True)
    return rows, columns, *there.transform(*grid.centres(rows, columns))


@pytest.mark.parametrize("crs", ["OGC:CRS84", "EPSG:4326", "EPSG:3857", "EPSG:32629", "EPSG:32630", "EPSG:3035"])
@pytest.mark.parametrize("transform", [(10, 0, 5e5, 0, -10, 5.9e6), (8, 3, 5e5, 4, -9, 5.9e6)])
def test_centres_of_samples_are_found_again(crs, transform):
    grid = Grid(pyproj.CRS(32629).to_wkt(), transform, (700, 900))
    rows, columns, x, y = centres(grid, 50, crs)
    found = field_runs(FieldSet.of(shapely.points(x, y), range(50), crs), grid, False)
    assert found.fields.tolist() == list(range(50))
    assert (found.runs.y.tolist(), found.runs.x0.tolist()) == (rows.tolist(), columns.tolist())


@pytest.mark.parametrize("turn", [0, 360])
def test_longitudes_beyond_the_antimeridian_are_found(turn):
    for grid in (grid_at(32660, 8.15e5, 1e6, 3000), grid_at(32601, 1.55e5, 1e6, 3000)):
        rows, columns, x, y = centres(grid, 40, "OGC:CRS84")
        assert (x < 0).any()
        assert (x > 0).any()
        found = field_runs(FieldSet.of(shapely.points(x + turn, y), range(40), "OGC:CRS84"), grid, False)
        assert (found.runs.y.tolist(), found.runs.x0.tolist()) == (rows.tolist(), columns.tolist())


def test_a_polygon_larger_than_the_image_has_all_samples():
    grid = grid_at(32629, 5e5, 5.9e6, 100)
    for crs, shape in (("OGC:CRS84", shapely.box(-180, -90, 180, 90)), ("EPSG:32629", shapely.box(0, 0, 9e5, 9e6))):
        found = field_runs(FieldSet.of([shape], [7], crs), grid, False)
        assert (found.fields.tolist(), found.counts.tolist()) == ([0], [100 * 100])


def test_fields_elsewhere_on_earth_are_not_projected():
    grid = grid_at(32629, 5e5, 5.9e6)
    fields = FieldSet.of(shapely.points([100.0, -9.0], [-45.0, 10.0]), ["a", "b"], "OGC:CRS84")
    shapes, indices = projected_fields(fields, grid)
    assert len(shapes) == len(indices) == 0
    assert len(field_runs(fields, grid, False).fields) == 0


def test_equal_fields_share_their_samples():
    grid, shapes = grid_at(32629, 5e5, 5.9e6), shapely.points([-8.9], [53.2])
    one, other = (FieldSet.of(shapes, [0], "OGC:CRS84") for _ in range(2))
    assert one == other
    assert field_runs(one, grid, False) is field_runs(other, grid, False)
    assert one != FieldSet.of(shapes, [1], "OGC:CRS84")


def test_an_image_that_is_nowhere_in_the_system_of_the_fields_is_told():
    grid = grid_at(32629, 5e5, 5.9e6)
    fields = FieldSet.of(shapely.points([0.0], [0.0]), [0], "EPSG:99999")
    with pytest.raises((InvalidWindow, OutsideImage), match=r"crs|area"):
        field_runs(fields, grid, False)
