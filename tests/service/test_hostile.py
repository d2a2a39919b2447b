"""What no client should send gets the documented status, and reads nothing outside of the root."""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.hostile_paths import PATHS_OUTSIDE
from support.services import Service, serving

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def server(tmp_path_factory, image_of) -> Iterator[Service]:
    """Return a server over a folder `root`, beside which lies what it must not read."""
    place = tmp_path_factory.mktemp("hostile")
    root = place / "root"
    (root / "tiles").mkdir(parents=True)
    data = Path(image_of("B8A_60m")).read_bytes()
    for name in ("root/B8A.jp2", "root/tiles/B8A.jp2", "secret.jp2"):
        (place / name).write_bytes(data)
    (root / "text.jp2").write_text("not an image")
    (root / "cut.jp2").write_bytes(data[: len(data) // 2])
    (root / "empty.jp2").write_bytes(b"")
    (root / "link.jp2").symlink_to(place / "secret.jp2")
    (root / "folder").symlink_to(place)
    (root / "loop.jp2").symlink_to(root / "loop.jp2")
    os.mkfifo(root / "pipe.jp2")
    with serving("--root", str(root), "--workers", "1") as running:
        yield running


def check_refused(reply, statuses: set[int]) -> None:
    assert reply.status in statuses, (reply.status, reply.body[:300])
    assert reply.detail
    assert tempfile.gettempdir() not in reply.body.decode(), "it tells where the root is"


@pytest.mark.parametrize("path", PATHS_OUTSIDE, ids=ascii)
def test_no_path_leads_out_of_the_root(server, path):
    check_refused(server.ask(body=json.dumps({"Path": path}).encode()), {400, 403})


@pytest.mark.parametrize(
    ("path", "statuses"),
    [
        ("link.jp2", {403}),
        ("folder/secret.jp2", {403}),
        ("loop.jp2", {403, 404, 502}),
        ("pipe.jp2", {404}),
        ("tiles", {404, 422, 502}),
        ("nothing.jp2", {404}),
        ("%ff%fe.jp2", {400, 404}),
        ("text.jp2", {422}),
        ("empty.jp2", {422}),
        ("a/" * 2000 + "b", {400, 404}),
        ("n" * 300, {400, 404}),
        ("n" * 5000, {400}),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_what_is_no_image_below_the_root_is_told(server, path, statuses):
    check_refused(server.ask(body={"Path": path}), statuses)


def test_an_image_that_was_cut_off_is_told(server):
    check_refused(server.ask(body={"Path": "cut.jp2", "rlevel": 0}), {422})


BODIES = {
    "nothing": b"",
    "no JSON": b"Path=B8A.jp2",
    "cut off": b'{"Path": "B8A.jp2"',
    "a list": b'["B8A.jp2"]',
    "a number": b"1",
    "null": b"null",
    "no Path": b'{"rlevel": 1}',
    "Path twice": b'{"Path": "B8A.jp2", "Path": "../secret.jp2"}',
    "Path and path": b'{"Path": "B8A.jp2", "path": "../secret.jp2"}',
    "Path a list": b'{"Path": ["B8A.jp2"]}',
    "Path a number": b'{"Path": 7}',
    "Path null": b'{"Path": null}',
    "Path empty": b'{"Path": ""}',
    "Path blank": b'{"Path": "  "}',
    "NaN": b'{"Path": "B8A.jp2", "rlevel": NaN}',
    "infinity": b'{"Path": "B8A.jp2", "rlevel": -Infinity}',
    "1e400": b'{"Path": "B8A.jp2", "rlevel": 1e400}',
    "many digits": b'{"Path": "B8A.jp2", "rlevel": ' + b"9" * 5000 + b"}",
    "two to the 64": b'{"Path": "B8A.jp2", "rlevel": 18446744073709551616}',
    "99": b'{"Path": "B8A.jp2", "rlevel": 99}',
    "-2": b'{"Path": "B8A.jp2", "rlevel": -2}',
    "1.5": b'{"Path": "B8A.jp2", "rlevel": 1.5}',
    "true": b'{"Path": "B8A.jp2", "rlevel": true}',
    "text": b'{"Path": "B8A.jp2", "rlevel": "0"}',
    "a level that it lacks": b'{"Path": "B8A.jp2", "rlevel": 9}',
    "window reversed": b'{"Path": "B8A.jp2", "window": "9:1,0:5"}',
    "window outside": b'{"Path": "B8A.jp2", "rlevel": 0, "window": "0:99999,0:5"}',
    "window of objects": b'{"Path": "B8A.jp2", "window": {"a": 1}}',
    "window deep": b'{"Path": "B8A.jp2", "window": ' + b"[" * 500 + b"]" * 500 + b"}",
    "deep": b'{"Path": ' + b"[" * 20000 + b"]" * 20000 + b"}",
    "root unknown": b'{"Path": "B8A.jp2", "root": "other"}',
    "root a path": b'{"Path": "B8A.jp2", "root": "/etc"}',
    "not UTF-8": b'{"Path": "B8A\xff.jp2"}',
    "UTF-16": '{"Path": "B8A.jp2"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"Path": "../secret.jp2"}',
    "two bodies": b'{"Path": "B8A.jp2"}{"Path": "../secret.jp2"}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_a_malformed_body_is_told(server, body):
    check_refused(server.ask(body=body), {400, 403, 422})


def test_a_body_of_two_megabytes_is_refused(server):
    check_refused(server.ask(body=b'{"Path": "' + b"n" * (2 << 20) + b'"}'), {413})


def test_a_compressed_body_is_refused(server):
    check_refused(server.ask(body=b"\x1f\x8b" + bytes(20), headers={"Content-Encoding": "gzip"}), {415})


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD"])
def test_other_methods_are_told_of_those_there_are(server, method):
    reply = server.ask("/api/jp2", method=method)
    assert reply.status == 405
    assert "POST" in reply.headers["allow"]


@pytest.mark.parametrize("path", ["/api/jp2/", "/api", "/api/jp2/../../etc/passwd", "/%2e%2e/etc/passwd", "/static/x"])
def test_other_addresses_have_nothing(server, path):
    check_refused(server.ask(path, b"{}"), {404})


GOOD = b'{"Path": "B8A.jp2"}'
HEAD = b"POST /api/jp2 HTTP/1.1\r\nHost: localhost\r\n"
SMUGGLING = {
    "no length": HEAD + b"\r\n" + GOOD,
    "two lengths": HEAD + b"Content-Length: 19\r\nContent-Length: 5\r\n\r\n" + GOOD,
    "length and chunks": HEAD
    + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /metrics HTTP/1.1\r\n",
    "negative length": HEAD + b"Content-Length: -19\r\n\r\n" + GOOD,
    "length with a sign": HEAD + b"Content-Length: +19\r\n\r\n" + GOOD,
    "length in hexadecimal": HEAD + b"Content-Length: 0x13\r\n\r\n" + GOOD,
    "length too large": HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n" + GOOD,
    "chunks of odd length": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + GOOD,
    "an unknown encoding": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n" + GOOD,
    "a bare line feed": b"POST /api/jp2 HTTP/1.1\nHost: a\nContent-Length: x\n\n",
    "a space before the colon": HEAD + b"Content-Length : 19\r\n\r\n" + GOOD,
    "a folded header": HEAD + b"X-A: b\r\n c\r\nContent-Length: -1\r\n\r\n" + GOOD,
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00" + bytes(50) + b"\r\n\r\n",
    "a long header": HEAD + b"X-A: " + b"a" * 20000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("data", SMUGGLING.values(), ids=SMUGGLING.keys())
def test_ambiguous_requests_are_refused_and_the_connection_closed(server, data):
    received, end = server.raw(data + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert int(received.split()[1]) in {400, 411, 413, 431}
    assert received.count(b"HTTP/1.1 ") == 1, "what follows is not taken for a request"
    assert end in ("closed", "reset")


def test_headers_that_never_end_are_not_heard_out(server):
    received, end = server.raw(HEAD + b"X-A: " + b"a" * 100_000 + b"\r\n\r\n")
    assert received == b""
    assert end in ("closed", "reset")


def test_no_answer_was_a_surprise_and_it_answers_as_before(server):
    reply = server.ask(body={"Path": "tiles/B8A.jp2"})
    assert reply.status == 200
    assert list(reply.json) == ["img_data", "shape", "time_download", "time_processing"]
    asked = [line for line in server.lines if line["message"] == "request" and line["url"] != "/readyz"]
    surprises = [line for line in asked if line["status"] >= 500 and line["status"] != 502]
    assert not surprises, surprises
    assert not [line for line in server.lines if line["message"] == "unexpected"]
