"""`jp2batch plan MANIFEST`: what a batch would take is what it takes."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from jp2batch import cli
from jp2batch.sample.encode import Coding, encode
from support.runs import lines, run, write_rows


@pytest.fixture(scope="module")
def paths(product) -> list[str]:
    return sorted(map(str, product.glob("**/*_60m.jp2")))[:4]


def plan(*arguments: object, **options) -> Result:
    return CliRunner().invoke(cli.main, ["plan", *map(str, arguments)], **options)


def rows_of(paths: list[str]) -> list[dict]:
    return [{"Path": path, "rlevel": level} for path in paths for level in (-1, 0)] + [{"Path": paths[0]}]


def verify_as_planned(manifest: Path, output: Path) -> None:
    told = json.loads(plan(manifest, "--json").stdout)
    done = run(manifest, output, "--json")
    assert done.exit_code == 0, done.stderr
    records = lines(output.with_name(f"{output.name}.records.ndjson"))
    reads = [record for record in records if record["same_as"] is None]
    assert (told["items"], told["reads"]) == (len(records), len(reads))
    assert (told["estimates"], told["failed"]) == (0, 0)
    assert told["bytes"] == json.loads(done.stdout)["bytes_read"]
    assert told["requests"] == sum(record["requests"] for record in reads)


def test_a_batch_takes_what_was_planned(paths, tmp_path):
    verify_as_planned(write_rows(tmp_path / "m.ndjson", rows_of(paths)), tmp_path / "out.ndjson")


def test_a_batch_from_a_store_takes_what_was_planned(http_server, tmp_path):
    for number in (1, 2):
        pixels = np.random.default_rng(number).integers(0, 4000, (1, 700, 700), np.uint16)
        http_server.files[f"{number}.jp2"] = encode(pixels, Coding(tile=(256, 256), tlm=True))
    urls = [http_server.url(f"{number}.jp2") for number in (1, 2)]
    verify_as_planned(write_rows(tmp_path / "m.ndjson", rows_of(urls)), tmp_path / "out.ndjson")


def test_seconds_are_by_what_is_given(paths, tmp_path):
    manifest = write_rows(tmp_path / "m.ndjson", rows_of(paths))
    near, far, narrow = (
        json.loads(plan(manifest, "--json", "--latency", wait, "--bandwidth", speed, "--connections", 4).stdout)
        for wait, speed in [("1ms", "60MB"), ("1s", "60MB"), ("1ms", "10kB")]
    )
    assert near["seconds"] < far["seconds"]
    assert near["seconds"] < narrow["seconds"]
    assert plan(manifest, "--latency", "soon").exit_code == 2


def test_the_table_is_for_people(paths, tmp_path):
    done = plan(write_rows(tmp_path / "m.ndjson", rows_of(paths)))
    assert done.exit_code == 0, done.stderr
    assert "9, served by 8 reads" in done.stdout
    assert "fetches" in done.stdout


def test_an_image_that_cannot_be_planned_is_one_line_and_others_go_on(paths, tmp_path):
    done = plan(write_rows(tmp_path / "m.ndjson", [{"Path": f"{tmp_path}/none.jp2"}, {"Path": paths[0]}]), "--json")
    assert done.exit_code == 1
    assert [line for line in done.stderr.splitlines() if "none.jp2" in line] == done.stderr.splitlines()
    assert (json.loads(done.stdout)["planned"], json.loads(done.stdout)["failed"]) == (1, 1)


@pytest.mark.parametrize("name", ["m.txt", "list", "-"])
def test_a_manifest_is_known_by_name_content_or_dash(name, paths, tmp_path):
    text = "\n".join(paths)
    (tmp_path / "m.txt").write_text(text)
    (tmp_path / "list").write_text(text)
    done = plan("-" if name == "-" else tmp_path / name, "--json", input=text)
    assert json.loads(done.stdout)["items"] == len(paths)


def test_bad_rows_start_nothing(tmp_path):
    done = plan(write_rows(tmp_path / "m.ndjson", [{"Path": ""}, {"Path": "a.jp2", "rlevel": 99}]))
    assert done.exit_code == 2
    assert "line 1: " in done.stderr
    assert "line 2: " in done.stderr
