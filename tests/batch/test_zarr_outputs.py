"""Zarr stores: a group per item, opened without listings; and a cube, a plane per item."""

import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import xarray as xr
from zarr.storage import LocalStore, WrapperStore

import jp2batch
from jp2batch.sample.product import DATE, make_product
from support.runs import check_records, run, start, write_rows
from support.waiting import wait_until


class CountingStore(WrapperStore):
    """A local store that counts its requests."""

    counts: ClassVar[Counter[str]] = Counter()

    async def get(self, *args, **options):
        self.counts["get"] += 1
        return await super().get(*args, **options)

    def list_dir(self, prefix):
        self.counts["list"] += 1
        return super().list_dir(prefix)


def requests_to_open(path: Path, **options) -> Counter[str]:
    """Return the requests for opening a tree, and check its groups."""
    CountingStore.counts.clear()
    with xr.open_datatree(CountingStore(LocalStore(path, read_only=True)), engine="zarr", **options) as tree:
        assert len(tree.children) == sum(one.is_dir() for one in path.iterdir())
    return Counter(CountingStore.counts)


def test_a_complete_run_leaves_groups_that_open_without_a_listing(image, tmp_path):
    rows = [{"Path": str(image), "rlevel": 0, "window": f"{r}:{r + 5},0:20"} for r in range(20)]
    manifest, store = write_rows(tmp_path / "m.ndjson", rows), tmp_path / "results.zarr"
    few = write_rows(tmp_path / "few.ndjson", rows[:18])
    assert run(few, store).exit_code == 0
    before, now = requests_to_open(store, consolidated=False), requests_to_open(store)
    assert (now["list"], now["get"]) == (0, 2 * 18 + 4)  # x and y of each group
    assert before["list"] > 0
    assert before["get"] > 2 * now["get"]
    assert run(manifest, store, "--resume").exit_code == 0
    assert requests_to_open(store)["list"] == 0
    image.write_bytes(b"")
    assert run(manifest, store, "--overwrite").exit_code == 1
    assert requests_to_open(store)["list"] == 0


# Cubes


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> list[str]:
    """Return small images of three dates and two bands."""
    return images(tmp_path_factory.mktemp("dates"), 3, ["B04", "B8A"])


def images(folder: Path, dates: int, bands: list[str]) -> list[str]:
    """Make images of some dates, each band with its smallest pixels."""
    days = [DATE + timedelta(days=5 * number) for number in range(dates)]
    products = [make_product(folder, date=day, size=120, bands=bands) for day in days]
    return [request.path for request in jp2batch.list_requests(products, bands=bands)]


def write_items(path: Path, paths: list[str], **columns: object) -> Path:
    return write_rows(path, [{"Path": path, "rlevel": 0} | columns for path in paths])


def check_cube(store: object, paths: list[str], rlevel: int, **options) -> None:
    """Check that a stored cube is the opened cube."""
    with xr.open_dataset(store, engine="zarr", decode_coords="all", **options) as stored:
        xr.testing.assert_identical(stored["cube"].compute(), jp2batch.open_cube(paths, rlevel).compute())


@pytest.mark.parametrize("output", [["cube.zarr"], ["all.zarr", "--format", "cube"]], ids=["name", "format"])
def test_a_cube_is_filled_where_items_fail_and_completed_when_resumed(output, tmp_path):
    paths = images(tmp_path, 2, ["B04", "B8A"])
    manifest = write_items(tmp_path / "m.ndjson", [*paths, paths[0]])
    good = Path(paths[3]).read_bytes()
    Path(paths[3]).write_bytes(good[:500])
    store, *flags = tmp_path / output[0], *output[1:]
    assert run(manifest, store, *flags).exit_code == 1
    with xr.open_dataset(store, engine="zarr", decode_coords="all") as stored:
        expected = jp2batch.open_cube(paths[:3], 0, missing="fill").compute()
        np.testing.assert_array_equal(stored["cube"], expected)
    Path(paths[3]).write_bytes(good)
    done = run(manifest, store, *flags, "--resume", "--json")
    assert (done.exit_code, json.loads(done.stdout)["kept"]) == (0, 4)
    check_cube(store, paths, 0)
    records = check_records(tmp_path / f"{output[0]}.records.ndjson", manifest)
    sizes = {path.name: path.stat().st_size for path in (store / "cube").glob("c.*")}
    assert {Path(record["output"]).name: record["output_size"] for record in records.values()} == sizes


def test_another_cube_is_refused_and_stays(paths, tmp_path):
    store, manifest = tmp_path / "cube.zarr", write_items(tmp_path / "m.ndjson", paths[:4])
    assert run(manifest, store).exit_code == 0
    more, lower = (write_items(tmp_path / "more", paths[2:]), write_items(tmp_path / "lower", paths[:4], rlevel=1))
    for other, problem in ((more, "times or bands"), (lower, "rows, columns")):
        for flag in ("--resume", "--overwrite"):
            done = run(other, store, flag)
            assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
            assert f"cube.zarr: the cube there has other {problem}" in done.stderr
    check_cube(store, paths[:4], 0)


def test_a_zarr_store_of_another_origin_is_refused_and_stays(paths, tmp_path):
    store, manifest = tmp_path / "cube.zarr", write_items(tmp_path / "m.ndjson", paths[:4])
    cube = jp2batch.open_cube(paths[:4])
    cube.drop_vars([name for name in cube.coords if name not in cube.dims]).to_zarr(store, consolidated=False)
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    for flag in ((), ("--overwrite",)):
        done = run(manifest, store, *flag)
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
        assert "cube.zarr: the " in done.stderr
        assert "(give another name, or remove it)" in done.stderr
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"Path": "a.jp2"}, "a.jp2: its name does not contain band and time"),
        ({"rlevel": 1}, "a cube has a single rlevel, but items have 0, 1"),
        ({"window": "0:9,0:9"}, "has a window, but a cube has a single grid"),
    ],
    ids=["name", "level", "window"],
)
def test_items_that_make_no_cube_are_refused_before_anything_is_written(row, problem, paths, tmp_path):
    rows = [{"Path": paths[0], "rlevel": 0}, {"Path": paths[1], "rlevel": 0} | row]
    done = run(write_rows(tmp_path / "m.ndjson", rows), tmp_path / "cube.zarr")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert problem in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["m.ndjson"]


def test_a_cube_is_a_zarr_store(image, tmp_path):
    done = run(write_rows(tmp_path / "m.ndjson", [str(image)]), f"{tmp_path}/out/", "--format", "cube")
    assert (done.exit_code, "give a name ending in .zarr" in done.stderr) == (2, True)


@pytest.mark.seaweedfs
@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
@pytest.mark.parametrize(
    ("dates", "bands", "engine"),
    [
        (6, ["B04", "B8A"], ["--local-threads"]),
        pytest.param(40, ["B04", "B08", "B8A"], ["--workers", "3"], marks=pytest.mark.exhaustive),
    ],
    ids=["small", "large"],
)
def test_a_cube_in_a_store_survives_two_kills(dates, bands, engine, away, fs, tmp_path):  # noqa: PLR0917
    paths = images(tmp_path, dates, bands)
    manifest = write_items(tmp_path / "m.ndjson", paths)
    url, planes = f"{away}/cube.zarr", count_planes(fs, f"{away}/cube.zarr")
    for number in (len(paths) // 6, len(paths) // 2):
        process = start(manifest, "-o", url, "--resume", *engine)
        wait_until(lambda: planes() >= number, 120)  # noqa: B023
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)
    whole = planes()
    done = run(manifest, url, "--resume", "--json", "--clean")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["kept"] == whole
    assert planes() == len(paths)
    check_cube(fs.get_mapper(url), paths, 0)


def count_planes(fs, url: str) -> Callable[[], int]:
    """Return a function that counts the planes in a store."""
    return lambda: sum("/cube/c." in name for name in fs.find(url, refresh=True))
