"""Requests made of products, STAC items and images."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

import jp2batch
from jp2batch.array.engine import Jp2BatchBackend
from jp2batch.cli import main
from jp2batch.core.errors import InvalidRequest, InvalidWindow, ManifestError
from jp2batch.core.map_area import MapArea
from jp2batch.sample.product import DATE, make_product, make_series

TILE = "s3://sentinel-s2-l2a/tiles/29/U/NU/2022/10/5/0"
EARTH_SEARCH = {
    "type": "Feature",
    "stac_version": "1.0.0",
    "id": "S2A_29UNU_20221005_0_L2A",
    "properties": {"datetime": "2022-10-05T11:54:11.024000Z"},
    "links": [{"rel": "self", "href": "https://catalogue.example/items/S2A_29UNU_20221005_0_L2A"}],
    "assets": {
        "red": {"href": "https://cogs.example/B04.tif", "type": "image/tiff; application=geotiff"},
        "red-jp2": {"href": f"{TILE}/R10m/B04.jp2", "type": "image/jp2", "eo:bands": [{"name": "red"}]},
        "nir08-jp2": {"href": f"{TILE}/R20m/B8A.jp2", "type": "image/jp2"},
        "scl-jp2": {"href": f"{TILE}/R20m/SCL.jp2", "type": "image/jp2"},
        "granule_metadata": {"href": f"{TILE}/metadata.xml", "type": "application/xml"},
    },
}
FOLDER = (
    "s3://eodata/Sentinel-2/MSI/L2A/2022/10/05/S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454.SAFE/"
    "GRANULE/L2A_T29UNU_A038058_20221005T115407/IMG_DATA"
)
COPERNICUS = {
    "type": "Feature",
    "id": "S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454",
    "properties": {"datetime": "2022-10-05T11:54:11.024Z"},
    "links": [],
    "assets": {
        f"{band}_{metres}m": {
            "href": f"{FOLDER}/R{metres}m/T29UNU_20221005T115411_{band}_{metres}m.jp2",
            "type": "image/jp2",
            "gsd": metres,
        }
        for band, metres in [("B04", 10), ("B04", 20), ("B04", 60), ("SCL", 20), ("SCL", 60)]
    },
}


@pytest.fixture(scope="module")
def products(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("products")
    return [str(path) for path in make_series(folder, 2, size=120, bands=["B04", "B8A"])]


@pytest.fixture
def items(tmp_path):
    """Return what writes a JSON file, and returns its path."""

    def write(document: object) -> str:
        path = tmp_path / "items.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return str(path)

    return write


def names(requests: list[jp2batch.Request]) -> list[str]:
    return [Path(request.path).name for request in requests]


def test_products_give_the_finest_image_of_each_band(products):
    requests = jp2batch.list_requests(products, ["B8A", "B04"], rlevel=2)
    stems = ["T29UNU_20221005T115411", "T29UNU_20221010T115411"]
    assert names(requests) == [f"{stem}_{name}.jp2" for stem in stems for name in ("B04_10m", "B8A_20m")]
    assert dict(requests[3].columns) == {
        "time": "2022-10-10T11:54:11Z",
        "band": "B8A",
        "tile": "T29UNU",
        "item": Path(products[1]).name,
        "platform": "S2A",
        "processing_baseline": "04.00",
        "datastrip": "2022-10-10T11:54:07Z",
        "processing_time": "2022-10-10T16:44:54Z",
    }
    assert jp2batch.run(requests).failed == []


def test_products_give_images_of_one_size(products):
    assert names(jp2batch.list_requests(products[:1], ["SCL", "B04"], metres=60)) == [
        "T29UNU_20221005T115411_B04_60m.jp2",
        "T29UNU_20221005T115411_SCL_60m.jp2",
    ]
    assert len(jp2batch.list_requests(products[:1])) == 5  # B04, B8A, TCI, AOT, SCL


@pytest.mark.parametrize("wrap", [
    lambda item: item,
    lambda item: [item],
    lambda item: {"type": "FeatureCollection", "features": [item], "numberMatched": 1},
    lambda item: {"type": "ItemCollection", "features": [item]},
], ids=["item", "array", "feature collection", "item collection"])  # fmt: skip
def test_stac_items_give_their_jpeg_2000_images(items, wrap):
    requests = jp2batch.list_requests([items(wrap(EARTH_SEARCH))])
    assert [request.path.removeprefix(TILE) for request in requests] == [
        "/R10m/B04.jp2",
        "/R20m/B8A.jp2",
        "/R20m/SCL.jp2",
    ]
    assert dict(requests[0].columns) == {
        "time": "2022-10-05T11:54:11.024000Z",
        "band": "B04",
        "tile": "T29UNU",
        "item": "S2A_29UNU_20221005_0_L2A",
    }


def test_of_stac_items_too_bands_and_sizes_are_chosen(items):
    source = [items([EARTH_SEARCH, COPERNICUS])]
    assert names(jp2batch.list_requests(source, ["B04"])) == ["B04.jp2", "T29UNU_20221005T115411_B04_10m.jp2"]
    assert names(jp2batch.list_requests(source, ["SCL", "B04"], metres=60)) == [
        "T29UNU_20221005T115411_B04_60m.jp2",
        "T29UNU_20221005T115411_SCL_60m.jp2",
    ]
    with pytest.raises(InvalidRequest, match="no image of B04 at 40 m"):
        jp2batch.list_requests(source, ["B04"], metres=40)


@pytest.mark.parametrize(
    ("key", "asset", "band"),
    [
        ("B8A_20m", {}, "B8A"),
        ("data", {"eo:bands": [{"name": "B11"}]}, "B11"),
        ("data", {"bands": [{"name": "b03"}]}, "B03"),
        ("visual", {"eo:bands": [{"name": "B04"}, {"name": "B03"}]}, None),
        ("visual", {"eo:bands": [{"name": "red"}, {"name": "green"}, {"name": "blue"}]}, "TCI"),
        ("AB04C", {"eo:bands": "B04"}, None),
    ],
)
def test_bands_are_told_by_assets_where_names_do_not(items, key, asset, band):
    item = {
        "id": "x",
        "type": "Feature",
        "assets": {key: {"href": "https://host/1.jp2?sig=2", "type": "image/jp2"} | asset},
    }
    (request,) = jp2batch.list_requests([items(item)])
    assert dict(request.columns).get("band") == band


def test_relative_hrefs_are_relative_to_the_item(items, tmp_path, http_server):
    item = {
        "type": "Feature",
        "id": "x",
        "assets": {"B04": {"href": "./images/../B04.jp2"}, "B03": {"href": "../B03.jp2"}},
    }
    assert [request.path for request in jp2batch.list_requests([items(item)])] == [
        f"{tmp_path}/B04.jp2",
        f"{tmp_path.parent}/B03.jp2",
    ]
    http_server.files["a/b/items.json"] = json.dumps(item).encode()
    url = http_server.url("a/b/items.json")
    assert [request.path for request in jp2batch.list_requests([url])] == [
        http_server.url("a/b/B04.jp2"),
        http_server.url("a/B03.jp2"),
    ]
    named = item | {"links": [{"rel": "self", "href": "s3://bucket/stac/item.json"}]}
    assert [request.path for request in jp2batch.list_requests([items(named)])] == [
        "s3://bucket/stac/B04.jp2",
        "s3://bucket/B03.jp2",
    ]


@pytest.mark.parametrize(
    "odd",
    [
        {"links": 5},
        {"links": [5, {"rel": "self", "href": None}]},
        {"properties": None},
        {"properties": {"datetime": 5}},
        {"id": {}},
        {"assets": {"B04": {"href": "a/B04.jp2", "gsd": float("inf")}}},
        {"assets": {"B04": {"href": "a/B04.jp2", "gsd": float("nan")}}},
        {"assets": {"B04": {"href": "a/B04.jp2", "gsd": "ten", "eo:bands": 5, "type": 5}}},
    ],
    ids=json.dumps,
)
def test_odd_members_of_an_item_spoil_nothing_else(items, tmp_path, odd):
    item = {"type": "Feature", "id": "x", "assets": {"B04": {"href": "a/B04.jp2"}}} | odd
    (request,) = jp2batch.list_requests([items(item)], ["B04"])
    assert request.path == str(tmp_path / "a" / "B04.jp2")
    assert jp2batch.list_requests([items(item)], ["B04"], metres=10) == [request]


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ("", "this is not JSON"),
        ("[" * 100_000, "this is not JSON"),
        ("{}", "not a STAC item"),
        ("[1]", "not a STAC item"),
        ({"type": "FeatureCollection", "features": {}}, "not a STAC item"),
        ({"type": "Feature", "assets": []}, "not a STAC item"),
        ({"type": "Feature", "assets": {}}, "its 1 items have no JPEG 2000 image"),
        ({"type": "Feature", "assets": {"a": None, "b": {"href": 1}, "c": {"href": "x.tif"}}}, "no JPEG 2000 image"),
        ([], "its 0 items have no JPEG 2000 image"),
    ],
)
def test_what_is_no_stac_item_says_so(items, document, problem):
    with pytest.raises(ManifestError, match=problem) as caught:
        jp2batch.list_requests([items(document)])
    assert "items.json" in str(caught.value)


@pytest.mark.parametrize(
    ("resolution", "expected"),
    [
        (5, ["B04_10m", "B8A_20m"]),
        (10, ["B04_10m", "B8A_20m"]),
        (15, ["B04_10m", "B8A_20m"]),
        (20, ["B04_20m", "B8A_20m"]),
        (59.9, ["B04_20m", "B8A_20m"]),
        (60, ["B04_60m", "B8A_60m"]),
        (240, ["B04_60m", "B8A_60m"]),
    ],
)
def test_a_resolution_chooses_the_largest_pixels_up_to_it(products, resolution, expected):
    found = jp2batch.list_requests(products[0], ["red", "nir08"], resolution=resolution)
    assert [name.split("_", 2)[2].removesuffix(".jp2") for name in names(found)] == expected
    assert {request.area.resolution for request in found} == {resolution}
    chosen = jp2batch.list_requests(products[0], ["red", "nir08"], resolution=resolution, metres=60)
    assert [name[-7:] for name in names(chosen)] == ["60m.jp2"] * 2


def test_images_are_taken_as_they_are(products):
    path = str(next(Path(products[0]).glob("**/*_B04_20m.jp2")))
    (request,) = jp2batch.list_requests([path, path], ["B04"], window=((0, 8), (0, 8)))
    assert (request.path, request.window, dict(request.columns)["band"]) == (
        path,
        jp2batch.Window((0, 8), (0, 8)),
        "B04",
    )
    with pytest.raises(ManifestError, match="not a product, STAC item or image"):
        jp2batch.list_requests(["README.md"])


def test_one_path_and_names_in_any_case_will_do(products):
    wanted = jp2batch.list_requests(products[:1], ["B04", "B8A"])
    assert jp2batch.list_requests(products[0], "b04, B8a") == wanted
    assert jp2batch.list_requests(Path(products[0]), ("b8a", "B04")) == wanted
    assert jp2batch.list_requests(map(Path, products[:1]), ["B04", "B8A"]) == wanted


@pytest.mark.parametrize(
    ("sources", "bands", "problem"),
    [
        ([], None, "no sources given"),
        (None, None, "a path must be text, not NoneType"),
        ([5], None, "a path must be text, not int"),
        ("{product}", ["B99"], r"no image of B99 \(available: AOT, B04, B8A, SCL, TCI\)"),
        ("{product}", ["B04", "b04"], "band B04 is given twice"),
        ("{product}", "", "bands is not a list of band names"),
        ("{folder}", None, r"give the products in it: .*\*\.SAFE"),
        ("{product}/GRANULE", None, r"its product is .*\.SAFE\)"),
        ("{folder}/S3*", None, "the pattern matches nothing"),
    ],
)
def test_slips_are_told_with_their_hint(products, sources, bands, problem):
    if isinstance(sources, str):
        sources = sources.format(product=products[0], folder=Path(products[0]).parent)
    with pytest.raises(InvalidRequest, match=problem):
        jp2batch.list_requests(sources, bands)


def invoke(*arguments: object):
    return CliRunner().invoke(main, ["manifest", *map(str, arguments)])


@pytest.mark.parametrize("name", ["scenes.csv", "scenes.ndjson", "scenes.ndjson.gz"])
def test_the_command_writes_a_manifest_that_can_be_run(products, tmp_path, name):
    done = invoke(*products, "--bands", "b04, SCL", "--rlevel", 1, "-o", tmp_path / name)
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == f"jp2batch: wrote {tmp_path / name}: 4 requests\n"
    requests = jp2batch.read_manifest(tmp_path / name)
    assert requests == jp2batch.list_requests(products, ["B04", "SCL"], rlevel=1)
    assert dict(requests[0].columns)["band"] == "B04"
    assert jp2batch.run(requests).failed == []


def test_the_command_prints_a_manifest_without_an_output(products):
    done = invoke(products[0], "--bands", "TCI", "--window", "0:60,0:60")
    (row,) = map(json.loads, done.stdout.splitlines())
    assert (row["band"], row["window"]) == ("TCI", "0:60,0:60")


@pytest.mark.parametrize("name", ["scenes.csv", "scenes.ndjson"])
@pytest.mark.parametrize(
    "area",
    [
        {"bbox": "500100,5899500,500500,5899900", "crs": "EPSG:32629", "resolution": "20"},
        {"geometry": "POINT (-8.995 53.238)"},
    ],
    ids=["bbox", "geometry"],
)
def test_the_command_writes_areas(products, tmp_path, name, area):
    flags = [text for key, value in area.items() for text in (f"--{key}", value)]
    done = invoke(*products, "--bands", "B04,B8A", *flags, "-o", tmp_path / name)
    assert (done.exit_code, done.stdout) == (0, "")
    assert jp2batch.read_manifest(tmp_path / name) == jp2batch.list_requests(products, ["B04", "B8A"], **area)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["nowhere.SAFE"], "this is not a product"),
        (["nowhere.json"], "nowhere.json: cannot be read"),
        (["--bands", "B99", "{product}"], "there is no image of B99"),
        (["-o", "scenes.txt", "{product}"], "not that of a manifest format"),
        (["--window", "1", "{product}"], "window"),
        (["--window", "0:9,0:9", "--bands", "B04,B8A", "{product}"], "give --bbox or --geometry, or images of one"),
        (["--crs", "EPSG:32629", "{product}"], "--crs means nothing"),
    ],
)
def test_mistakes_are_one_line(products, arguments, problem):
    done = invoke(*(one.format(product=products[0]) for one in arguments))
    assert done.exit_code in (1, 2)
    assert problem in done.stderr
    assert done.stderr.count("\n") == 1


def test_several_dates_can_be_made(tmp_path):
    done = CliRunner().invoke(main, ["sample", str(tmp_path), "--size", "60", "--dates", "2"])
    assert done.exit_code == 0
    made = {Path(line).parts[len(tmp_path.parts)] for line in done.stdout.splitlines()}
    assert made == {make_product(tmp_path / "again", size=60, date=DATE + timedelta(days=days)).name for days in (0, 5)}


@pytest.mark.parametrize("suffix", [".j2k", ".jph"])
def test_suffixes_of_jpeg2000_are_images_for_items_and_xarray(items, suffix):
    href = f"s3://bucket/B04{suffix}"
    item = {**EARTH_SEARCH, "assets": {"B04": {"href": href}}}
    assert [request.path for request in jp2batch.list_requests(items(item))] == [href]
    assert Jp2BatchBackend().guess_can_open(href)


def test_an_area_is_the_same_ground_in_images_of_every_pixel_size(products):
    whole = jp2batch.read(jp2batch.list_requests(products, ["B8A"], metres=60)[0].url, 0)
    x, y = float(whole.x[3]), float(whole.y[5])
    box = (x - 20, y - 80, x + 80, y + 20)
    for metres, shape in ((10, (10, 10)), (20, (6, 6)), (60, (2, 2))):
        for request in jp2batch.list_requests(products, ["B04"], metres=metres, rlevel=0, bbox=box, crs=32629):
            part = jp2batch.run([request]).results[0].value
            assert part.shape == shape
            half = metres / 2
            assert part.x[0] - half <= box[0] < part.x[0] + half
            assert part.x[-1] - half < box[2] <= part.x[-1] + half
            assert part.y[-1] - half <= box[1] < part.y[-1] + half
            assert part.y[0] - half < box[3] <= part.y[0] + half


def test_requests_take_area_and_resolution_in_any_form(products):
    square = "POLYGON ((-8.98 53.23, -8.97 53.23, -8.97 53.24, -8.98 53.24, -8.98 53.23))"
    requests = jp2batch.list_requests(products, ["B04", "B8A"], geometry=square, resolution=20, mask=False)
    assert {request.area for request in requests} == {MapArea.of(geometry=square, resolution=20, mask=False)}
    assert len(requests) == 4
    with pytest.raises(InvalidRequest, match="rlevel= and resolution= exclude each other"):
        jp2batch.list_requests(products, ["B04"], rlevel=0, resolution=20)
    with pytest.raises(InvalidRequest, match="exclude each other"):
        jp2batch.list_requests(products, ["B04"], window="0:5,0:5", bbox=(-9, 53, -8, 54))


def test_a_window_of_images_with_different_pixel_sizes_is_refused(products):
    with pytest.raises(InvalidWindow, match=r"pixels of 10 and 20 m.*bbox="):
        jp2batch.list_requests(products, ["B04", "B8A"], window="0:8,0:8")
    sizes = jp2batch.list_requests(products, ["B04", "B8A"], metres=20, window="0:8,0:8")
    assert {str(request.window) for request in sizes} == {"0:8,0:8"}
