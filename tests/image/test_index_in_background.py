"""Indexes are written in the background: nothing waits for them, and none is lost."""

import os
import subprocess
import sys
import threading
import time

import dask
import numpy as np
import pytest

from jp2batch.core.request import Request
from jp2batch.image import index
from jp2batch.image.index.background import BackgroundWriter
from jp2batch.image.index.sqlite_cache import SqliteCache
from jp2batch.image.read import read_pixels
from support.forking import fork_and_do
from support.images import MANY_TILES
from support.reads import start_anew


def test_writes_keep_their_order() -> None:
    writer, done = BackgroundWriter(), []
    for number in range(300):
        writer.submit("key", lambda number=number: done.append(number))  # type: ignore[misc]
    assert writer.flush()
    assert done == list(range(300))


def test_a_write_is_not_waited_for_but_on_demand() -> None:
    writer, go, done = BackgroundWriter(), threading.Event(), []
    writer.submit("slow", lambda: (go.wait(), done.append("slow")))  # type: ignore[func-returns-value,arg-type,return-value]
    writer.submit("next", lambda: done.append("next"))
    writer.wait_for("other")
    assert not writer.flush(0.01)
    assert done == []
    go.set()
    writer.wait_for("slow")
    assert done[0] == "slow"
    writer.wait_for("next")
    assert done == ["slow", "next"]


def test_a_write_that_fails_keeps_nothing_from_the_next() -> None:
    writer, done = BackgroundWriter(), []
    writer.submit("bad", lambda: 1 // 0)  # type: ignore[arg-type,return-value]
    writer.submit("good", lambda: done.append(1))
    assert writer.flush()
    assert done == [1]


def test_too_many_writes_wait() -> None:
    writer, go = BackgroundWriter(), threading.Event()
    for _ in range(BackgroundWriter._MOST):
        writer.submit("key", go.wait)  # type: ignore[arg-type]
    late = threading.Thread(target=writer.submit, args=("late", lambda: None))
    late.start()
    late.join(0.05)
    assert late.is_alive()
    go.set()
    late.join()
    assert writer.flush()


def _read(url: str) -> str:
    pixels = read_pixels(Request(url, 1))
    np.testing.assert_array_equal(pixels.values, MANY_TILES.oracle.at(1))
    return pixels.stats.located_by


@pytest.fixture
def url(http_server, tmp_path):
    """Let the index be in a folder of this test; return the address of an image."""
    http_server.files["image.jp2"] = MANY_TILES.data
    settings = {"jp2batch.index": {"enabled": True, "folder": str(tmp_path / "index")}, "jp2batch.max-whole-file": 0}
    with dask.config.set(settings):
        yield http_server.url("image.jp2")


def test_a_read_does_not_wait_for_its_write(url, monkeypatch) -> None:
    go, update = threading.Event(), SqliteCache.update
    monkeypatch.setattr(SqliteCache, "update", lambda *arguments: (go.wait(), update(*arguments)))
    assert _read(url) == "walk"
    assert _read(url) == "index"  # from memory
    go.set()
    start_anew()
    assert _read(url) == "index"


def test_an_index_dropped_from_memory_is_read_once_it_is_written(url, monkeypatch) -> None:
    update = SqliteCache.update
    monkeypatch.setattr(SqliteCache, "update", lambda *arguments: (time.sleep(0.1), update(*arguments)))
    assert _read(url) == "walk"
    index._memory().drop(url)
    assert _read(url) == "index"


CODE = """
import sys, time, dask
from jp2batch.image.index.sqlite_cache import SqliteCache
from jp2batch import read
update = SqliteCache.update
SqliteCache.update = lambda *arguments: (time.sleep(0.3), update(*arguments))
def main():
    read(sys.argv[1], 1)
if __name__ == "__main__":
    {act}
"""
CHILD = "import multiprocessing; c = multiprocessing.get_context('{}').Process(target=main); c.start(); c.join()"
WAYS = {"a process": "main()", "a spawned child": CHILD.format("spawn"), "a forked child": CHILD.format("fork")}


@pytest.mark.parametrize("act", WAYS.values(), ids=WAYS)
def test_nothing_is_lost_at_the_end_of(act, url, tmp_path) -> None:
    if "'fork'" in act and not hasattr(os, "fork"):
        pytest.skip("nothing is forked here")
    script = tmp_path / "script.py"
    script.write_text(CODE.format(act=act))
    own = {"ENABLED": "True", "FOLDER": str(tmp_path / "index")}
    env = os.environ | {f"DASK_JP2BATCH__INDEX__{name}": value for name, value in own.items()}
    env |= {"DASK_JP2BATCH__MAX_WHOLE_FILE": "0"}
    subprocess.run([sys.executable, str(script), url], check=True, env=env)
    assert _read(url) == "index"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked here")
def test_a_child_does_not_wait_for_the_writes_of_its_parent(url) -> None:
    writer, go = index.background_writer(), threading.Event()
    writer.submit("key", go.wait)  # type: ignore[arg-type]
    assert fork_and_do(lambda: index.flush(1.0) or os._exit(3)) == ""
    go.set()
    assert writer.flush()
