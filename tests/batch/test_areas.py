"""Manifests with map areas: each row reads its own part of the map."""

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from pyproj import CRS

import jp2batch
from jp2batch.batch.key_table import keys_of
from jp2batch.batch.manifest.digested import RowBlock, request_of
from jp2batch.batch.manifest.read import iter_manifest, manifest_of
from jp2batch.batch.manifest.write import format_manifest, write_manifest
from jp2batch.core.errors import CubeMismatch, InvalidRequest, ManifestError
from jp2batch.core.map_area import MapArea
from jp2batch.core.request import Request

BOX = (-8.98, 53.23, -8.97, 53.2400000001)
SQUARE = shapely.box(500100.25, 5897000, 500400, 5897300)
GEOJSON = {"type": "Polygon", "coordinates": [[[-9, 53], [-8, 53], [-8, 54], [-9, 53]]]}

AREAS = [
    MapArea.of(BOX),
    MapArea.of((500100, 5897000, 500400.5, 5897300), crs=32629, resolution=20),
    MapArea.of(geometry=SQUARE, crs="EPSG:32629"),
    MapArea.of(geometry=GEOJSON, resolution=60),
    MapArea.of(resolution="20"),
    None,
]
REQUESTS = [Request(f"{number}.jp2", area=area) for number, area in enumerate(AREAS)]
ROWS = [{"Path": request.path, **(request.area.fields() if request.area else {})} for request in REQUESTS]
CELLS = ("bbox", "geometry", "crs", "resolution")
TABLE = [{"Path": row["Path"], **{name: row.get(name) for name in CELLS}} for row in ROWS]


def csv_of(rows: list[dict[str, Any]], separator: str = ",") -> bytes:
    cells = [['"{}"'.format("" if value is None else str(value)) for value in row.values()] for row in rows]
    return "".join(f"{separator.join(line)}\n" for line in [list(rows[0]), *cells]).encode()


def parquet_of(rows: list[dict[str, Any]], schema: pa.Schema | None = None) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema), file)
    return file.getvalue()


def as_values(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with lists and objects in place of texts."""
    found = dict(row)
    if row.get("bbox"):
        found["bbox"] = list(map(float, row["bbox"].split(",")))
    if row.get("geometry"):
        found["geometry"] = shapely.geometry.mapping(shapely.from_wkt(row["geometry"]))
    return found


BBOX_LISTS = pa.schema(
    [
        ("Path", pa.string()),
        ("bbox", pa.list_(pa.float64())),
        ("geometry", pa.string()),
        ("crs", pa.string()),
        ("resolution", pa.float64()),
    ]
)
LISTS = [{**row, "bbox": as_values(row)["bbox"]} for row in TABLE]
FORMS = {
    "csv": csv_of(TABLE),
    "semicolons": csv_of(TABLE, ";"),
    "upper case": csv_of([{name.upper(): value for name, value in row.items()} for row in TABLE]),
    "ndjson of texts": "".join(f"{json.dumps(row)}\n" for row in ROWS).encode(),
    "ndjson of equal columns": "".join(f"{json.dumps(row)}\n" for row in TABLE).encode(),
    "ndjson of values": "".join(f"{json.dumps(as_values(row))}\n" for row in ROWS).encode(),
    "array": json.dumps([as_values(row) for row in TABLE]).encode(),
    "parquet": parquet_of(TABLE),
    "parquet of lists": parquet_of(LISTS, BBOX_LISTS),
}


def rows_in(data: bytes) -> RowBlock:
    """Return the rows of a manifest as a block, as a run reads them."""
    manifest = manifest_of([data])
    return manifest.block([row for _, row in manifest.digested_rows() if not isinstance(row, str)])


@pytest.mark.parametrize("data", FORMS.values(), ids=FORMS)
def test_a_row_has_a_map_area_in_every_format(data: bytes) -> None:
    assert list(manifest_of([data])) == REQUESTS


@pytest.mark.parametrize("data", FORMS.values(), ids=FORMS)
def test_rows_in_blocks_have_the_digests_of_their_requests(data: bytes) -> None:
    block = rows_in(data)
    assert list(block.digests) == list(keys_of(request.digest for request in REQUESTS))
    assert [row.digest for row in block] == [request.digest for request in REQUESTS]
    assert [request_of(row) for row in block] == REQUESTS


def test_rows_with_and_without_areas_mix() -> None:
    plain = [{"Path": f"{number}.jp2", "rlevel": 1, "band": "B04"} for number in range(10)]
    rows = [row | more for row in plain for more in ({}, {"bbox": list(BOX)}, {"bbox": ""})]
    requests = [
        Request(row["Path"], 1, area=MapArea.of(BOX) if row.get("bbox") else None, columns=(("band", "B04"),))
        for row in rows
    ]
    data = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
    assert list(manifest_of([data])) == requests
    assert [row.digest for row in rows_in(data)] == [request.digest for request in requests]


@pytest.mark.parametrize("suffix", [".csv", ".ndjson", ".jsonl.gz"])
@pytest.mark.parametrize("read", [jp2batch.read_manifest, lambda path: list(iter_manifest(path))])
def test_areas_are_written_and_read_again(tmp_path: Path, suffix: str, read: Any) -> None:
    path = tmp_path / f"manifest{suffix}"
    write_manifest(REQUESTS, path)
    assert read(path) == REQUESTS
    assert [request.digest for request in read(path)] == [request.digest for request in REQUESTS]


def test_a_manifest_without_areas_has_no_columns_for_them() -> None:
    assert b"bbox" not in format_manifest([Request("a.jp2")], "a.csv")
    assert b"bbox" not in format_manifest([Request("a.jp2")], "a.ndjson")


def test_without_levels_a_resolution_stays() -> None:
    data = format_manifest(REQUESTS, "a.csv", levels=False)
    levels = [(request.rlevel, request.area) for request in manifest_of([data], rlevel=3)]
    assert levels == [(-1 if area is not None and area.resolution else 3, area) for area in AREAS]


def test_an_area_that_no_column_can_tell_is_not_written() -> None:
    with pytest.raises(InvalidRequest, match=r"a\.jp2: a manifest has no column for mask=False"):
        format_manifest([Request("a.jp2", area=MapArea.of(geometry=GEOJSON, mask=False))], "a.csv")
    with pytest.raises(InvalidRequest, match="reserved name"):
        format_manifest([Request("a.jp2", columns=(("Geometry", "x"),))], "a.csv")


@pytest.mark.parametrize("number", [1, 1.5, 32629])
def test_an_area_of_any_numbers_has_one_digest(number: float) -> None:
    import numpy as np

    values = (number, number, number + 1, number + 1)
    texts = {
        Request("a", area=MapArea(tuple(map(kind, values)), None, "EPSG:3857", kind(number))).digest
        for kind in ((float, np.float64) if number == 1.5 else (int, float, np.float64))
    }
    assert len(texts) == 1


@pytest.mark.parametrize("bbox", ["1,2,3,4", " 1, 2, 3, 4 ", "[1, 2, 3, 4]", "(1, 2, 3, 4)"])
@pytest.mark.parametrize("crs", ["32629", "32629.0", " EPSG:32629", "epsg:32629"])
def test_cells_are_read_as_other_programs_write_them(bbox: str, crs: str) -> None:
    (request,) = manifest_of([csv_of([{"Path": "a.jp2", "bbox": bbox, "crs": crs}])])
    assert request.area.bbox == (1, 2, 3, 4)
    assert CRS.from_user_input(request.area.crs).to_epsg() == 32629


def test_empty_cells_are_no_area() -> None:
    rows = [{"Path": "a.jp2", "bbox": " ", "geometry": "", "crs": "EPSG:32629", "resolution": ""}]
    assert list(manifest_of([csv_of(rows)])) == [Request("a.jp2")]
    assert list(manifest_of([json.dumps(rows[0]).encode()])) == [Request("a.jp2")]


BAD = [
    ({"bbox": "1,2,3"}, "the bbox cannot be read"),
    ({"bbox": "3,2,1,4", "crs": "EPSG:3857"}, "the bbox is empty"),
    ({"bbox": [1, 2, "x", 4]}, "the bbox cannot be read"),
    ({"bbox": {"xmin": 1}}, "cannot be read"),
    ({"bbox": "500100,5897000,500400,5897300"}, "not in longitude and latitude"),
    ({"geometry": "R10m"}, "the geometry cannot be read"),
    ({"geometry": {"type": "Polygon"}}, "the geometry cannot be read"),
    ({"geometry": "POLYGON EMPTY"}, "the geometry is empty"),
    ({"geometry": '{"a":' * 5000}, "the geometry cannot be read"),
    ({"geometry": 5}, "the geometry cannot be read"),
    ({"bbox": "1,2,3,4", "crs": "EPSG:99999999"}, "the crs cannot be read"),
    ({"bbox": "1,2,3,4", "crs": True}, "the crs cannot be read"),
    ({"crs": "EPSG:32629"}, "crs= means nothing without"),
    ({"resolution": "R10m"}, "the resolution cannot be read"),
    ({"resolution": True}, "resolution cannot be read"),
    ({"resolution": "nan"}, "the resolution is not a positive number"),
    ({"resolution": -1}, "the resolution is not a positive number"),
    ({"resolution": 10, "rlevel": 2}, "rlevel= and resolution= exclude"),
    ({"bbox": "1,2,3,4", "window": "0:5,0:5"}, "exclude each other"),
    ({"bbox": "1,2,3,4", "geometry": "POINT (1 2)"}, "exclude each other"),
]


@pytest.mark.parametrize(("values", "problem"), BAD)
def test_a_bad_value_is_an_error_of_its_line(values: dict[str, Any], problem: str) -> None:
    rows = [{"Path": "a.jp2"}, {"Path": "b.jp2", **values}, {"Path": "c.jp2", "bbox": list(BOX)}]
    with pytest.raises(ManifestError, match=problem) as caught:
        list(manifest_of(["".join(f"{json.dumps(row)}\n" for row in rows).encode()]))
    ((number, message),) = caught.value.rows
    assert number == 2
    assert message.startswith("b.jp2: ")
    assert len(message) <= 300


def test_a_column_comes_once() -> None:
    with pytest.raises(ManifestError, match="two columns are called bbox"):
        list(manifest_of([b"Path,bbox,BBox\na.jp2,,\n"]))


# GeoParquet


def geoparquet(crs: object, *, box: bool = False, geometry: bytes | None = SQUARE.wkb) -> bytes:
    fields = [("Path", pa.string()), ("geometry", pa.binary())]
    row: dict[str, Any] = {"Path": "a.jp2", "geometry": geometry}
    if box:
        fields.append(("bbox", pa.struct([(name, pa.float64()) for name in ("xmin", "ymin", "xmax", "ymax")])))
        row["bbox"] = dict(zip(("xmin", "ymin", "xmax", "ymax"), SQUARE.bounds, strict=True))
    columns = {"geometry": {"encoding": "WKB"} | ({} if crs == "none" else {"crs": crs})}
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": columns}
    return parquet_of([row], pa.schema(fields, {"geo": json.dumps(geo)}))


@pytest.mark.parametrize("box", [False, True])
def test_geoparquet_tells_geometry_and_reference_system(box: bool) -> None:
    (request,) = manifest_of([geoparquet(CRS.from_epsg(32629).to_json_dict(), box=box)])
    assert request == Request("a.jp2", area=MapArea.of(geometry=SQUARE, crs=32629))


def test_geoparquet_without_reference_system_is_in_longitude_and_latitude() -> None:
    (request,) = manifest_of([geoparquet("none")])
    assert request.area == MapArea.of(geometry=SQUARE)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (geoparquet(None), "the geometries of the file have no reference system"),
        (geoparquet("none", geometry=b"\x01\x03 no WKB"), "the geometry cannot be read"),
    ],
)
def test_geoparquet_that_cannot_be_read_is_an_error_of_its_row(data: bytes, problem: str) -> None:
    with pytest.raises(ManifestError, match=f"row 1: a.jp2: {problem}|row 1: {problem}"):
        list(manifest_of([data]))


def test_a_row_of_geoparquet_without_geometry_is_the_whole_image() -> None:
    assert list(manifest_of([geoparquet(None, geometry=None)])) == [Request("a.jp2")]


def test_a_cube_refuses_rows_with_areas(tmp_path: Path) -> None:
    request = Request("T33UUP_20150711T100006_B04.jp2", area=MapArea.of(BOX))
    with pytest.raises(CubeMismatch, match="has an area, but a cube has a single grid"):
        jp2batch.open_cube([request])
    with pytest.raises(CubeMismatch, match="has an area, but a cube has a single grid"):
        jp2batch.run_to([request], tmp_path / "cube.zarr")
