"""Real STAC items of many catalogues become requests with the right band, size, time, tile and path."""

import csv
import gzip
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import jp2batch
from jp2batch.cli import main
from jp2batch.core.errors import InvalidRequest, ManifestError

FOLDER = Path(__file__).resolve().parents[1] / "support" / "stac"
ITEMS = [json.loads(line) for line in gzip.decompress((FOLDER / "items.ndjson.gz").read_bytes()).splitlines()]

FACTS = {  # by hand, from the names of products, and the items' times where they name none
    0: ("2021-09-08T04:27:01Z", "T46RER", "S2A", "03.01"),
    1: ("2023-06-25T23:46:21Z", "T01WCP", "S2A", "05.09"),
    2: ("2023-06-25T23:46:21Z", "T01WCP", "S2A", "05.09"),
    4: ("2018-12-31T19:04:06.567000Z", "T10SDG", "S2A", "02.07"),
    5: ("2022-04-01T09:03:19.283000Z", "T34LBP", "S2A", "04.00"),
    6: ("2023-06-02T23:36:51Z", "T01WCQ", "S2A", "05.09"),
    7: ("2023-06-02T00:06:11Z", "T01WCQ", "S2A", "05.09"),
    8: ("2024-01-06T17:57:31Z", "T12RWT", "S2A", "05.10"),
    9: ("2023-08-15T09:50:31Z", "T33TWL", "S2A", "05.09"),
    10: ("2023-08-15T09:50:31Z", "T33TWM", "S2A", "05.09"),
    11: ("2025-03-30T10:00:51Z", "T33UWP", "S2C", "05.11"),
    12: ("2020-06-15T06:06:41Z", "T45WWS", "S2A", "02.09"),
    13: ("2018-06-05T10:00:27.464Z", "T35VMK", None, None),
    41: ("2021-09-08T04:27:01Z", "T46RER", "S2A", "03.01"),
    43: ("2024-01-08T10:14:07.485000Z", "T34VEL", "S2A", "05.10"),
    44: ("2023-06-28T07:06:31Z", "T39QTA", "S2A", "05.09"),
    45: ("2020-02-13T14:37:21Z", "T19KEQ", "S2A", "02.09"),
    46: ("2021-01-22T13:32:29Z", "T22HBD", "S2B", "02.14"),
    47: ("2020-07-17T22:19:41Z", "T01LAC", "S2A", "02.09"),
    48: ("2018-12-31T19:04:06.567000Z", "T10SDG", "S2A", "02.11"),
}
WITHOUT = sorted({*range(len(ITEMS))} - {*FACTS})


def truth() -> dict[int, set[tuple[str, int, str]]]:
    """Return band, metres and path of each JPEG 2000 asset, by item; metres 0: unknown."""
    found = defaultdict(set)
    with (FOLDER / "images.tsv").open() as file:
        for row in csv.DictReader(file, delimiter="\t"):
            found[int(row["row"])].add((row["band"], int(row["metres"]), row["href"]))
    return found


TRUTH = truth()


@pytest.mark.parametrize("number", FACTS)
def test_every_jpeg_2000_asset_becomes_the_right_request(number):
    expected = {one for one in TRUTH[number] if one[1]}
    listed = {
        (dict(request.columns)["band"], metres, request.path): dict(request.columns)
        for metres in {metres for _, metres, _ in expected}
        for request in jp2batch.list_requests(ITEMS[number], metres=metres)
    }
    assert {*listed} == expected
    facts = {
        (row["time"], row.get("tile"), row.get("platform"), row.get("processing_baseline")) for row in listed.values()
    }
    assert facts == {FACTS[number]}
    assert {row["item"] for row in listed.values()} == {ITEMS[number]["id"]}


@pytest.mark.parametrize("number", FACTS)
@pytest.mark.parametrize(("name", "band"), [("red", "B04"), ("nir08", "B8A"), ("scl", "SCL"), ("rededge2", "B06")])
def test_common_names_find_the_finest_image(number, name, band):
    finest = min((metres for one, metres, _ in TRUTH[number] if one == band), default=0)
    paths = {path for one, metres, path in TRUTH[number] if (one, metres) == (band, finest)}
    if paths:
        assert {request.path for request in jp2batch.list_requests(ITEMS[number], bands=[name])} == paths
    else:
        with pytest.raises(InvalidRequest, match=f"no image of {band} .available: "):
            jp2batch.list_requests(ITEMS[number], bands=[name])


def test_there_are_items_of_many_catalogues():
    assert len(ITEMS) == 49
    assert {*FACTS} == {*TRUTH}
    assert sum(len(images) for images in TRUTH.values()) >= 430


@pytest.mark.parametrize("number", WITHOUT)
def test_items_of_geotiff_say_so(number):
    item = ITEMS[number]
    with pytest.raises(ManifestError, match="no JPEG 2000 image") as caught:
        jp2batch.list_requests(item)
    assert item["id"] in str(caught.value)
    assert item.get("collection", "") in str(caught.value)


def test_each_unusable_item_of_a_search_is_named():
    with pytest.raises(ManifestError, match="2 of 4 items") as caught:
        jp2batch.list_requests([ITEMS[number] for number in (8, WITHOUT[0], 9, WITHOUT[5])], "B04")
    text = str(caught.value)
    assert [ITEMS[number]["id"] in text for number in (8, WITHOUT[0], 9, WITHOUT[5])] == [False, True, False, True]
    assert "\n" not in text


def test_earth_search_gives_its_jpeg_2000_files():
    (request,) = jp2batch.list_requests(ITEMS[9], bands="red")
    assert request.path == "s3://sentinel-s2-l2a/tiles/33/T/WL/2023/8/15/0/B04.jp2"


def test_the_path_tells_the_band_where_a_catalogue_is_wrong():
    """In sat-api, the assets B8A and B12 have the files of B08 and B11."""
    paths = {key: asset["href"][-7:] for key, asset in ITEMS[45]["assets"].items()}
    assert (paths["B8A"], paths["B12"]) == ("B08.jp2", "B11.jp2")
    listed = jp2batch.list_requests(ITEMS[45])
    assert {dict(one.columns).get("band") for one in listed}.isdisjoint({"B8A", "B12"})
    assert len({request.path for request in listed}) == len(listed)


@pytest.mark.parametrize(("alternate", "start"), [
    (None, "s3://eodata/"),
    ("s3", "s3://eodata/"),
    ("https", "https://zipper.dataspace.copernicus.eu/odata/v1/Products("),
    ("HTTPS", "https://zipper.dataspace.copernicus.eu/odata/v1/Products("),
])  # fmt: skip
def test_the_alternates_of_cdse_are_the_same_images(alternate, start):
    found = jp2batch.list_requests(ITEMS[11], alternate=alternate)
    assert {request.path.startswith(start) for request in found} == {True}
    assert [request.columns for request in found] == [request.columns for request in jp2batch.list_requests(ITEMS[11])]


def manifest(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["manifest", *map(str, arguments)])


def test_the_command_takes_files_of_items_by_common_names(tmp_path):
    path = tmp_path / "items.ndjson"
    path.write_text("".join(json.dumps(ITEMS[number]) + "\n" for number in (8, 9, 11)))
    done = manifest(path, "--bands", "red,nir08", "--alternate", "https", "-o", tmp_path / "scenes.csv")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "S2A_12RWT_20240106_0_L2A" in done.stderr
    assert "--alternate may be s3" in done.stderr
    done = manifest(path, "--bands", "red,nir08", "-o", tmp_path / "scenes.csv")
    assert (done.exit_code, done.stderr) == (0, f"jp2batch: wrote {tmp_path / 'scenes.csv'}: 6 requests\n")
    found = jp2batch.read_manifest(tmp_path / "scenes.csv")
    assert found == jp2batch.list_requests(path, ["B04", "B8A"])
    assert {dict(request.columns)["band"] for request in found} == {"B04", "B8A"}


def test_the_command_takes_alternates(tmp_path):
    path = tmp_path / "item.json"
    path.write_text(json.dumps(ITEMS[11]))
    done = manifest(path, "--bands", "scl", "--alternate", "https")
    (row,) = map(json.loads, done.stdout.splitlines())
    assert row["Path"].endswith("Nodes(R20m)/Nodes(T33UWP_20250330T100051_SCL_20m.jp2)/$value")
    assert (row["band"], row["tile"], row["time"]) == ("SCL", "T33UWP", "2025-03-30T10:00:51Z")


def test_the_command_names_unusable_items(tmp_path):
    path = tmp_path / "item.json"
    path.write_text(json.dumps(ITEMS[20]))
    done = manifest(path)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert f"{path}: its 1 items of sentinel-2-l2a have no JPEG 2000 image: {ITEMS[20]['id']}" in done.stderr


def test_ten_thousand_items_take_seconds():
    """A millisecond an item, in proportion to their number."""

    def items(number: int) -> Iterator[dict]:
        for one in range(number):
            assets = {key: asset | {"href": asset["href"].replace("/2023/", f"/{one}/")} for key, asset in jp2s.items()}
            yield ITEMS[9] | {"id": str(one), "assets": assets}

    jp2s = {key: asset for key, asset in ITEMS[9]["assets"].items() if key.endswith("-jp2")}
    taken = {}
    for number in (1000, 4000):
        start = time.process_time()
        assert len(jp2batch.list_requests(items(number), ["red", "nir", "scl"])) == 3 * number
        taken[number] = time.process_time() - start
    assert taken[4000] < 8 * taken[1000]
