"""A search of a STAC catalogue becomes a cube and product trees, with the numbers of its images."""

import copy
import gzip
import json
import warnings
import weakref
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pystac
import pytest

import jp2batch
from jp2batch.core.errors import (
    CubeMismatch,
    InvalidRequest,
    Jp2BatchError,
    ManifestError,
    MetadataError,
    PermissionDenied,
)
from jp2batch.sample.product import make_image, make_series

FILE = Path(__file__).resolve().parents[1] / "support" / "stac" / "items.ndjson.gz"
ITEMS = [json.loads(line) for line in gzip.decompress(FILE.read_bytes()).splitlines()]
CDSE, EARTH_SEARCH = ITEMS[11], ITEMS[9]


@pytest.fixture(scope="module")
def products(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("products")
    return list(make_series(folder, 2, size=1098, bands=["B04", "B08", "B11"]))


def of_product(item: dict, product: Path) -> dict:
    """Return a real item, with the files and the name of a sample product."""
    item = copy.deepcopy(item)
    files = {path.stem.split("_", 2)[2]: path for path in product.rglob("IMG_DATA/**/*.jp2")}
    item["assets"] = {key: asset | {"href": str(files[key])} for key, asset in item["assets"].items() if key in files}
    for asset in item["assets"].values():
        asset["alternate"]["https"]["href"] = "https://host.example/1.jp2"
    item["id"] = product.name.removesuffix(".SAFE")
    day = product.name[11:26]
    time = f"{day[:4]}-{day[4:6]}-{day[6:11]}:{day[11:13]}:{day[13:]}.024Z"
    item["properties"] = {
        key: value for key, value in item["properties"].items() if not key.startswith(("eopf", "processing"))
    } | {"datetime": time, "grid:code": "MGRS-29UNU", "platform": "sentinel-2a", "sat:relative_orbit": 23}
    return item


@pytest.fixture(scope="module")
def search(products) -> dict:
    """Return a feature collection, as a search of CDSE returns it."""
    features = [of_product(CDSE, product) for product in products]
    return {"type": "FeatureCollection", "features": features, "links": [{"rel": "next", "href": "https://host/2"}]}


@pytest.fixture(scope="module")
def bbox(products) -> tuple[float, ...]:
    whole = jp2batch.read(next(products[0].rglob("*_B04_20m.jp2")), 0)
    x, y = whole.x.values, whole.y.values
    return (float(x[20]) - 9, float(y[60]) - 9, float(x[50]) + 9, float(y[30]) + 9)


def image(product: Path, name: str) -> str:
    return str(next(product.rglob(f"*_{name}.jp2")))


def test_a_search_becomes_a_cube_in_one_line(search, bbox, products):
    collection = pystac.ItemCollection.from_dict(search)
    cube = jp2batch.open_cube(collection, bbox=bbox, crs=32629, bands=["red", "nir", "scl"], resolution=10)
    assert cube.band.values.tolist() == ["red", "nir", "scl"]
    assert [str(time)[:19] for time in cube.time.values] == ["2022-10-05T11:54:11", "2022-10-10T11:54:11"]
    for number, product in enumerate(products):
        scl = jp2batch.read(image(product, "SCL_20m"), 0).values[30:61, 20:51]
        np.testing.assert_array_equal(cube.sel(band="scl")[number], scl.repeat(2, axis=0).repeat(2, axis=1))
        for name, band in (("red", "B04"), ("nir", "B08")):
            whole = jp2batch.read(image(product, f"{band}_10m"), 0).values
            np.testing.assert_array_equal(cube.sel(band=name)[number], whole[60:122, 40:102])
    assert set(cube.tile.values.ravel()) == {"T29UNU"}


@pytest.mark.parametrize("resolution", [10, 20, 60])
def test_items_give_the_image_of_the_resolution(search, resolution, products):
    cube = jp2batch.open_cube(search, bands=["red"], resolution=resolution)
    (request, _) = jp2batch.list_requests(search, "red", resolution=resolution)
    assert cube.source.values[0, 0] == request.path == image(products[0], f"B04_{resolution}m")
    np.testing.assert_array_equal(cube[0, 0], jp2batch.read(request.path, 0))


def test_metres_choose_images_of_items(search, products):
    cube = jp2batch.open_cube(search, bands="B04", metres=60)
    assert cube.source.values[1, 0] == image(products[1], "B04_60m")
    with pytest.raises(InvalidRequest, match="no image of B08 at 60 m"):
        jp2batch.open_cube(search, bands="nir", metres=60)


FORMS = {
    "dict": lambda search: search,
    "list": lambda search: search["features"],
    "tuple": lambda search: tuple(search["features"]),
    "generator": lambda search: (item for item in search["features"]),
    "item collection": pystac.ItemCollection.from_dict,
    "items": lambda search: map(pystac.Item.from_dict, search["features"]),
    "pages": lambda search: [search | {"features": [one]} for one in search["features"]],
    "mixed": lambda search: [pystac.Item.from_dict(search["features"][0]), search["features"][1]],
}


@pytest.mark.parametrize("form", FORMS)
def test_items_in_memory_have_every_form(search, form):
    expected = jp2batch.list_requests(search, ["red", "nir"])
    assert [dict(one.columns)["band"] for one in expected] == ["B04", "B08"] * 2
    assert jp2batch.list_requests(FORMS[form](search), ["red", "nir"]) == expected
    cube = jp2batch.open_cube(FORMS[form](search), bands=["red", "nir"], rlevel=-1)
    assert cube.identical(jp2batch.open_cube(search, bands=["red", "nir"], rlevel=-1))


def write_parquet(search: dict, path: Path) -> None:
    """Write items as stac-geoparquet does: properties are columns, times are timestamps, absent assets are null."""
    rows = [
        {
            **item,
            **item["properties"],
            "datetime": datetime.fromisoformat(item["properties"]["datetime"]),
            "geometry": b"x",
        }
        for item in copy.deepcopy(search["features"])
    ]
    names = sorted({key for row in rows for key in row} - {"properties"})
    columns = {name: pa.array([row.get(name) for row in rows]) for name in names}
    pq.write_table(pa.table(columns), path)


def write_real_parquet(search: dict, path: Path) -> None:
    arrow = pytest.importorskip("stac_geoparquet.arrow")
    features = [one | {"bbox": [0, 0, 1, 1], "geometry": POLYGON} for one in copy.deepcopy(search["features"])]
    del features[0]["assets"]["B08_10m"]["gsd"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arrow.to_parquet(arrow.parse_stac_items_to_arrow(features), path)


POLYGON = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}

WRITERS = {
    "items.json": lambda search, path: path.write_text(json.dumps(search)),
    "items.geojson": lambda search, path: path.write_text(json.dumps(search["features"])),
    "items.ndjson": lambda search, path: path.write_text("".join(json.dumps(one) + "\n" for one in search["features"])),
    "pages.jsonl": lambda search, path: path.write_text(f"{json.dumps(search)}\n\n"),
    "items.ndjson.gz": lambda search, path: path.write_bytes(
        gzip.compress("\n".join(map(json.dumps, search["features"])).encode())
    ),
    "items.parquet": write_parquet,
    "real.parquet": write_real_parquet,
}


@pytest.mark.parametrize("name", WRITERS)
def test_files_of_items_have_every_form(search, tmp_path, name):
    WRITERS[name](search, tmp_path / name)
    expected = jp2batch.list_requests(search, ["red", "nir"])
    for source in (tmp_path / name, str(tmp_path / name), [tmp_path / name]):
        found = jp2batch.list_requests(source, ["red", "nir"])
        assert found == expected
        assert [request.columns for request in found] == [request.columns for request in expected]
    assert jp2batch.open_cube(tmp_path / name, bands=["red"]).shape == (2, 1, 1098, 1098)


def test_rows_of_parquet_lack_what_the_items_lack(search, tmp_path):
    """A column of a struct has all assets of all items: those absent from an item are null."""
    other = copy.deepcopy(search)
    del other["features"][0]["assets"]["B08_10m"]
    write_parquet({"features": [*search["features"][1:], other["features"][0]]}, tmp_path / "items.parquet")
    found = jp2batch.list_requests(tmp_path / "items.parquet", ["red", "nir"])
    assert [dict(one.columns)["band"] for one in found] == ["B04", "B08", "B04"]


def test_products_paths_requests_and_items_are_mixed(search, products):
    expected = jp2batch.open_cube(search, bands=["red"])
    path = image(products[1], "B04_10m")
    for other in (products[1], path, jp2batch.Request(path)):
        cube = jp2batch.open_cube([search["features"][0], other], bands=["red"])
        np.testing.assert_array_equal(cube, expected)
        assert cube.band.values.tolist() == ["red"]
    assert len(jp2batch.list_requests([search["features"][0], products[1], path], "red")) == 3


@pytest.mark.parametrize("form", [dict, pystac.Item.from_dict])
def test_an_item_opens_as_a_product(search, products, form):
    tree = jp2batch.open_product(form(search["features"][0]), bands=["red", "nir", "scl"])
    plain = jp2batch.open_product(products[0], bands=["B04", "B08", "SCL"])
    assert {*tree["R10m"].data_vars} == {"red", "nir"}
    assert {*tree["R20m"].data_vars} == {"red", "scl"}
    np.testing.assert_array_equal(tree["R10m"]["red"], plain["R10m"]["B04"])
    assert tree.attrs == plain.attrs


def test_an_item_file_opens_as_a_product(search, tmp_path):
    (tmp_path / "item.json").write_text(json.dumps(search["features"][0]))
    assert "B04" in jp2batch.open_product(tmp_path / "item.json", "B04")["R10m"]
    (tmp_path / "items.json").write_text(json.dumps(search))
    with pytest.raises(InvalidRequest, match=r"items\.json: has 2 items, but a product is one .*open_cube"):
        jp2batch.open_product(tmp_path / "items.json", "B04")


def test_products_have_common_names_too(products):
    tree = jp2batch.open_product(products[0], bands="red,swir16")
    assert {*tree["R20m"].data_vars} == {"red", "swir16"}
    cube = jp2batch.open_cube(products, bands=["swir16", "B04", "b08"])
    assert cube.band.values.tolist() == ["swir16", "B04", "B08"]
    assert cube.equals(jp2batch.open_cube(products, bands=["B11", "B04", "B08"]).assign_coords(band=cube.band))


@pytest.mark.parametrize("open_", [jp2batch.open_cube, jp2batch.list_requests, jp2batch.open_product])
def test_two_names_of_a_band_are_refused(search, open_):
    with pytest.raises(InvalidRequest, match="red and B04 are one band"):
        open_(search["features"][0], bands=["red", "B04"])


def test_bands_are_required_for_items(search):
    with pytest.raises(CubeMismatch, match="bands are required when opening a STAC item"):
        jp2batch.open_cube(search)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ({"type": "Collection", "id": "x", "assets": {}}, "a STAC Collection, not its items"),
        ({}, "not a STAC item"),
        ([{"type": "Feature"}], "not a STAC item"),
        ([5], "a path must be text, not int"),
        (b"{}", "a path must be text, not bytes"),
        (pystac.Catalog("x", "y"), "a STAC Catalog, not its items"),
    ],
)
def test_other_objects_say_what_they_are(source, problem):
    for open_ in (jp2batch.open_cube, jp2batch.list_requests):
        with pytest.raises(InvalidRequest, match=problem):
            open_(source, bands=["red"])


def test_an_empty_search_says_so():
    with pytest.raises(CubeMismatch, match="no images given"):
        jp2batch.open_cube({"type": "FeatureCollection", "features": []}, bands=["red"])
    with pytest.raises(InvalidRequest, match="no sources given"):
        jp2batch.list_requests(pystac.ItemCollection([]))


def test_relative_paths_of_pystac_are_relative_to_the_item(products, search, tmp_path):
    item = pystac.Item.from_dict(copy.deepcopy(search["features"][0]))
    item.set_self_href(str(tmp_path / "item.json"))
    item.make_asset_hrefs_relative()
    assert item.assets["B04_10m"].href.startswith("../")
    item.save_object(dest_href=str(tmp_path / "item.json"))
    expected = [image(products[0], "B04_10m")]
    assert [one.path for one in jp2batch.list_requests(item, "red")] == expected
    read = pystac.Item.from_file(str(tmp_path / "item.json"))
    assert [one.path for one in jp2batch.list_requests(read, "red")] == expected


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"PAR1 and no more", "this Parquet is damaged"),
        (b'{"type": "Feature", "assets": {}}\n{"type"', "line 2 is not JSON"),
        (b'{"type": "Feature"', "this is not JSON"),
        (b"\x89PNG", "not JSON"),
        (b"", "not JSON"),
        (b'{"a": 1}\n{"b": 2}\n', "not a STAC item"),
    ],
)
def test_files_of_other_content_say_so(tmp_path, content, problem):
    (tmp_path / "items.ndjson").write_bytes(content)
    with pytest.raises(ManifestError, match=rf"items\.ndjson: .*{problem}"):
        jp2batch.list_requests(tmp_path / "items.ndjson")


def test_a_table_of_other_rows_says_so(tmp_path):
    pq.write_table(pa.table({"path": ["1.jp2"]}), tmp_path / "items.parquet")
    with pytest.raises(ManifestError, match="this is Parquet, but not of STAC items"):
        jp2batch.list_requests(tmp_path / "items.parquet")


def test_a_search_is_read_page_by_page(search):
    """A search of pystac-client gives its items one by one."""

    class Search:
        def items_as_dicts(self):
            yield from search["features"]

    assert jp2batch.list_requests(Search(), "red") == jp2batch.list_requests(search, "red")


def test_items_are_not_kept(search):
    """Of each item of a stream only the images asked for remain."""
    alive = weakref.WeakSet()

    class Item(dict):
        __hash__ = object.__hash__

    def items():
        for number in range(50):
            one = Item(search["features"][0])
            one["id"] = str(number)
            alive.add(one)
            yield one
            del one
            assert len(alive) <= 2

    assert len(jp2batch.list_requests(items(), "red")) == 50


def test_pages_of_a_search_may_overlap(search, products):
    first = search["features"][0]
    once = jp2batch.open_cube([first], bands=["red"])
    for again in (first, products[0], image(products[0], "B04_10m")):
        assert jp2batch.open_cube([first, again], bands=["red"]).equals(once)
        assert jp2batch.open_cube([again, first], bands=["red"]).equals(once)
    assert jp2batch.list_requests([first, first], "red") == jp2batch.list_requests(first, "red")


def test_clouds_of_items_are_masked(search, products):
    area = {"bands": ["red"], "resolution": 10, "mask": "clouds", "scaled": True}
    found = jp2batch.open_cube(search, **area)
    np.testing.assert_array_equal(found, jp2batch.open_cube(products, **area))
    assert found.band.values.tolist() == ["red"]


@pytest.mark.parametrize(
    ("bands", "problem"),
    [
        ("rededge", "rededge is the name of several bands .give rededge071 or .*rededge1 or"),
        ("swir", "swir is the name of several bands .give swir16 or swir22"),
        ("foo", "no image of FOO .available: AOT, B01"),
        ("cirrus", "no image of B10 .available: AOT, B01"),
    ],
)
def test_names_of_no_band_say_so(bands, problem):
    for open_ in (jp2batch.open_cube, jp2batch.list_requests, jp2batch.open_product):
        with pytest.raises(InvalidRequest, match=problem):
            open_(CDSE, bands=bands)


@pytest.mark.parametrize("alternate", [5, "", ["s3"]])
def test_an_alternate_is_a_name(search, alternate):
    for open_ in (jp2batch.open_cube, jp2batch.list_requests, jp2batch.open_product):
        with pytest.raises(InvalidRequest, match=r"alternate .* is not a name"):
            open_(search["features"][0], bands="red", alternate=alternate)


@pytest.mark.parametrize("href", ["a\n.jp2", "a\0.jp2"])
def test_control_characters_are_refused(href):
    item = {"type": "Feature", "id": "x", "assets": {"B04": {"href": href}}}
    with pytest.raises(InvalidRequest, match="a path holds a control character"):
        jp2batch.list_requests(item)


def test_messages_hold_no_secrets(search):
    secret = "S3CR3T"
    item = copy.deepcopy(search["features"][0])
    item |= {"id": f"https://u:{secret}@host/x?sig={secret}", "collection": f"https://u:{secret}@host/y"}
    item["assets"] = {"B04": {"href": "B04.tif", "alternate": {f"{secret} x": {"href": f"s3://u:{secret}@x/B04.jp2"}}}}
    for alternate in (None, "other"):
        for one in (item, item | {"assets": {}}):
            with pytest.raises(Jp2BatchError) as caught:
                jp2batch.open_cube(one, bands=["B04", "B08"], alternate=alternate)
            assert secret not in str(caught.value)


def test_the_url_of_an_item_is_read(http_server, search):
    item = search["features"][0]
    http_server.files[f"v1/collections/sentinel-2-l2a/items/{item['id']}"] = json.dumps(item).encode()
    url = http_server.url(f"v1/collections/sentinel-2-l2a/items/{item['id']}")
    assert jp2batch.list_requests(url, "red") == jp2batch.list_requests(item, "red")
    assert "red" in jp2batch.open_product(url, "red")["R10m"]


# Scaling


@pytest.fixture
def loose(tmp_path):
    """Return a function that makes an item of an image without metadata."""
    make_image(tmp_path / "1.jp2", np.full((60, 60), 3000, np.uint16), 10)

    def make(baseline: str | None, raster: dict, **properties: object) -> dict:
        facts = {"datetime": "2023-06-02T00:06:11Z", "grid:code": "MGRS-29UNU", "s2:product_type": "S2MSI2A"}
        told = {} if baseline is None else {"s2:processing_baseline": baseline}
        asset = {"href": str(tmp_path / "1.jp2"), "type": "image/jp2", "gsd": 10} | raster
        return {"type": "Feature", "id": "x", "properties": facts | told | properties, "assets": {"red-jp2": asset}}

    return make


def of_version(version: str, offset: float) -> dict:
    """Return scale and offset as in three versions of the raster extension."""
    return {
        "raster:bands": {"raster:bands": [{"scale": 0.0001, "offset": offset}]},
        "bands": {"bands": [{"name": "B04", "raster:scale": 0.0001, "raster:offset": offset}]},
        "asset": {"raster:scale": 0.0001, "raster:offset": offset},
    }[version]


@pytest.mark.parametrize("version", ["raster:bands", "bands", "asset"])
@pytest.mark.parametrize("properties", [{}, {"earthsearch:boa_offset_applied": True}], ids=["plain", "COGs converted"])
@pytest.mark.parametrize(("baseline", "offset"), [
    ("05.09", -0.1), ("04.00", -0.1), ("02.14", 0), ("03.01", 0), (None, -0.1), (None, 0),
])  # fmt: skip
def test_an_items_scaling_serves_without_metadata(loose, version, properties, baseline, offset):
    expected = 0.3 + offset
    item = loose(baseline, of_version(version, offset), **properties)
    cube = jp2batch.open_cube(item, bands=["red"], scaled=True)
    np.testing.assert_allclose(cube, expected, rtol=1e-6)
    np.testing.assert_allclose(jp2batch.open_product(item, "red", scaled=True)["R10m"]["red"], expected, rtol=1e-6)
    stored = jp2batch.open_cube(item, bands=["red"])
    assert (stored == 3000).all()
    np.testing.assert_allclose((stored + stored.radiometric_offset) / stored.quantification_value, expected, rtol=1e-6)


@pytest.mark.parametrize(("baseline", "offset"), [("05.09", 0), ("02.14", -0.1)])
def test_an_items_scaling_that_cannot_be_true_is_refused(loose, baseline, offset):
    """Numbers of ESA have an offset since baseline 04.00: the item speaks of converted numbers."""
    item = loose(baseline, of_version("raster:bands", offset))
    for open_ in (jp2batch.open_cube, jp2batch.open_product):
        with pytest.raises(MetadataError, match=f"does not fit baseline {baseline}.*scaled=False"):
            open_(item, bands=["red"], scaled=True)
        assert "radiometric_offset" not in open_(item, bands=["red"]).coords


def test_without_any_scaling_it_is_unknown(loose):
    for open_ in (jp2batch.open_cube, jp2batch.open_product):
        with pytest.raises(MetadataError, match="scaled=False"):
            open_(loose("05.09", {}), bands=["red"], scaled=True)


@pytest.mark.parametrize("offset", [-0.1, 0, -0.2])
def test_metadata_beat_the_item_and_are_applied_once(search, products, offset):
    item = copy.deepcopy(search["features"][0])
    item["assets"]["B04_10m"] |= {"raster:offset": offset}
    expected = jp2batch.read(image(products[0], "B04_10m"), 0, scaled=True)
    for open_ in (jp2batch.open_cube, lambda *a, **k: jp2batch.open_product(*a, **k)["R10m"]["red"]):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = open_(item, bands=["red"], scaled=True)
        np.testing.assert_array_equal(np.squeeze(found), expected)
        texts = [str(one.message) for one in caught]
        assert [("STAC item has offset" in text, "which are used" in text) for text in texts] == [(True, True)] * (
            offset != -0.1
        )


# Access


@pytest.mark.parametrize(
    ("extra", "advice"),
    [
        ({"auth:refs": ["oidc"]}, 'bearer token.*Authorization.*alternate="s3"'),
        ({"auth:refs": ["signed"]}, r"signed URL.*jp2batch\.signers"),
        ({"auth:refs": ["key"]}, "API key.*headers"),
        ({"storage:refs": ["paid"]}, "the requester pays.*requester_pays"),
        ({"storage:requester_pays": True}, "the requester pays.*requester_pays"),
        ({"storage:refs": ["other"]}, "endpoint_url.*https://s3.example.org"),
        ({"storage:refs": ["paid", "other"]}, "endpoint_url"),
    ],
    ids=json.dumps,
)
def test_a_refusal_comes_with_the_advice_of_the_item(http_server, extra, advice):
    http_server.fault = 401
    item = {
        "type": "Feature",
        "id": "x",
        "properties": {
            "datetime": "2023-06-02T00:06:11Z",
            "auth:schemes": {
                "oidc": {"type": "openIdConnect"},
                "signed": {"type": "signedUrl"},
                "key": {"type": "apiKey"},
            },
            "storage:schemes": {
                "paid": {"type": "custom-s3", "platform": "https://paid.example.org", "requester_pays": True},
                "other": {"type": "custom-s3", "platform": "https://s3.example.org"},
            },
        },
        "assets": {"B04": {"href": http_server.url("1.jp2"), "alternate": {"s3": {"href": "s3://x/1.jp2"}}} | extra},
    }
    for open_ in (jp2batch.open_cube, jp2batch.open_product):
        with pytest.raises(PermissionDenied, match=advice) as caught:
            open_(item, bands=["B04"])
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("assets", "alternate", "expected"),
    [
        ({"href": "s3://a/B04.jp2", "alternate": {"https": {"href": "https://a/B04.jp2"}}}, None, "s3://a/B04.jp2"),
        ({"href": "odd://a/B04.jp2", "alternate": {"https": {"href": "https://a/B04.jp2"}}}, None, "https://a/B04.jp2"),
        ({"href": "https://a/B04.tif", "alternate": {"raw": {"href": "s3://a/B04.jp2"}}}, None, "s3://a/B04.jp2"),
        ({"href": "s3://a/B04.jp2", "alternate": {"WEB": {"href": "https://a/B04.jp2"}}}, "web", "https://a/B04.jp2"),
        ({"href": "s3://a/B04.jp2", "alternate:name": "main", "alternate": {}}, "main", "s3://a/B04.jp2"),
        ({"href": "s3://a/B04.jp2"}, "s3", "s3://a/B04.jp2"),
        ({"href": "odd://a/B04.jp2", "alternate": 5}, None, "odd://a/B04.jp2"),
        ({"href": "s3://a/B04.jp2", "alternate": {"x": 5, "y": {"href": 5}}}, None, "s3://a/B04.jp2"),
        ({"href": "https://a/$value", "type": "image/jp2", "bands": [{"name": "B04"}]}, None, "https://a/$value"),
        (
            {"href": "https://a/Nodes(T29UNU_20221005T115411_B04_10m.jp2)/$value"},
            None,
            "https://a/Nodes(T29UNU_20221005T115411_B04_10m.jp2)/$value",
        ),
        ({"href": "zip://a/B04.jp2::s3://a/b.zip"}, None, "zip://a/B04.jp2::s3://a/b.zip"),
    ],
)
def test_the_location_is_one_that_can_be_read(assets, alternate, expected):
    item = {"type": "Feature", "id": "x", "assets": {"B04_10m": assets}}
    (request,) = jp2batch.list_requests(item, "red", alternate=alternate)
    assert request.path == expected


def test_an_alternate_of_no_name_is_refused():
    with pytest.raises(InvalidRequest, match=r"no alternate location.*S2C_MSIL2A.*alternate= may be .*https.*s3"):
        jp2batch.list_requests(CDSE, "red", alternate="ftp")


def test_a_catalogue_of_two_kinds_is_refused_by_name():
    with pytest.raises(ManifestError, match=f"{ITEMS[20]['id']}"):
        jp2batch.open_cube([EARTH_SEARCH, ITEMS[20]], bands=["red"])
