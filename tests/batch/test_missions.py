"""Another mission than Sentinel-2: its names, metadata and scaling flow into everything that is opened or listed."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import jp2batch
from jp2batch import cli
from jp2batch.core.errors import CubeMismatch, MetadataError
from jp2batch.image import missions
from jp2batch.sentinel2.mission import Sentinel2
from support.fake_mission import NODATA, QUANTITY, FakeMission

DAYS = ("20220715", "20220731")
BANDS = ("B2", "B4")
OFFSET, QUANTIFICATION = -7272.0, 36363.0


@pytest.fixture(autouse=True)
def two_missions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missions, "MISSIONS", (FakeMission(), *missions.MISSIONS))


def scene(day: str) -> str:
    return f"LC08_L2SP_195025_{day}_20220726_02_T1"


@pytest.fixture
def folder(tmp_path, image_of) -> Path:
    """Return a folder of two scenes of two bands and a mask."""
    for number, day in enumerate(DAYS):
        for band, source in (("SR_B2", "B02_60m"), ("SR_B4", "B04_60m"), ("QA_PIXEL", "B8A_60m")):
            shutil.copy(image_of(source), tmp_path / f"{scene(day)}_{band}.jp2")
        told = {"name": scene(day), "offset": OFFSET - number, "quantification": QUANTIFICATION, "bands": BANDS}
        (tmp_path / f"{scene(day)}_MTL.json").write_text(json.dumps(told))
    return tmp_path


def path_of(folder: Path, band: str, day: str = DAYS[0]) -> str:
    return str(folder / f"{scene(day)}_{band}.jp2")


def reflectance(numbers: np.ndarray, number: int = 0) -> np.ndarray:
    scaled = (numbers.astype(np.float32) + np.float32(OFFSET - number)) / np.float32(QUANTIFICATION)
    return np.where(numbers == NODATA, np.nan, scaled)


def test_missions_are_asked_in_turn(folder):
    mission, name = missions.identify(path_of(folder, "SR_B4"))
    assert isinstance(mission, FakeMission)
    assert (name.band, name.tile, name.time) == ("B4", "195025", datetime(2022, 7, 15, 10, tzinfo=UTC))
    mission, name = missions.identify("T29UNU_20221005T115411_B8A_60m.jp2")
    assert (isinstance(mission, Sentinel2), name.band) == (True, "B8A")
    assert missions.identify("image.jp2")[1] is None


@pytest.mark.parametrize("act", [jp2batch.read, lambda path: jp2batch.open(path, chunks=None)], ids=["read", "open"])
def test_its_names_and_metadata_reach_arrays(folder, act):
    array = act(path_of(folder, "SR_B4"))
    assert array.name == "B4"
    assert array.time.values == np.datetime64("2022-07-15T10")
    assert {key: array.attrs[key] for key in ("units", "nodata")} == {"units": "counts", "nodata": NODATA}
    assert (array.radiometric_offset, array.quantification_value) == (OFFSET, QUANTIFICATION)
    assert (array.tile, array.platform) == ("195025", "LC08")
    mask = act(path_of(folder, "QA_PIXEL"))
    assert {"nodata", "radiometric_offset"}.isdisjoint({*mask.attrs, *mask.coords})


def test_its_scaling_makes_reflectance(folder):
    path = path_of(folder, "SR_B4")
    numbers, scaled = jp2batch.read(path, 0), jp2batch.read(path, 0, scaled=True)
    np.testing.assert_array_equal(scaled, reflectance(numbers.values))
    np.testing.assert_array_equal(jp2batch.open(path, scaled=True), scaled)
    assert scaled.attrs["long_name"] == QUANTITY
    mask = path_of(folder, "QA_PIXEL")
    np.testing.assert_array_equal(jp2batch.read(mask, scaled=True), jp2batch.read(mask))


def test_its_missing_metadata_are_named(folder):
    for path in folder.glob("*_MTL.json"):
        path.unlink()
    with pytest.raises(MetadataError, match=r"MTL\.json"):
        jp2batch.read(path_of(folder, "SR_B4"), scaled=True)
    with pytest.raises(MetadataError, match="not of Landsat or Sentinel-2"):
        jp2batch.read("image.jp2", scaled=True)


@pytest.mark.parametrize("products", [False, True], ids=["images", "products"])
def test_a_cube_has_its_times_bands_and_scaling(folder, products):
    scenes = sorted(folder.glob("*_MTL.json"))
    images = [path_of(folder, f"SR_{band}", day) for day in DAYS for band in BANDS]
    bands = list(BANDS) if products else None
    with pytest.warns(UserWarning, match="different offsets"):
        cube = jp2batch.open_cube(scenes if products else images, bands=bands)
    assert list(cube.band.values) == (["B2", "B4"] if products else ["B4", "B2"])  # in the order of the mission
    np.testing.assert_array_equal(cube.time, np.array(["2022-07-15T10", "2022-07-31T10"], "datetime64[ns]"))
    assert cube.sel(band="B4").radiometric_offset.values.tolist() == [OFFSET, OFFSET - 1]
    assert (cube.tile, cube.attrs["nodata"]) == ("195025", NODATA)
    scaled = jp2batch.open_cube(scenes if products else images, bands=bands, scaled=True)
    for number in range(len(DAYS)):
        numbers = cube.sel(band="B4")[number].values
        np.testing.assert_array_equal(scaled.sel(band="B4")[number], reflectance(numbers, number))
    assert set(scaled.quantity.values) == {QUANTITY}


def test_a_cube_is_filled_with_its_no_data(folder):
    images = [path_of(folder, "SR_B2"), path_of(folder, "SR_B4"), path_of(folder, "SR_B2", DAYS[1])]
    with pytest.warns(UserWarning, match="different offsets"):
        cube = jp2batch.open_cube(images, missing="fill")
    assert (cube.sel(band="B4")[1].values == NODATA).all()
    with pytest.raises(CubeMismatch, match="no-data value of QA_PIXEL is not 9999"):
        jp2batch.open_cube([*images[:1], path_of(folder, "QA_PIXEL", DAYS[1])], missing="fill")


def test_a_cube_is_of_one_mission(folder, image_of):
    with pytest.raises(CubeMismatch, match="Landsat and Sentinel-2"):
        jp2batch.open_cube([path_of(folder, "SR_B4"), image_of("B04_60m")])


def test_its_products_open_as_a_tree(folder):
    tree = jp2batch.open_product(folder / f"{scene(DAYS[0])}_MTL.json", scaled=True)
    assert set(tree["R30m"].data_vars) == set(BANDS)
    assert (tree.attrs["product"], tree.attrs["platform"]) == (scene(DAYS[0]), "LC08")
    assert tree["R30m"]["B4"].attrs["long_name"] == QUANTITY


def test_its_products_and_images_are_listed(folder, product):
    sources = [folder / f"{scene(DAYS[0])}_MTL.json", path_of(folder, "SR_B4", DAYS[1]), product]
    found = jp2batch.list_requests(sources, bands="B4,B04")
    columns = [dict(request.columns) for request in found]
    assert [row["band"] for row in columns] == ["B4", "B4", "B04"]
    assert [row["time"][:13] for row in columns[:2]] == ["2022-07-15T10", "2022-07-31T10"]
    assert [row["tile"] for row in columns[:2]] == ["195025"] * 2
    assert len(jp2batch.list_requests(sources[:2], metres=30)) == 3


def test_its_assets_are_found_in_stac_items(tmp_path):
    item = {"type": "Feature", "id": "one", "assets": {"red": {"href": "red.jp2"}, "B08": {"href": "nir.jp2"}}}
    (tmp_path / "item.json").write_text(json.dumps(item))
    found = jp2batch.list_requests(tmp_path / "item.json")
    assert [dict(request.columns)["band"] for request in found] == ["B4", "B08"]


def test_its_products_become_a_manifest(folder, tmp_path):
    done = CliRunner().invoke(cli.main, ["manifest", str(folder / f"{scene(DAYS[0])}_MTL.json")])
    assert done.exit_code == 0, done.output
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(done.stdout)
    rows = [dict(request.columns) for request in jp2batch.read_manifest(manifest)]
    assert [(row["band"], row["tile"]) for row in rows] == [("B2", "195025"), ("B4", "195025")]
