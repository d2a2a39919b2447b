"""Facts of images: coordinates that series keep, so that numbers of 2021 and 2022 become the right reflectance."""

import pickle
import warnings
from datetime import UTC, datetime
from pathlib import Path

import dask
import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401  # gives arrays their accessor
import xarray as xr

import jp2batch
from jp2batch.array.formats import write
from jp2batch.core.request import Request
from jp2batch.image.read import read_pixels
from jp2batch.sample.product import make_image, make_product

NUMBER = 4980
TRUTH = [0.498, 0.398]
"""Reflectance of the same number, before and since baseline 04.00."""
SERIES = {"coords": "different", "compat": "equals"}
"""Options of concatenation that keep the facts of each image, in all versions of xarray."""
TEXTS = ("source", "tile", "platform", "processing_baseline")


def of_before(product: Path) -> Path:
    """Turn a product into one of baseline 03.01, without offsets."""
    renamed = product.rename(product.with_name(product.name.replace("_N0400_", "_N0301_")))
    metadata = renamed / "MTD_MSIL2A.xml"
    text = metadata.read_text().replace("04.00", "03.01").replace(product.name, renamed.name)
    start, _, others = text.partition("<BOA_ADD_OFFSET_VALUES_LIST>")
    metadata.write_text(start + others.partition("</BOA_ADD_OFFSET_VALUES_LIST>")[2])
    return renamed


@pytest.fixture(scope="module")
def products(tmp_path_factory) -> list[Path]:
    """Return products of 2021 and 2022 with equal numbers."""
    folder = tmp_path_factory.mktemp("facts")
    dates = [datetime(year, 6, 5, 11, 54, 11, tzinfo=UTC) for year in (2021, 2022)]
    made = [make_product(folder, date=date, size=120, bands=["B04", "B8A"]) for date in dates]
    products = [of_before(made[0]), made[1]]
    for product in products:
        for metres in (10, 20, 60):
            pixels = np.full((1200 // metres, 1200 // metres), NUMBER, np.uint16)
            make_image(image(product, metres), pixels, metres)
    return products


def image(product: Path, metres: int = 20, band: str = "B04") -> str:
    return str(next(product.glob(f"**/*_{band}_{metres}m.jp2")))


def by_recipe(numbers: xr.DataArray) -> xr.DataArray:
    """Scale numbers as docs/reading.md says."""
    offset, quantification = numbers.radiometric_offset, numbers.quantification_value
    return (numbers.where(numbers > 0).astype("float32") + offset) / quantification


def read(products: list[Path], **options) -> xr.DataArray:
    return xr.concat([jp2batch.read(image(one), 0, **options) for one in products], "time", **SERIES)


def opened(products: list[Path], **options) -> xr.DataArray:
    return xr.concat([jp2batch.open(image(one), **options) for one in products], "time", **SERIES)


def files(products: list[Path], **options) -> xr.DataArray:
    together = {"combine": "nested", "concat_dim": "time"} | SERIES
    with xr.open_mfdataset(map(image, products), engine="jp2batch", **together, **options) as dataset:
        return dataset.B04.load()


def trees(products: list[Path], **options) -> xr.DataArray:
    found = [jp2batch.open_product(one, ["B04", "B8A", "SCL"], **options)["R20m"].to_dataset() for one in products]
    return xr.concat(found, "time", data_vars="all", **SERIES).B04


def cube(products: list[Path], **options) -> xr.DataArray:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "numbers of different times have different offsets")
        return jp2batch.open_cube(products, bands="B04", metres=20, **options).sel(band="B04")


WAYS = pytest.mark.parametrize("way", [read, opened, files, trees, cube])


@WAYS
@pytest.mark.parametrize("scaled", [False, True], ids=["by recipe", "scaled"])
def test_a_series_across_baselines_has_the_right_reflectance(products, way, scaled):
    series = way(products, scaled=scaled)
    reflectance = series if scaled else by_recipe(series)
    assert series.sizes == {"time": 2, "y": 60, "x": 60}
    assert reflectance.dtype == np.float32
    np.testing.assert_allclose(reflectance.mean(("y", "x")), TRUTH, rtol=1e-6)


@WAYS
@pytest.mark.parametrize("scaled", [False, True], ids=["numbers", "scaled"])
def test_facts_of_each_image_are_coordinates(products, way, scaled):
    series = way(products, scaled=scaled)
    sources = [str(one) if way is trees else image(one) for one in products]
    assert series.source.values.tolist() == sources
    assert series.processing_baseline.values.tolist() == ["03.01", "04.00"]
    assert series.time.values.astype("datetime64[s]").astype(str).tolist() == [
        "2021-06-05T11:54:11",
        "2022-06-05T11:54:11",
    ]
    assert {*np.atleast_1d(series.tile.values)} == {"T29UNU"}
    assert {*np.atleast_1d(series.platform.values)} == {"S2A"}
    assert ("radiometric_offset" in series.coords, "quantification_value" in series.coords) == (not scaled, not scaled)
    if not scaled:
        assert series.radiometric_offset.values.tolist() == [0, -1000]
        assert {*np.atleast_1d(series.quantification_value.values)} == {10000}
    assert {*series.attrs}.isdisjoint({*series.coords, "source"})


@WAYS
@pytest.mark.parametrize("scaled", [False, True], ids=["numbers", "scaled"])
@pytest.mark.parametrize("engine", ["zarr", "h5netcdf"])
def test_facts_survive_being_written(products, way, scaled, engine, tmp_path):
    series, path = way(products, scaled=scaled).drop_vars("band", errors="ignore"), str(tmp_path / "written")
    if engine == "zarr":
        series.to_zarr(path, consolidated=False)
    else:
        series.to_netcdf(path, engine=engine)
    options = {"consolidated": False} if engine == "zarr" else {}
    with xr.open_dataarray(path, engine=engine, decode_coords="all", backend_kwargs=options) as again:
        xr.testing.assert_equal(again.load(), series)
        assert {*again.coords} == {*series.coords}


@pytest.mark.parametrize("engine", ["zarr", "h5netcdf"])
def test_facts_of_one_image_survive_being_written(products, engine, tmp_path):
    numbers, path = jp2batch.open(image(products[1])), str(tmp_path / "written")
    if engine == "zarr":
        numbers.to_zarr(path, consolidated=False)
    else:
        numbers.to_netcdf(path, engine=engine)
    options = {"consolidated": False} if engine == "zarr" else {}
    with xr.open_dataarray(path, engine=engine, decode_coords="all", backend_kwargs=options) as again:
        xr.testing.assert_equal(again.load(), numbers)
        np.testing.assert_allclose(by_recipe(again).mean(), TRUTH[1], rtol=1e-6)


def test_facts_do_not_hinder_rioxarray_and_processes(products, tmp_path):
    numbers = jp2batch.open(image(products[0]))
    numbers.rio.to_raster(tmp_path / "numbers.tif")
    assert numbers.rio.clip_box(*numbers.rio.bounds()).platform == "S2A"
    again = pickle.loads(pickle.dumps(numbers))
    xr.testing.assert_identical(again.compute(), numbers.compute())
    assert dask.base.tokenize(again) == dask.base.tokenize(jp2batch.open(image(products[0])))


def test_facts_are_the_tags_of_a_geotiff(products, tmp_path):
    write(read_pixels(Request(image(products[0]))), str(tmp_path / "b.tif"))
    with rasterio.open(tmp_path / "b.tif") as written:
        tags = written.tags()
    assert (tags["time"], tags["source"], tags["tile"]) == ("2021-06-05T11:54:11", image(products[0]), "T29UNU")
    assert (tags["processing_baseline"], tags["radiometric_offset"], tags["platform"]) == ("03.01", "0.0", "S2A")


def test_plain_concatenation_is_right_as_well(products):
    numbers = [jp2batch.read(image(one)) for one in products]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "In a future version of xarray", FutureWarning)
        series = xr.concat(numbers, "time")
    np.testing.assert_allclose(by_recipe(series).mean(("y", "x")), TRUTH, rtol=1e-6)


@pytest.mark.parametrize("engine", ["zarr", "h5netcdf"])
def test_datasets_of_a_product_survive_being_written(products, engine, tmp_path):
    dataset, path = jp2batch.open_product(products[1])["R20m"].to_dataset(), str(tmp_path / "written")
    if engine == "zarr":
        dataset.to_zarr(path, consolidated=False)
    else:
        dataset.to_netcdf(path, engine=engine)
    options = {"consolidated": False} if engine == "zarr" else {}
    with xr.open_dataset(path, engine=engine, decode_coords="all", backend_kwargs=options) as again:
        xr.testing.assert_equal(again.load(), dataset)


def test_bands_of_one_product_merge_without_their_paths(products):
    paths = [image(products[1], 20, band) for band in ("B04", "B8A")]
    with xr.open_mfdataset(paths, engine="jp2batch", drop_variables="source", compat="equals") as dataset:
        assert (dataset.B04.radiometric_offset, dataset.B8A.tile) == (-1000, "T29UNU")
    bands = [jp2batch.open(image(products[1], 20, band)).drop_vars("source") for band in ("B04", "B8A")]
    merged = xr.merge(bands, join="exact", compat="equals", combine_attrs="drop_conflicts")
    assert merged.radiometric_offset == -1000
    ratio = bands[0] / bands[1]  # coordinates that agree are kept
    assert (ratio.platform, ratio.time) == ("S2A", bands[0].time)


def test_a_fact_in_which_bands_of_a_product_differ_has_their_names(products, tmp_path):
    product = make_product(tmp_path, size=120, bands=["B04", "B8A"])
    metadata = product / "MTD_MSIL2A.xml"
    metadata.write_text(metadata.read_text().replace('band_id="8">-1000<', 'band_id="8">-900<'))
    dataset = jp2batch.open_product(product)["R20m"].ds
    assert (dataset.radiometric_offset_B04, dataset.radiometric_offset_B8A) == (-1000, -900)
    assert dataset.quantification_value == 10000
    assert "radiometric_offset" not in dataset.coords


@pytest.mark.parametrize("band", ["SCL", "TCI", "AOT"])
def test_only_reflectance_has_a_scaling(products, band):
    for array in (jp2batch.read(image(products[1], band=band)), jp2batch.open(image(products[1], band=band))):
        assert {"radiometric_offset", "quantification_value"}.isdisjoint(array.coords)
        assert array.processing_baseline == "04.00"


@pytest.mark.parametrize("act", [jp2batch.read, jp2batch.open])
def test_metadata_beat_the_path(products, act, tmp_path):
    product = make_product(tmp_path, size=120, bands=["B04"])
    metadata = product / "MTD_MSIL2A.xml"
    text = metadata.read_text().replace("04.00", "05.10")
    metadata.write_text(
        text.replace("<PRODUCT_URI>", "<DATATAKE_SENSING_START>2022-10-05T12:00:01.024Z</DATATAKE_SENSING_START>"
                     "<SPACECRAFT_NAME>Sentinel-2B</SPACECRAFT_NAME><PRODUCT_URI>")
    )  # fmt: skip
    arrays = [act(image(product)), act(image(product), scaled=True), act(image(product, band="SCL"))]
    arrays += jp2batch.open_product(product)["R20m"].ds.data_vars.values()
    for array in arrays:
        assert str(array.time.values)[:23] == "2022-10-05T12:00:01.000"
        assert (array.processing_baseline, array.platform) == ("05.10", "S2B")
    (request,) = jp2batch.list_requests(product, "SCL")
    assert dict(request.columns)["time"] == "2022-10-05T12:00:01Z"


def test_an_image_of_another_name_has_its_path_only(tmp_path):
    path = make_image(tmp_path / "image.jp2", np.ones((60, 60), np.uint16), 20)
    assert {*jp2batch.read(str(path)).coords} == {"x", "y", "spatial_ref", "source"}
