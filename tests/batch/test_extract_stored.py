"""Tables of fields on disk: resumed after kills, with each image once; other fields are refused."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import shapely

import jp2batch
from jp2batch.sample.product import make_product

BANDS, NAMES = ["B02", "B03", "B04", "B08"], ["id", "time", "band", "mean", "count", "tile", "item"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a product, and fields in it."""
    folder = tmp_path_factory.mktemp("stored")
    product = make_product(folder, size=366, bands=BANDS)
    image = jp2batch.open(str(next(product.glob("GRANULE/*/IMG_DATA/**/*_B04_10m.jp2"))))
    rng = np.random.default_rng(3)
    xs, ys = (rng.choice(axis, 30) for axis in (image.x.values, image.y.values))
    shapes = [*shapely.points(xs[:20], ys[:20]), *shapely.buffer(shapely.points(xs[20:], ys[20:]), 100)]
    table = pd.DataFrame({"name": [f"field {n}" for n in range(30)], "geometry": [shape.wkt for shape in shapes]})
    table.to_csv(folder / "fields.csv", index=False)
    return folder


def command(folder: Path, output: Path, *more: str, stats: str = "mean,count") -> list[str]:
    (product,) = folder.glob("*.SAFE")
    words = ["extract", str(product), "--geometry", str(folder / "fields.csv"), "--id", "name", "--crs", "EPSG:32629"]
    words += ["--bands", ",".join(BANDS), "--stats", stats, "-o", str(output), "--local-threads", "--quiet", *more]
    return [sys.executable, "-m", "jp2batch", *words]


def run(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False)


def table_in(output: Path) -> pd.DataFrame:
    found = pd.read_parquet(output)
    return found[NAMES].sort_values(["band", "id"], ignore_index=True)


def expected(folder: Path) -> pd.DataFrame:
    (product,) = folder.glob("*.SAFE")
    options = {"id": "name", "crs": "EPSG:32629", "stats": ("mean", "count"), "progress": False}
    found = jp2batch.extract(product, folder / "fields.csv", BANDS, **options)
    return found.sort_values(["band", "id"], ignore_index=True)


def test_the_table_is_that_in_memory(folder: Path, tmp_path: Path):
    output = tmp_path / "series.parquet"
    done = run(command(folder, output, "--json"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ok"] == len(BANDS)
    pd.testing.assert_frame_equal(table_in(output), expected(folder), check_dtype=False)


def test_the_table_has_the_names_of_bands_asked_for(folder: Path, tmp_path: Path):
    output = tmp_path / "series.parquet"
    done = run(command(folder, output, "--bands", "red"))
    assert done.returncode == 0, done.stderr
    assert set(pd.read_parquet(output).band) == {"red"}


def test_runs_killed_at_random_moments_are_resumed_with_each_image_once(folder: Path, tmp_path: Path):
    output, chance = tmp_path / "series.parquet", random.Random(4)
    for _ in range(4):
        with subprocess.Popen(command(folder, output, "--resume"), stderr=subprocess.DEVNULL) as process:
            try:
                process.wait(chance.uniform(0.6, 2.0))
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
    done = run(command(folder, output, "--resume"))
    assert done.returncode == 0, done.stderr
    pd.testing.assert_frame_equal(table_in(output), expected(folder), check_dtype=False)
    records = [json.loads(line) for line in Path(f"{output}.records.ndjson").read_text().splitlines()]
    finished = [record["id"] for record in records if record.get("status") == "ok"]
    assert len(set(finished)) == len(BANDS)
    again = run([*command(folder, output, "--resume"), "--json"])
    assert json.loads(again.stdout)["bytes_read"] == 0


@pytest.mark.parametrize("name", ["series.csv", "series.ndjson"])
def test_a_file_is_made_of_the_parts_beside_it(folder: Path, tmp_path: Path, name: str):
    output = tmp_path / name
    for more in ([], ["--resume"]):
        done = run(command(folder, output, *more))
        assert done.returncode == 0, done.stderr
        if output.suffix == ".csv":
            found = pd.read_csv(output)
        else:
            found = pd.DataFrame([json.loads(line) for line in output.read_text().splitlines()])
        found["time"] = pd.to_datetime(found["time"]).dt.tz_localize(None)
        found = found[NAMES].sort_values(["band", "id"], ignore_index=True)
        pd.testing.assert_frame_equal(found, expected(folder), check_dtype=False)
        output.unlink()
    shown = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")}
    assert shown == {f"{name}.parquet", f"{name}.parquet.records.ndjson"}


def test_a_file_of_somebody_else_is_not_replaced(folder: Path, tmp_path: Path):
    output = tmp_path / "series.csv"
    output.write_text("mine")
    done = run(command(folder, output))
    assert (done.returncode, output.read_text()) == (2, "mine")
    assert "series.csv: this file exists already" in done.stderr


def test_a_table_of_other_fields_or_statistics_is_refused_or_replaced(folder: Path, tmp_path: Path):
    output = tmp_path / "series.parquet"
    assert run(command(folder, output)).returncode == 0
    other = run(command(folder, output, "--resume", stats="max,count"))
    assert (other.returncode, len(other.stderr.splitlines())) == (2, 1)
    assert "the table is of other fields or statistics" in other.stderr
    assert run(command(folder, output, "--overwrite", stats="max,count")).returncode == 0
    found = pd.read_parquet(output)
    assert "max" in found.columns
    assert len(found) == len(expected(folder))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "series.xlsx"], "give a name ending in .parquet"),
        (["--geometry", "missing.geojson"], "missing.geojson: cannot be read"),
        (["--geometry", "fields.gpkg"], "fields cannot be read from such a file"),
        (["--stats", "meen"], "there is no statistic meen"),
        (["--id", "nome"], "--id is not a column of the fields (there are: geometry, name)"),
        (["--crs", "EPSG:0"], "crs of the fields cannot be read"),
        (["--bands", "B99"], "there is no image of"),
    ],
)
def test_mistakes_are_told_in_a_line(folder: Path, tmp_path: Path, words: list[str], message: str):
    done = run(command(folder, tmp_path / "series.parquet", *words))
    assert (done.returncode in (1, 2), len(done.stderr.splitlines())) == (True, 1), done.stderr
    assert message in done.stderr


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1, 2]", b'{"type": "FeatureCollection"}', b"\xff\xfe", b"a,b\n1,2\n"]
)
@pytest.mark.parametrize("suffix", [".geojson", ".csv", ".parquet"])
def test_nonsense_in_files_of_fields_is_refused(tmp_path: Path, suffix: str, content: bytes):
    path = tmp_path / f"fields{suffix}"
    path.write_bytes(content)
    with pytest.raises(jp2batch.Jp2BatchError, match=f"^{path}: .*fields|lon and lat"):
        jp2batch.extract("x.jp2", path)


def test_fields_come_from_geoparquet_too(folder: Path, tmp_path: Path):
    geopandas = pytest.importorskip("geopandas")
    (product,) = folder.glob("*.SAFE")
    table = pd.read_csv(folder / "fields.csv")
    shapes = geopandas.GeoDataFrame(table[["name"]], geometry=shapely.from_wkt(table.geometry), crs=32629)
    for path in (tmp_path / "fields.parquet", tmp_path / "fields.geojson"):
        if path.suffix == ".parquet":
            shapes.to_parquet(path)
        else:
            path.write_text(shapes.to_crs(4326).to_json())
        found = jp2batch.extract(product, path, "B04", id="name", stats=("mean", "count"), progress=False)
        wanted = expected(folder)  # centres are on edges: digits decide
        np.testing.assert_allclose(found.sort_values("id")["mean"], wanted[wanted.band == "B04"]["mean"], rtol=1e-3)
