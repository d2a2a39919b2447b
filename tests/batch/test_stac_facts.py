"""Facts known from STAC items: they reach requests, manifests and cubes, and beat those in paths."""

import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import jp2batch
from jp2batch.batch.manifest.write import write_manifest
from jp2batch.core.errors import CubeMismatch
from jp2batch.sample.product import DATE, make_image, make_product

PROPERTIES = {
    "datetime": "2023-06-02T00:07:37.093000Z",  # of the granule
    "platform": "sentinel-2b",
    "grid:code": "MGRS-1WCQ",
    "s2:processing_baseline": "05.09",
    "s2:product_title": "S2A_MSIL2A_20230602T000611_N0508_R016_T01WCQ_20230602T025701",
}
MADE = {"processing_time": "2023-06-02T02:57:01Z"}
FACTS = {"tile": "T01WCQ", "platform": "S2B", "processing_baseline": "05.09"}
SINGLE = {name: {fact} for name, fact in FACTS.items()}


@pytest.fixture
def item(tmp_path):
    """Return a function that writes an item of some images, with their keys."""
    (tmp_path / "images").mkdir()

    def write(properties: dict, keys: dict[str, str]) -> str:
        for number, name in enumerate(keys.values()):
            make_image(tmp_path / "images" / name, np.full((60, 60), 1000 + number, np.uint16), 10)
        path = tmp_path / "item.json"
        assets = {key: {"href": f"images/{name}"} for key, name in keys.items()}
        path.write_text(json.dumps({"type": "Feature", "id": "x", "properties": properties, "assets": assets}))
        return str(path)

    return write


NAMES = {"B04": "T29UNU_20221005T115411_B04_10m.jp2", "B08": "T29UNU_20221005T115411_B08_10m.jp2"}
OPAQUE = {"B04": "1.jp2", "B08": "2.jp2"}


@pytest.mark.parametrize("names", [NAMES, OPAQUE], ids=["other names", "names of nothing"])
def test_an_items_facts_beat_paths(item, names):
    requests = jp2batch.list_requests(item(PROPERTIES, names))
    for request, band in zip(requests, names, strict=True):
        assert dict(request.columns) == {"time": "2023-06-02T00:06:11Z", "band": band, "item": "x"} | FACTS | MADE
    cube = jp2batch.open_cube(requests)
    assert cube.time.values.tolist() == [np.datetime64("2023-06-02T00:06:11", "ns").astype(int)]
    assert cube.band.values.tolist() == ["B04", "B08"]
    assert cube.values[0, :, 0, 0].tolist() == [1000, 1001]
    assert {name: {*map(str, np.ravel(cube[name].values))} for name in FACTS} == SINGLE


@pytest.mark.parametrize("output", ["xarray", "results.zarr", "nc/"])
@pytest.mark.parametrize("names", [NAMES, OPAQUE], ids=["other names", "names of nothing"])
def test_facts_of_an_item_reach_results(item, names, output, tmp_path):
    requests = jp2batch.list_requests(item(PROPERTIES, names), "B04", rlevel=0)
    if output == "xarray":
        (found,) = (result.value for result in jp2batch.run(requests))
    else:
        jp2batch.run_to(requests, f"{tmp_path}/{output}", form="nc" if output == "nc/" else None)
        (path,) = tmp_path.glob("results.zarr/*/zarr.json" if output == "results.zarr" else "nc/*.nc")
        engine = {"engine": "zarr", "consolidated": False} if output == "results.zarr" else {"engine": "h5netcdf"}
        with xr.open_dataset(path.parent if output == "results.zarr" else path, **engine) as stored:
            found = stored["B04"].load()
    assert found.name == "B04"
    assert str(found.time.values)[:19] == "2023-06-02T00:06:11"
    assert {name: str(found[name].item()) for name in FACTS} == FACTS


@pytest.mark.parametrize(
    ("properties", "time", "facts"),
    [
        ({"datetime": "2023-06-02T00:07:37.093Z"}, "2023-06-02T00:07:37.093Z", {}),
        ({"datetime": None, "start_datetime": "2023-06-02T00:07:37Z"}, "2023-06-02T00:07:37Z", {}),
        (
            {"datetime": "2023-06-02T00:07:37Z", "s2:datatake_id": "GS2A_20230602T000611_041483_N05.09"},
            "2023-06-02T00:06:11Z",
            {"platform": "S2A", "processing_baseline": "05.09"},
        ),
        (
            {"sentinel2:product_uri": f"{PROPERTIES['s2:product_title']}.SAFE"},
            "2023-06-02T00:06:11Z",
            {"tile": "T01WCQ", "platform": "S2A", "processing_baseline": "05.08"} | MADE,
        ),
        (
            {
                "datetime": "2023-06-25T23:46:21Z",
                "s2:datastrip_id": "S2A_OPER_MSI_L2A_DS_2APS_20230626T022157_S20230625T234624_N05.09",
                "s2:generation_time": "2023-06-26T02:21:57.000000Z",
                "created": "2025-06-05T18:05:06.223048Z",
            },
            "2023-06-25T23:46:21Z",
            {"datastrip": "2023-06-25T23:46:24Z", "processing_time": "2023-06-26T02:21:57Z"},
        ),
        (
            {
                "datetime": "2023-06-25T23:46:21Z",
                "grid:code": "MGRS-1WCQ",
                "processing:datetime": "2023-06-26T02:21:57.123Z",
                "created": "2025-06-05T18:05:06Z",
            },
            "2023-06-25T23:46:21Z",
            {"tile": "T01WCQ", "processing_time": "2023-06-26T02:21:57Z"},
        ),
        (
            {"datetime": "2023-06-25T23:46:21Z", "grid:code": "MGRS-1WCQ", "created": "2025-06-05T18:05:06Z"},
            "2023-06-25T23:46:21Z",
            {"tile": "T01WCQ", "processing_time": "2025-06-05T18:05:06Z"},
        ),
        ({"datetime": "2023-06-25T23:46:21Z", "created": "2025-06-05T18:05:06Z"}, "2023-06-25T23:46:21Z", {}),
        ({"s2:mgrs_tile": "33TWL", "platform": "Sentinel-2C", "processing:version": "05.11"}, "2022-10-05T11:54:11Z",
         {"tile": "T33TWL", "platform": "S2C", "processing_baseline": "05.11"}),
        ({"grid:code": 5, "platform": "landsat-8", "s2:datatake_id": "none"}, "2022-10-05T11:54:11Z", {}),
    ],
)  # fmt: skip
def test_catalogues_name_facts_in_their_own_ways(item, properties, time, facts):
    (request,) = jp2batch.list_requests(item(properties, {"B04": NAMES["B04"]}))
    expected = {"time": time, "band": "B04", "tile": "T29UNU", "item": "x"} | facts
    assert dict(request.columns) == expected


def test_fractions_of_seconds_and_days_do_not_split_a_time(item):
    (request,) = jp2batch.list_requests(item({"datetime": "2022-10-05T11:54:11.024Z"}, {"B04": NAMES["B04"]}))
    day = jp2batch.Request(request.path, columns=(("time", "2022-10-05"), ("tile", 5), ("platform", "")))
    for one in (request, day, request.path):
        assert str(jp2batch.open_cube([one]).time.values[0])[:23] == "2022-10-05T11:54:11.000"


def test_metadata_beat_items(tmp_path):
    product = make_product(tmp_path, size=120, bands=["B04"])
    path = str(next(product.glob("**/*_B04_10m.jp2")))
    columns = (("time", "2023-06-02T00:07:37Z"), ("processing_baseline", "09.99"), ("tile", "T01WCQ"))
    cube = jp2batch.open_cube([jp2batch.Request(path, columns=columns)])
    assert str(cube.time.values[0])[:19] == "2022-10-05T11:54:11"
    assert (cube.processing_baseline.item(), cube.tile.item()) == ("04.00", "T01WCQ")


@pytest.mark.parametrize("bands", ["B04", "SCL"])
def test_metadata_tell_the_time_where_paths_have_the_day(tmp_path, bands):
    product = make_product(tmp_path, size=120, bands=["B04"])
    tile = tmp_path / "tiles/29/U/NU/2022/10/5/0"
    for image in product.glob("**/IMG_DATA/R20m/*.jp2"):
        band = image.name.split("_")[2]
        (tile / "R20m").mkdir(parents=True, exist_ok=True)
        (tile / "R20m" / f"{band}.jp2").write_bytes(image.read_bytes())
    (tile / "productInfo").mkdir()
    (tmp_path / "products/2022/10/5/x").mkdir(parents=True)
    (tmp_path / "products/2022/10/5/x/metadata.xml").write_bytes((product / "MTD_MSIL2A.xml").read_bytes())
    facts = {"path": str(tile), "productPath": "products/2022/10/5/x"}
    (tile / "tileInfo.json").write_text(json.dumps(facts))
    path = str(tile / f"R20m/{bands}.jp2")
    cube = jp2batch.open_cube([path])
    assert str(cube.time.values[0])[:19] == str(jp2batch.read(path).time.values)[:19] == "2022-10-05T11:54:11"
    assert (cube.platform.item(), cube.processing_baseline.item()) == ("S2A", "04.00")


def test_times_of_a_stored_cube_are_fixed_before_metadata_are_read(tmp_path):
    products = [make_product(tmp_path, size=120, bands=["B04"], date=DATE + timedelta(days=days)) for days in (0, 5)]
    paths = [str(next(product.glob("**/*_B04_10m.jp2"))) for product in products]
    times = ["2023-06-07T00:07:37Z", "2023-06-02T00:07:37Z"]  # in another order than in metadata
    requests = [jp2batch.Request(path, 0, columns=(("time", time),)) for path, time in zip(paths, times, strict=True)]
    assert jp2batch.run_to(requests, tmp_path / "cube.zarr").failed == 0
    with xr.open_dataset(tmp_path / "cube.zarr", engine="zarr", decode_coords="all") as stored:
        assert [str(time)[:10] for time in stored.time.values] == ["2023-06-02", "2023-06-07"]
        assert stored.source.values[:, 0].tolist() == paths[::-1]
        for number, path in enumerate(reversed(paths)):
            np.testing.assert_array_equal(stored["cube"][number, 0], jp2batch.read(path, 0))


def test_a_stored_cube_has_one_time_of_an_image(item, tmp_path):
    (request,) = jp2batch.list_requests(item(PROPERTIES, {"B04": "1.jp2"}))
    columns = dict(request.columns)
    same, other = (
        jp2batch.Request(request.path, columns=tuple((columns | more).items()))
        for more in ({"item": "y"}, {"time": "2024-06-02T00:06:11Z"})
    )
    assert jp2batch.run_to([request, same], tmp_path / "cube.zarr").failed == 0
    with pytest.raises(CubeMismatch, match="is listed with two times or bands"):
        jp2batch.run_to([request, other], tmp_path / "other" / "cube.zarr")


def test_a_stored_cube_has_the_facts_of_items(item, tmp_path):
    requests = jp2batch.list_requests(item(PROPERTIES, OPAQUE), rlevel=0)
    manifest = tmp_path / "manifest.csv"
    write_manifest([*requests, *requests[:1]], manifest)
    report = jp2batch.run_to(jp2batch.read_manifest(manifest), tmp_path / "cube.zarr")
    assert report.failed == 0
    with xr.open_dataset(tmp_path / "cube.zarr", engine="zarr", decode_coords="all") as stored:
        assert str(stored.time.values[0])[:19] == "2023-06-02T00:06:11"
        assert {name: {*map(str, np.ravel(stored[name].values))} for name in FACTS} == SINGLE
        assert stored["cube"].values[0, :, 0, 0].tolist() == [1000, 1001]
        assert [Path(one).name for one in stored.source.values[0]] == ["1.jp2", "2.jp2"]
