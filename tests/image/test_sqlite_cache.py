"""The file of blobs: many processes, little room, and damage."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from jp2batch.image.index.sqlite_cache import SqliteCache

ROOMY = 1 << 30


def put(file: SqliteCache, key: str, data: bytes) -> None:
    file.update(key, lambda _: data)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "blobs.sqlite"


def test_what_is_put_is_found_by_others(path):
    put(SqliteCache(path, ROOMY), "key", b"data")
    assert SqliteCache(path, ROOMY).get("key") == b"data"
    assert SqliteCache(path, ROOMY).get("other") is None


def test_looking_makes_no_file(path):
    assert SqliteCache(path, ROOMY).get("key") is None
    assert len(SqliteCache(path, ROOMY)) == 0
    assert not path.parent.exists()


def test_a_change_sees_what_is_there(path):
    file = SqliteCache(path, ROOMY)
    put(file, "key", b"a")
    file.update("key", lambda old: (old or b"") + b"b")
    assert file.get("key") == b"ab"
    file.update("key", lambda _: None)
    assert file.get("key") is None


def test_what_was_not_used_for_longest_gives_way(path, monkeypatch):
    file, size = SqliteCache(path, 300_000), 10_000
    for number in range(20):
        put(file, str(number), bytes([number]) * size)
    monkeypatch.setattr(time, "time", lambda now=time.time: now() + 7200)
    assert file.get("0")  # which is a use
    for number in range(20, 36):
        put(file, str(number), bytes([number]) * size)
        assert path.stat().st_size < 2 * 300_000
    assert file.get("35")
    assert file.get("0")
    assert file.get("1") is None
    assert 15 < len(file) < 30


def test_one_that_is_larger_than_the_room_is_not_kept(path):
    file = SqliteCache(path, 100_000)
    put(file, "key", bytes(200_000))
    assert file.get("key") is None
    put(file, "small", b"data")
    assert file.get("small") == b"data"


def garbage(path):
    path.write_bytes(b"this is no database" * 1000)


def halved(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scribbled(path):
    data = path.read_bytes()
    path.write_bytes(data[:200] + b"\xa5" * (len(data) - 200))


def without_table(path):
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE blobs")
    db.close()


def older(path):
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()


@pytest.mark.parametrize("damage", [garbage, halved, scribbled, without_table, older])
def test_a_damaged_file_is_made_anew(path, damage):
    file = SqliteCache(path, ROOMY)
    for number in range(100):
        put(file, f"old {number}", bytes(1000))
    damage(path)
    file = SqliteCache(path, ROOMY)
    for number in range(3):  # one may be lost with the damage
        put(file, f"new {number}", b"data")
        file.get(f"old {number}")
    assert file.get("new 2") == b"data"


def test_a_folder_that_cannot_be_made_costs_nothing_but_the_file(tmp_path):
    (tmp_path / "file").write_text("in the way")
    file = SqliteCache(tmp_path / "file" / "folder" / "blobs.sqlite", ROOMY)
    put(file, "key", b"data")
    assert file.get("key") is None


def test_a_folder_that_cannot_be_written_costs_nothing_but_the_file(path):
    path.parent.mkdir()
    path.mkdir()  # nobody can write a file in its place, not even root
    path.parent.chmod(stat.S_IRUSR | stat.S_IXUSR)
    file = SqliteCache(path, ROOMY)
    put(file, "key", b"data")
    assert file.get("key") is None
    path.parent.chmod(stat.S_IRWXU)


def test_others_may_hold_it_for_long(path):
    file = SqliteCache(path, ROOMY)
    put(file, "key", b"data")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    put(file, "key", b"more")  # gives up before the other ends
    assert file.get("key") == b"data"
    other.execute("ROLLBACK")
    other.close()
    put(file, "key", b"more")
    assert file.get("key") == b"more"


def test_a_fault_that_passes_costs_a_while_without_the_file(path, monkeypatch):
    file, faults, connect = SqliteCache(path, ROOMY), [], sqlite3.connect

    def failing(*arguments, **options):
        if faults:
            raise faults.pop()
        return connect(*arguments, **options)

    monkeypatch.setattr(sqlite3, "connect", failing)
    faults += [sqlite3.OperationalError("disk I/O error")]
    put(file, "key", b"data")
    assert file.get("key") == b"data"  # the second try has gone well
    faults += [sqlite3.OperationalError("disk I/O error")] * 2
    assert file.get("key") is None
    assert file.get("key") is None
    monkeypatch.setattr(time, "monotonic", lambda now=time.monotonic: now() + 61)
    assert file.get("key") == b"data"


def test_a_key_that_is_no_text_is_none(path):
    file = SqliteCache(path, ROOMY)
    put(file, "http://host/\udcff", b"data")
    assert file.get("http://host/\udcff") is None
    put(file, "key", b"data")
    assert file.get("key") == b"data"


def test_nothing_is_kept_beside_it_that_one_machine_alone_can_share(path):
    file = SqliteCache(path, ROOMY)
    put(file, "key", b"data")
    assert {one.name.removeprefix(path.name) for one in path.parent.iterdir()} <= {"", "-journal"}


def open_below(folder):
    return [one.path for one in psutil.Process().open_files() if Path(one.path).is_relative_to(folder)]


def test_no_operation_leaves_the_file_open(path):
    file = SqliteCache(path, ROOMY)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: put(file, str(number), b"data"), range(20)))
    assert (file.get("0"), file.get("other"), len(file)) == (b"data", None, 20)
    assert open_below(path.parent) == []


@pytest.mark.parametrize("damage", [garbage, halved, scribbled, without_table, older])
def test_no_damage_leaves_the_file_open(path, damage):
    file = SqliteCache(path, ROOMY)
    put(file, "key", bytes(100_000))
    damage(path)
    file.get("key")
    assert open_below(path.parent) == []


def test_a_change_that_fails_changes_nothing_and_leaves_the_file_closed(path):
    file = SqliteCache(path, ROOMY)
    put(file, "key", b"data")
    with pytest.raises(ZeroDivisionError):
        file.update("key", lambda _: bytes([1 // 0]))
    assert open_below(path.parent) == []
    assert file.get("key") == b"data"


def test_a_file_that_was_replaced_is_read_and_written(path, tmp_path):
    file, other = SqliteCache(path, ROOMY), SqliteCache(tmp_path / "other.sqlite", ROOMY)
    put(file, "key", b"old")
    put(other, "key", b"new")
    other.path.replace(path)
    assert file.get("key") == b"new"
    put(file, "more", b"data")
    assert SqliteCache(path, ROOMY).get("more") == b"data"


def child_that_uses(file, number):
    child = os.fork()
    if not child:
        signal.alarm(30)
        while file.get(f"child {number}") is None:  # others write
            put(file, f"child {number}", b"data")
        os._exit(0)
    return child


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_children_that_are_forked_while_threads_use_it_may_use_it(path):
    file, end = SqliteCache(path, ROOMY), threading.Event()

    def change_it(name):
        while not end.is_set():
            file.update(name, lambda old: (old or b"")[-10_000:] + b"more")

    with ThreadPoolExecutor(2) as pool:
        changes = [pool.submit(change_it, name) for name in "ab"]
        codes = [os.waitpid(child_that_uses(file, number), 0)[1] for number in range(30)]
        end.set()
        for change in changes:
            change.result()
    assert set(codes) == {0}  # the alarm ended none
    assert file.get("a")


MANY = """
import sys
from pathlib import Path
from jp2batch.image.index.sqlite_cache import SqliteCache
file = SqliteCache(Path(sys.argv[1]), 1 << 30)
sys.stdin.readline()
for number in range(200):
    file.update("shared", lambda old: (old or b"") + sys.argv[2].encode())
    file.update(f"{sys.argv[2]} {number}", lambda _: b"data")
"""


def test_processes_may_make_and_fill_it_together(path):
    children = [
        subprocess.Popen([sys.executable, "-c", MANY, str(path), name], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        for name in "ab"
    ]
    for child in children:
        child.stdin.write(b"\n")  # type: ignore[union-attr]
        child.stdin.flush()  # type: ignore[union-attr]
    assert [child.communicate(timeout=60)[1] for child in children] == [b"", b""]
    assert [child.returncode for child in children] == [0, 0]
    file = SqliteCache(path, ROOMY)
    shared = file.get("shared")
    assert shared is not None
    assert set(shared) == set(b"ab")
    assert len(file) > 300  # one may have been busy for too long, at times
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
