"""Roots on the web and in buckets: no path and no redirect leads to what is not below of them."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from benchmarks.seaweedfs import free_ports
from support.hostile_paths import PATHS_OUTSIDE
from support.servers import RangeServer, range_server
from support.services import Service, serving

ROOTS = ["web", "bucket"]
ODD = [
    "file:///etc/passwd",
    "http://127.0.0.1:1/secret.jp2",
    "simplecache::file:///etc/passwd",
    "B8A.jp2?versionId=1",
    "B8A.jp2?x=/secret.jp2",
    "B8A.jp2#../secret.jp2",
    "?list-type=2",
    "B8A.jp2/",
    "@host/secret.jp2",
    "%2525",
    "~",
    "%",
]


@pytest.fixture(scope="module")
def data(image_of) -> bytes:
    return Path(image_of("B8A_60m")).read_bytes()


@pytest.fixture(scope="module")
def store(data) -> Iterator[RangeServer]:
    with range_server() as server:
        server.files |= {"bucket/images/B8A.jp2": data, "bucket/secret.jp2": data, "secret.jp2": data}
        yield server


@pytest.fixture(scope="module")
def service(store) -> Iterator[Service]:
    """Return a service over one folder of a server: as a web server's, and as a bucket's."""
    bucket = ["--root", "bucket=s3://bucket/images", "--endpoint-url", store.address, "--no-sign-request"]
    with serving(*bucket, "--root", f"web={store.address}/bucket/images", "--workers", "1") as running:
        yield running


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("path", PATHS_OUTSIDE, ids=ascii)
def test_no_path_leads_out(service, store, root, path):
    store.paths.clear()
    answer = service.ask(body=json.dumps({"Path": path, "root": root}).encode())
    assert answer.detail
    if answer.status != 404:
        assert answer.status in {400, 403}
        assert store.paths == [], "it is refused before anything is asked"
    else:
        assert root == "bucket", "elsewhere it is no key"
        assert [unquote(asked) for asked in store.paths] == [f"/bucket/images/{path}"]


KEYS = ["a//B8A.jp2", "./B8A.jp2", "a/./B8A.jp2", "T10:00.jp2", "a::b", "B8A.jp2?versionId=1", "a?b#c"]


@pytest.mark.parametrize("key", KEYS)
def test_a_key_of_a_bucket_is_asked_for_as_it_is(service, store, data, key):
    store.paths.clear()
    store.files[f"bucket/images/{key}"] = data
    assert service.ask(body={"Path": key, "root": "bucket"}).status == 200
    assert {unquote(asked) for asked in store.paths} == {f"/bucket/images/{key}"}
    del store.files[f"bucket/images/{key}"]


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("path", ODD, ids=ascii)
def test_odd_paths_stay_below(service, store, root, path):
    store.paths.clear()
    answer = service.ask(body={"Path": path, "root": root})
    assert answer.status in {400, 403, 404, 502}
    assert answer.detail
    assert all(asked.startswith("/bucket/images/") for asked in store.paths), store.paths


@pytest.mark.parametrize(("root", "path"), [("web", ".//B8A.jp2"), ("bucket", "B8A.jp2")])
def test_what_is_below_is_read(service, store, root, path):
    store.paths.clear()
    assert service.ask(body={"Path": path, "root": root}).status == 200
    assert set(store.paths) == {"/bucket/images/B8A.jp2"}


def test_a_root_that_is_not_reached_is_not_named():
    (port,) = free_ports(1)
    roots = ["--root", "bucket=s3://bucket/images", "--root", f"web=http://localhost:{port}/images"]
    more = ["--endpoint-url", f"http://localhost:{port}", "--no-sign-request", "--workers", "1"]
    with serving(*roots, *more, env={"DASK_JP2BATCH__RETRIES__ATTEMPTS": "1"}) as service:
        for root in ROOTS:
            answer = service.ask(body={"Path": "a.jp2", "root": root})
            detail = "the store cannot be reached when reading bytes 0:8192 (8192)"
            assert (answer.status, answer.detail) == (502, detail)
            assert str(port) in service.logged(answer.headers["x-request-id"])["detail"]


@pytest.mark.parametrize(
    "target",
    [
        "/bucket/secret.jp2",
        "/secret.jp2",
        "../secret.jp2",
        "/bucket/images/../secret.jp2",
        "/bucket/images/%2e%2e/secret.jp2",
        "/bucket/images/%252e%252e/secret.jp2",
        "/bucket/imagesless.jp2",
        "//example.invalid/bucket/images/B8A.jp2",
        "https://127.0.0.1/bucket/images/B8A.jp2",
        "file:///etc/passwd",
        "http://[",
    ],
)
def test_no_redirect_leads_out(service, store, target):
    store.moved["/bucket/images/moved.jp2"] = target
    store.paths.clear()
    answer = service.ask(body={"Path": "moved.jp2", "root": "web"})
    assert answer.status == 403
    assert answer.detail == "the server redirects out of the root"
    assert store.paths == ["/bucket/images/moved.jp2"]


def test_no_redirect_leads_to_another_server(service, store, data):
    with range_server() as other:
        other.files["bucket/images/B8A.jp2"] = data
        store.moved["/bucket/images/moved.jp2"] = f"{other.address}/bucket/images/B8A.jp2"
        assert service.ask(body={"Path": "moved.jp2", "root": "web"}).status == 403
        assert other.paths == []


@pytest.mark.parametrize("target", ["/bucket/images/B8A.jp2", "B8A.jp2", "../images/B8A.jp2"])
def test_a_redirect_within_the_root_is_followed(service, store, target):
    store.moved["/bucket/images/moved.jp2"] = target
    assert service.ask(body={"Path": "moved.jp2", "root": "web"}).status == 200
