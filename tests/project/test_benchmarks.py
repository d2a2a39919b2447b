"""The benchmarks measure what they say: the server's limits, the tables, and each of them on small images."""

import contextlib
import http.client
import math
import re
import socket
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks import ROOT, scaling
from benchmarks.__main__ import BENCHMARKS, README
from benchmarks.__main__ import main as measure_all
from benchmarks.range_server import parse_range
from benchmarks.server import Counts, Link, Quota, Server, serving
from benchmarks.store_limits import quota
from benchmarks.table import Demand, Table, cells_of, circumstances, seconds, write_section

DATA = bytes(range(256)) * 1000


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    folder.joinpath("data.bin").write_bytes(DATA)
    folder.joinpath("below").mkdir()
    folder.joinpath("below", "hidden.bin").write_bytes(DATA)
    return folder


def ask(server: Server, span: str = "", method: str = "GET", name: str = "data.bin") -> tuple[int, dict, bytes]:
    connection = http.client.HTTPConnection(server.address.removeprefix("http://"), timeout=10)
    connection.request(method, f"/{name}", headers={"Range": span} if span else {})
    answer = connection.getresponse()
    found = answer.status, dict(answer.headers), answer.read()
    connection.close()
    return found


@pytest.mark.parametrize(
    ("asked", "span"),
    [
        ("bytes=0-9", (0, 10)),
        ("bytes=90-", (90, 100)),
        ("bytes=90-1000", (90, 100)),
        ("bytes=-10", (90, 100)),
        ("bytes=-1000", (0, 100)),
        ("bytes=100-200", None),
        ("bytes=-0", None),
        ("bytes=0-1,5-6", (0, 100)),
        ("bytes=-", (0, 100)),
        ("lines=1-2", (0, 100)),
    ],
)
def test_ranges_are_understood(asked, span):
    assert parse_range(asked, 100) == span


def test_the_server_sends_what_is_asked_for(folder):
    with serving(folder, Link()) as server:
        assert ask(server)[::2] == (200, DATA)
        status, headers, body = ask(server, "bytes=300-999")
        assert (status, headers["Content-Range"], body) == (206, f"bytes 300-999/{len(DATA)}", DATA[300:1000])
        assert ask(server, "bytes=-5")[2] == DATA[-5:]
        status, headers, body = ask(server, method="HEAD")
        assert (status, headers["Content-Length"], body) == (200, str(len(DATA)), b"")
        assert headers["ETag"]
        assert headers["Accept-Ranges"] == "bytes"
        assert ask(server, f"bytes={len(DATA)}-")[0] == 416
        assert ask(server, name="nothing.bin")[0] == 404
        assert ask(server, name="below/hidden.bin")[0] == 404
        assert server.counts() == Counts(requests=7, refused=0, bytes=len(DATA) + 705, most_at_once=1)


def test_a_connection_serves_many_requests(folder):
    with serving(folder, Link()) as server:
        connection = http.client.HTTPConnection(server.address.removeprefix("http://"), timeout=10)
        for start in range(5):
            connection.request("GET", "/data.bin", headers={"Range": f"bytes={start}-{start}"})
            assert connection.getresponse().read() == bytes([start])
        connection.close()
        assert server.counts().requests == 5


def test_the_server_is_late_and_slow(folder):
    with serving(folder, Link(latency=0.1, bandwidth=len(DATA) / 0.2)) as server:
        begin = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            bodies = list(pool.map(lambda _: ask(server)[2], range(8)))
        assert bodies == [DATA] * 8
        assert time.monotonic() - begin >= 0.3
        assert server.counts().most_at_once == 8  # none waits for another


def test_more_at_once_than_allowed_is_refused(folder):
    with serving(folder, Link(latency=0.2, at_once=2)) as server, ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: ask(server), range(6)))
        assert sorted(status for status, *_ in answers) == [200] * 2 + [429] * 4
        assert {headers.get("Retry-After") for status, headers, _ in answers if status == 429} == {"1"}
        assert server.counts() == Counts(requests=6, refused=4, bytes=2 * len(DATA), most_at_once=2)
        assert ask(server)[0] == 200


def test_more_within_a_minute_than_allowed_is_refused(folder):
    with serving(folder, Link(per_minute=3)) as server:
        answers = [ask(server) for _ in range(4)]
        assert [status for status, *_ in answers] == [200, 200, 200, 429]
        assert 55 <= int(answers[-1][1]["Retry-After"]) <= 60


def test_a_minute_is_any_60_seconds():
    quota = Quota(at_once=10, per_minute=3)
    assert [quota.wait(now, 0) for now in (0.0, 20.0, 40.0, 50.5, 60.0, 61.0)] == [0, 0, 0, 10, 0, 19]


def test_the_server_ends_with_its_order(folder):
    with serving(folder, Link()) as server:
        assert ask(server, "bytes=0-0")[0] == 206
    with pytest.raises(ConnectionRefusedError):
        ask(server)


def test_a_link_tells_what_it_is():
    assert str(Link(0.03, 60e6)) == "30 ms a request, 60 MB/s a connection"
    assert str(Link(0.03, math.inf, 4, 2000)).endswith("4 connections, 2000 requests a minute")


def test_tables_are_aligned():
    table = Table(("read", "time"), [("a", "1.5 s"), ("long", "–")], ["A note."])
    assert str(table) == ("| read |  time |\n| ---- | ----: |\n| a    | 1.5 s |\n| long |     – |\n\nA note.")
    assert seconds(1.234) == "1.23 s"
    assert seconds(0.0456) == "46 ms"


def test_what_is_demanded_stands_beside_the_figure():
    fast = Demand("overview beside jp2batch", 8.64, "≥", 9, aim=14)
    small = Demand("overview", 8.0, "≤", 8, "MB")
    assert (fast.cells, small.cells) == (("≥ 9 x", "≥ 14 x"), ("≤ 8 MB", ""))
    assert cells_of(fast, None, small) == ("≥ 9 x, ≤ 8 MB", "≥ 14 x")
    assert cells_of(None) == ("", "")
    assert (fast.met, small.met, Demand("p99", 5, "<", 5, "ms").met) == (False, True, False)
    assert str(fast) == "overview beside jp2batch: 8.64 x (≥ 9 x is demanded)"


def test_columns_without_cells_are_left_out():
    table = Table(("read", "aim", "time"), [("a", "", "1 s"), ("b", "", "")], ["A note."]).without_empty_columns()
    assert (table.head, table.rows, table.notes) == (("read", "time"), [("a", "1 s"), ("b", "")], ["A note."])


@pytest.mark.parametrize(("figure", "quick", "code"), [(9.5, False, 0), (8.5, False, 1), (8.5, True, 0)])
def test_what_is_not_as_demanded_is_named_at_the_end(figure, quick, code, monkeypatch, capsys):
    demands = [Demand("one", 1.0, "≤", 1), Demand("two", figure, "≥", 9)]
    monkeypatch.setattr(scaling, "latency", lambda setting: Table(("read",), [("a",)], demands=demands))
    arguments = ["--print", *["--quick"][:quick]]
    monkeypatch.setattr(sys, "argv", ["benchmarks", "latency", *arguments])
    with pytest.raises(SystemExit) if code else contextlib.nullcontext() as raised:
        measure_all()
    assert capsys.readouterr().out.startswith("| read |")
    if raised is not None:
        assert raised.value.code == "not as demanded:\nlatency: two: 8.5 x (≥ 9 x is demanded)"


def test_the_quota_is_that_of_the_profile():
    assert quota() == Link(0.06, 20e6, 4, 2000)


def test_a_table_goes_between_its_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- begin a -->\nold\n<!-- end a -->\nafter\n")
    for _ in range(2):
        write_section(page, "a", "new\n")
        assert page.read_text() == "before\n<!-- begin a -->\n\nnew\n\n<!-- end a -->\nafter\n"
    with pytest.raises(ValueError, match="no marks"):
        write_section(page, "b", "new")


def test_a_table_tells_what_it_was_measured_with():
    assert re.search(r"cores.*Python 3.*jp2batch .*OpenJPEG 2", circumstances())


def test_the_page_has_a_place_for_each_table():
    text = README.read_text(encoding="utf-8")
    assert re.findall(r"<!-- begin (\w+) -->", text) == list(BENCHMARKS)
    assert re.findall(r"<!-- end (\w+) -->", text) == list(BENCHMARKS)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_runs_on_small_images(name, tmp_path_factory):
    needed = {
        "scaling": "matplotlib",
        "service": "gunicorn",
        "cube_ndvi": "odc.stac",
        "odc_driver": "odc.stac",
        "tiler": "rio_tiler",
        "series_quota": "odc.stac",
        "extract": "rasterstats",
    }
    pytest.importorskip(needed.get(BENCHMARKS[name].partition(".")[0], "rasterio"))
    folder = tmp_path_factory.getbasetemp() / "benchmarks"
    before = README.read_bytes()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", name, "--quick", "--folder", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^\|.*\|$", done.stdout, re.MULTILINE)) >= 3
    assert README.read_bytes() == before


def test_one_that_does_not_exist_is_refused():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "nothing"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "no such benchmark: nothing; there are " in done.stderr


def test_clients_that_hang_up_do_not_end_the_server(folder):
    with serving(folder, Link(latency=0.05)) as server:
        host, _, port = server.address.removeprefix("http://").partition(":")
        for _ in range(20):
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # ends by a reset
                connection.sendall(b"GET /data.bin HTTP/1.1\r\nHost: x\r\nRange: bytes=0-99\r\n\r\n")
                time.sleep(0.002)
        time.sleep(0.1)
        assert ask(server, "bytes=0-0")[0] == 206
