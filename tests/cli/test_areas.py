"""Areas on the map, on the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import jp2batch
from jp2batch.cli import main
from jp2batch.sample.product import make_product

BOX = (-8.98, 53.23, -8.97, 53.24)
FIELD = {
    "type": "Polygon",
    "coordinates": [[[-8.98, 53.23], [-8.97, 53.232], [-8.972, 53.24], [-8.979, 53.238], [-8.98, 53.23]]],
}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    product = make_product(tmp_path_factory.mktemp("areas"), size=366, bands=["B04"])
    return str(next(product.glob("GRANULE/*/IMG_DATA/**/*_B04_10m.jp2")))


def invoke(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(main, list(arguments))
    assert done.exit_code == code, done.output
    return done.output


@pytest.mark.parametrize("resolution", [10, 25])
def test_a_box_is_read_in_longitude_and_latitude(image: str, resolution: int, tmp_path: Path) -> None:
    out = str(tmp_path / "x.npy")
    invoke("read", image, "--bbox", ",".join(map(str, BOX)), "--resolution", str(resolution), "-o", out)
    np.testing.assert_array_equal(np.load(out), jp2batch.read(image, bbox=BOX, resolution=resolution))


@pytest.mark.parametrize("form", ["inline", "file", "feature", "wkt", "wkt file"])
def test_a_geometry_is_given_as_text_or_file(image: str, form: str, tmp_path: Path) -> None:
    ring = ", ".join(f"{x} {y}" for x, y in FIELD["coordinates"][0])
    text = json.dumps({"type": "Feature", "properties": {}, "geometry": FIELD} if form == "feature" else FIELD)
    text = f"POLYGON (({ring}))" if form.startswith("wkt") else text
    if form in ("file", "feature", "wkt file"):
        (tmp_path / "field.geojson").write_text(text, encoding="utf-8-sig")
        text = str(tmp_path / "field.geojson")
    out = str(tmp_path / "x.npy")
    invoke("read", image, "--rlevel", "0", "--geometry", text, "-o", out)
    expected = jp2batch.read(image, 0, geometry=FIELD)
    assert (expected.values == 0).any()
    np.testing.assert_array_equal(np.load(out), expected)
    invoke("read", image, "--rlevel", "0", "--geometry", text, "--no-mask", "-o", out)
    np.testing.assert_array_equal(np.load(out), jp2batch.read(image, 0, geometry=FIELD, mask=False))


def test_a_box_may_be_in_metres(image: str) -> None:
    arguments = ["--bbox", "500000,5899000,500100,5899050", "--crs", "EPSG:32629", "--resolution", "10"]
    shown = json.loads(invoke("plan", image, *arguments, "--json"))
    assert shown["shape"] == [5, 10]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--bbox", "1,2,3"), "the bbox cannot be read (give minx,miny,maxx,maxy)"),
        (("--bbox", "0,0,1,1"), "the area does not meet the image"),
        (
            ("--bbox", "500000,5899000,500100,5899050"),
            "not in longitude and latitude (give --crs, the code of",
        ),
        (("--bbox", "0,0,1,1", "--crs", "nonsense"), "the crs cannot be read"),
        (("--geometry", "no-such-file.geojson"), "the file of --geometry cannot be read"),
        (("--geometry", "POLYGON ((0 0"), "the geometry cannot be read"),
        (("--bbox", "0,0,1,1", "--geometry", "POINT (0 0)"), "--bbox and --geometry exclude each other"),
        (("--bbox", "0,0,1,1", "--window", "0:5,0:5"), "exclude each other"),
        (("--resolution", "10", "--rlevel", "1"), "--rlevel and --resolution exclude each other"),
        (("--resolution", "fine"), "the resolution cannot be read"),
        (("--crs", "EPSG:32629"), "means nothing without --bbox or --geometry"),
    ],
)
@pytest.mark.parametrize("command", ["read", "plan"])
def test_a_mistake_is_told_in_one_line(image: str, command: str, arguments: tuple[str, ...], problem: str) -> None:
    output = invoke(command, image, *arguments, code=2)
    assert problem in output
    assert len(output.strip().splitlines()) == 1, output
