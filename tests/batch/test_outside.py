"""Items whose map areas do not meet their images: status "outside", no failure, no output, never read again."""

import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import jp2batch
from jp2batch.cli import main
from jp2batch.core.errors import ImageNotFound, OutsideImage
from jp2batch.core.map_area import MapArea
from jp2batch.core.request import Request
from jp2batch.sample.product import make_product
from support.runs import lines, run, start, wait_for_records, write_rows

HERE = "-8.98,53.23,-8.975,53.235"
ELSEWHERE = "10,50,11,51"
OUTPUTS = ("out/", "results.ndjson", "results.parquet", "results.zarr")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the path of a band of 366 x 366 pixels of 10 m in UTM zone 29."""
    product = make_product(tmp_path_factory.mktemp("outside"), size=366, bands=["B04"])
    return str(next(product.glob("**/*_B04_10m.jp2")))


@pytest.fixture
def rows(image: str) -> list[dict[str, Any]]:
    """Return rows of an image: three inside, two outside, one of these without id."""
    return [
        {"Path": image, "id": "box", "bbox": HERE, "resolution": 20},
        {"Path": image, "bbox": ELSEWHERE, "rlevel": 0},
        {"Path": image, "id": "field", "geometry": "POLYGON ((-8.98 53.23, -8.97 53.23, -8.97 53.24, -8.98 53.23))"},
        {"Path": image, "id": "far", "geometry": "POINT (10 50)", "resolution": 60},
        {"Path": image, "id": "whole"},
    ]


@pytest.fixture
def manifest(rows: list[dict[str, Any]], tmp_path: Path) -> Path:
    return write_rows(tmp_path / "rows.ndjson", rows)


def records_of(place: Path, output: str) -> Path:
    return place / ("out/records.ndjson" if output == "out/" else f"{output}.records.ndjson")


def results_in(place: Path, output: str) -> int:
    """Return the number of results in an output."""
    if output == "results.ndjson":
        return len(lines(place / output))
    if output == "results.parquet":
        return len(pd.read_parquet(place / output))
    hidden = ("records.ndjson", "zarr.json")
    return sum(path.name not in hidden and not path.name.startswith(".") for path in (place / output).iterdir())


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("flags", [[], ["--fail-fast", "--max-failures", "0"]])
def test_an_item_outside_its_image_is_no_failure_and_has_no_output(
    output: str, flags: list[str], manifest: Path, tmp_path: Path
) -> None:
    done = run(manifest, f"{tmp_path}/{output}", "--json", *flags)
    assert done.exit_code == 0, done.stderr
    summary = json.loads(done.stdout)
    assert [summary[name] for name in ("requests", "ok", "failed", "outside", "left")] == [5, 3, 0, 2, 0]
    assert summary["failures"] == {}
    assert "5: 3 ok, 0 failed, 2 outside" in done.stderr
    assert results_in(tmp_path, output) == 3
    records = lines(records_of(tmp_path, output))
    assert Counter(record["status"] for record in records) == {"ok": 3, "outside": 2}
    for record in records:
        if record["status"] == "outside":
            assert record["error"]["type"] == "OutsideImage"
            assert "the area does not meet the image" in record["error"]["detail"]
            assert record["output"] is record["shape"] is None


@pytest.mark.parametrize("mode", ["--resume", "--retry-failed"])
@pytest.mark.parametrize("output", OUTPUTS)
def test_an_item_outside_is_not_read_again(output: str, mode: str, manifest: Path, image: str, tmp_path: Path) -> None:
    assert run(manifest, f"{tmp_path}/{output}").exit_code == 0
    before = records_of(tmp_path, output).read_bytes()
    gone = Path(image).rename(tmp_path / "gone")
    try:
        done = run(manifest, f"{tmp_path}/{output}", "--json", mode)
    finally:
        gone.rename(image)
    assert done.exit_code == 0, done.stderr
    summary = json.loads(done.stdout)
    assert [summary[name] for name in ("ok", "kept", "outside", "failed", "left")] == [3, 3, 2, 0, 0]
    assert "2 outside" in done.stderr
    assert records_of(tmp_path, output).read_bytes() == before
    assert results_in(tmp_path, output) == 3


def test_an_id_outside_that_now_has_another_area_is_read(rows: list[Any], manifest: Path, tmp_path: Path) -> None:
    assert run(manifest, tmp_path / "results.ndjson").exit_code == 0
    rows[3] = rows[3] | {"geometry": rows[2]["geometry"]}
    done = run(write_rows(manifest, rows), tmp_path / "results.ndjson", "--json", "--resume")
    assert [json.loads(done.stdout)[name] for name in ("ok", "kept", "outside")] == [4, 3, 1]
    assert {line["id"] for line in lines(tmp_path / "results.ndjson")} == {"box", "field", "far", "whole"}


def test_items_outside_are_read_again_with_overwrite(manifest: Path, tmp_path: Path) -> None:
    assert run(manifest, f"{tmp_path}/out/").exit_code == 0
    done = run(manifest, f"{tmp_path}/out/", "--json", "--overwrite")
    assert [json.loads(done.stdout)[name] for name in ("ok", "kept", "outside")] == [3, 0, 2]
    assert results_in(tmp_path, "out/") == 3


def test_failures_beside_items_outside_are_failures(rows: list[Any], tmp_path: Path) -> None:
    manifest = write_rows(tmp_path / "m.ndjson", [*rows, {"Path": f"{tmp_path}/none.jp2", "bbox": HERE}])
    done = run(manifest, tmp_path / "results.ndjson", "--json")
    assert done.exit_code == 1
    assert [json.loads(done.stdout)[name] for name in ("ok", "failed", "outside")] == [3, 1, 2]
    again = run(manifest, tmp_path / "results.ndjson", "--json", "--retry-failed")
    assert [json.loads(again.stdout)[name] for name in ("ok", "failed", "outside")] == [3, 1, 2]
    records = lines(tmp_path / "results.ndjson.records.ndjson")
    assert len(records) == 6


def test_a_run_of_items_outside_only_succeeds(image: str, tmp_path: Path) -> None:
    rows = [{"Path": image, "bbox": f"{number},50,{number + 1},51"} for number in range(5, 25)]
    for output in OUTPUTS:
        done = run(write_rows(tmp_path / "m.ndjson", rows), f"{tmp_path}/{output}", "--json", "--max-failures", "0")
        assert (done.exit_code, json.loads(done.stdout)["outside"]) == (0, 20), done.stderr


def test_equal_items_outside_are_read_once(image: str, tmp_path: Path) -> None:
    manifest = write_rows(tmp_path / "m.ndjson", [{"Path": image, "bbox": ELSEWHERE}] * 3)
    assert run(manifest, tmp_path / "results.ndjson").exit_code == 0
    records = lines(tmp_path / "results.ndjson.records.ndjson")
    assert [(record["status"], bool(record["same_as"])) for record in records] == [
        ("outside", False),
        ("outside", True),
        ("outside", True),
    ]
    done = run(manifest, tmp_path / "results.ndjson", "--json", "--resume")
    assert json.loads(done.stdout)["outside"] == 3


@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
def test_a_killed_run_with_items_outside_is_resumed(image: str, http_server: Any, tmp_path: Path) -> None:
    http_server.files["B04.jp2"], http_server.delay = Path(image).read_bytes(), 0.01
    url = http_server.url("B04.jp2")
    boxes = [f"{-8.98 + number / 1e4},53.23,-8.97,53.24" if number % 2 else ELSEWHERE for number in range(60)]
    rows = [{"Path": url, "id": f"i{number}", "bbox": box, "resolution": 40} for number, box in enumerate(boxes)]
    manifest = write_rows(tmp_path / "m.ndjson", rows)
    records = tmp_path / "results.ndjson.records.ndjson"
    process = start(manifest, "-o", tmp_path / "results.ndjson", "--local-threads", "--quiet")
    with process:
        wait_for_records(records, 10)
        os.killpg(process.pid, signal.SIGKILL)
    killed = [json.loads(line) for line in records.read_bytes().splitlines(True) if line.endswith(b"\n")]
    assert len(killed) >= 10
    done = run(manifest, tmp_path / "results.ndjson", "--resume", "--json")
    assert done.exit_code == 0, done.stderr
    summary = json.loads(done.stdout)
    assert [summary[name] for name in ("ok", "failed", "outside", "left")] == [30, 0, 30, 0]
    statuses = {record["id"]: record["status"] for record in lines(records)}
    assert statuses == {f"i{number}": "ok" if number % 2 else "outside" for number in range(60)}
    assert {line["id"] for line in lines(tmp_path / "results.ndjson")} == {f"i{n}" for n in range(1, 60, 2)}
    now = {record["id"]: record for record in lines(records)}
    for record in killed:
        assert record["status"] == "ok" or record == now[record["id"]]  # not read again


def test_worker_processes_tell_items_outside(manifest: Path, tmp_path: Path) -> None:
    arguments = ["run", str(manifest), "-o", f"{tmp_path}/results.parquet", "--workers", "1", "--json"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.stderr
    assert [json.loads(done.stdout)[name] for name in ("ok", "failed", "outside")] == [3, 0, 2]


# Records and tables


def test_records_and_tables_have_the_areas(rows: list[Any], manifest: Path, tmp_path: Path) -> None:
    table = tmp_path / "records.parquet"
    assert run(manifest, tmp_path / "results.parquet", "--records", table).exit_code == 0
    records = {record["id"]: record for record in lines(tmp_path / "results.parquet.records.ndjson")}
    assert list(map(records["box"].get, ("bbox", "geometry", "crs", "resolution"))) == [HERE, None, "OGC:CRS84", 20]
    assert records["field"]["geometry"].startswith("POLYGON ((-8.98 53.23")
    assert not {"bbox", "geometry", "crs", "resolution"} & records["whole"].keys()
    for found in (pd.read_parquet(table), pd.read_parquet(tmp_path / "results.parquet")):
        kept = found.set_index("id")
        assert (kept.bbox["box"], kept.crs["box"], kept.resolution["box"]) == (HERE, "OGC:CRS84", 20)
        assert kept.geometry["field"] == records["field"]["geometry"]
        assert pd.isna(kept.bbox["whole"])
    assert "far" in set(pd.read_parquet(table).query("status == 'outside'").id)


def test_tables_without_areas_have_no_columns_for_them(image: str, tmp_path: Path) -> None:
    manifest = write_rows(tmp_path / "m.ndjson", [{"Path": image}])
    assert run(manifest, tmp_path / "results.parquet").exit_code == 0
    (part,) = (tmp_path / "results.parquet").glob("*.parquet")
    assert "bbox" not in pq.read_schema(part).names


def test_usual_records_with_areas_are_read_fast(manifest: Path, tmp_path: Path) -> None:
    from jp2batch.batch.records.book import _USUAL

    assert run(manifest, tmp_path / "results.ndjson").exit_code == 0
    data = (tmp_path / "results.ndjson.records.ndjson").read_bytes().splitlines(True)
    assert [bool(_USUAL.fullmatch(line)) for line in data] == [b'"status":"ok"' in line for line in data]


# Python


def requests_of(image: str) -> list[Request]:
    return [
        Request(image, area=MapArea.of(HERE)),
        Request(image, area=MapArea.of(ELSEWHERE, resolution=20)),
        Request(image, area=MapArea.of(geometry="POINT (10 50)")),
    ]


def test_run_tells_items_outside_and_raises_nothing(image: str) -> None:
    report = jp2batch.run(requests_of(image), on_error="raise", progress=False)
    assert [result.status for result in report] == ["ok", "outside", "outside"]
    assert report.failed == []
    assert report.retry() is report
    assert report.summary() | {"bytes_read": 0, "bytes_whole": 0, "seconds": 0} == {
        "requests": 3,
        "ok": 1,
        "failed": 0,
        "outside": 2,
        "failures": {},
        "bytes_read": 0,
        "bytes_whole": 0,
        "seconds": 0,
    }
    assert "1 ok, 0 failed, 2 outside" in str(report)
    assert "2 outside" in report._repr_html_()
    assert list(report.to_dataframe().status) == ["ok", "outside", "outside"]
    with pytest.raises(ImageNotFound):
        jp2batch.run([*requests_of(image), "none.jp2"], on_error="raise", progress=False)


def test_a_result_shows_its_area(image: str) -> None:
    inside, outside, _ = sorted(jp2batch.as_completed(requests_of(image)), key=lambda result: result.request.rlevel)
    shown = {result.status: str(result) + result._repr_html_() for result in (inside, outside)}
    assert f"rlevel -1, bbox {HERE}" in shown["ok"]
    assert "the area does not meet the image" in shown["outside"]


def test_a_single_read_outside_is_an_error(image: str) -> None:
    _, request, _ = requests_of(image)
    with pytest.raises(OutsideImage):
        jp2batch.read(image, bbox=tuple(map(float, ELSEWHERE.split(","))))
    with pytest.raises(OutsideImage):
        jp2batch.respond({"Path": image, "bbox": ELSEWHERE})
    (task,) = jp2batch.to_delayed([request])
    with pytest.raises(OutsideImage):
        task.compute(scheduler="sync")


def test_the_parts_are_those_of_single_reads(rows: list[Any], manifest: Path, image: str, tmp_path: Path) -> None:
    assert run(manifest, f"{tmp_path}/out/", "--rlevel", "1").exit_code == 0
    outputs = {record["id"]: record["output"] for record in lines(tmp_path / "out/records.ndjson")}
    box = tuple(map(float, HERE.split(",")))
    np.testing.assert_array_equal(np.load(outputs["box"]), jp2batch.read(image, bbox=box, resolution=20))
    field = jp2batch.read(image, 1, geometry=rows[2]["geometry"])
    np.testing.assert_array_equal(np.load(outputs["field"]), field)
    np.testing.assert_array_equal(np.load(outputs["whole"]), jp2batch.read(image, 1))


def test_a_plan_counts_items_outside(manifest: Path) -> None:
    done = CliRunner().invoke(main, ["plan", str(manifest), "--json"])
    assert done.exit_code == 0, done.stderr
    assert [json.loads(done.stdout)[name] for name in ("items", "planned", "failed", "outside")] == [5, 3, 0, 2]
    text = CliRunner().invoke(main, ["plan", str(manifest)])
    assert (text.exit_code, text.stderr) == (0, "")
    assert "outside" in text.stdout
    assert "failed" not in text.stdout
