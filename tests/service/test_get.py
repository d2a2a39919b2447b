"""GET for caches, descriptions, and several images in a request."""

import io
import json
import shutil
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
import shapely

import jp2batch
from support.answers import oracle, verify_contract
from support.services import Service, parsed, serving

BAND = "B8A_60m.jp2"


@pytest.fixture(scope="module")
def root(image_of, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("root")
    for name in ("B8A_60m", "TCI_60m"):
        shutil.copy(image_of(name), root / f"{name}.jp2")
    return root


@pytest.fixture(scope="module")
def service(root):
    with serving("--root", str(root), "--workers", "1", "--cache-control", "public, max-age=60") as running:
        yield running


def get(service: Service, at: str = "/api/jp2", headers=(), **query):
    return service.ask(f"{at}?{urlencode(query)}", headers=dict(headers))


def test_get_is_cacheable(service, root):
    first = get(service, path=BAND, rlevel=1)
    whole, _ = oracle(root / BAND)
    assert first.json == {"img_data": whole.at(1)[0].tolist(), "shape": list(whole.at(1).shape[1:])}
    assert first.headers["cache-control"] == "public, max-age=60"
    assert first.headers["etag"].startswith('"')
    again = get(service, path=BAND, rlevel=1)
    assert (again.body, again.headers["etag"]) == (first.body, first.headers["etag"])
    known = get(service, headers={"If-None-Match": f'"x", {first.headers["etag"]}'}, path=BAND, rlevel=1)
    assert (known.status, known.body, known.headers["etag"]) == (304, b"", first.headers["etag"])
    assert known.headers["cache-control"] == "public, max-age=60"
    assert "jp2-shape" not in known.headers
    assert get(service, headers={"If-None-Match": first.headers["etag"]}, path=BAND, rlevel=0).status == 200
    posted = service.image(BAND, 1)
    assert "etag" not in posted.headers
    assert posted.headers["cache-control"] == "no-store"


def test_a_file_that_was_replaced_is_sent_again(service, root, image_of):
    shutil.copy(image_of("B8A_60m"), root / "other.jp2")
    tag = get(service, path="other.jp2").headers["etag"]
    shutil.copy(image_of("TCI_60m"), root / "other.jp2")
    answer = get(service, headers={"If-None-Match": tag}, path="other.jp2")
    assert (answer.status, len(answer.json["shape"])) == (200, 3)


def test_a_box_on_the_map_is_a_window(service, root):
    x, y = (jp2batch.read(str(root / BAND), rlevel=0)[name].values for name in "xy")
    bbox = ",".join(map(str, (x[10], y[19], x[29], y[5])))
    boxed = get(service, path=BAND, rlevel=0, bbox=bbox, crs="EPSG:32629")
    assert boxed.json == get(service, path=BAND, rlevel=0, window="5:20,10:30").json
    assert get(service, path=BAND, resolution=130).json == get(service, path=BAND, rlevel=1).json


FIELD = {"type": "Polygon", "coordinates": [[[-8.99, 53.22], [-8.95, 53.22], [-8.97, 53.24], [-8.99, 53.22]]]}
WKT = "POLYGON ((-8.99 53.22, -8.95 53.22, -8.97 53.24, -8.99 53.22))"


def test_a_geometry_masks_what_lies_outside(service, root):
    expected = jp2batch.read(str(root / BAND), rlevel=0, geometry=FIELD)
    assert 0 < (expected.values == 0).sum() < expected.size
    bbox = ",".join(map(str, shapely.from_wkt(WKT).bounds))
    answers = [get(service, path=BAND, rlevel=0, geometry=text) for text in (json.dumps(FIELD), WKT)]
    boxed = get(service, path=BAND, rlevel=0, bbox=bbox)
    assert [answer.json["img_data"] for answer in answers] == [expected.values.tolist()] * 2
    assert boxed.json["shape"] == answers[0].json["shape"]
    assert answers[0].headers["etag"] == answers[1].headers["etag"] != boxed.headers["etag"]


def test_a_geotiff_has_the_pixels_and_the_place(service, root):
    rasterio = pytest.importorskip("rasterio")
    answer = get(service, headers={"Accept": "image/tiff"}, path=BAND, rlevel=1)
    assert answer.headers["content-type"] == "image/tiff"
    whole, _ = oracle(root / BAND)
    with rasterio.open(io.BytesIO(answer.body)) as image:
        np.testing.assert_array_equal(image.read(), whole.at(1))
        assert image.crs.to_epsg() == 32629
        assert image.tags()["source"] == BAND
    assert str(root).encode() not in answer.body


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        ({}, 400, "no Path"),
        ({"path": BAND, "level": 1}, 400, "a parameter is unknown"),
        ({"path": [BAND, BAND]}, 400, "given twice"),
        ({"path": BAND, "rlevel": 1, "resolution": 9}, 400, "exclude each other"),
        ({"path": BAND, "window": "0:1,0:1", "bbox": "0,0,1,1"}, 400, "exclude each other"),
        ({"path": BAND, "geometry": WKT, "bbox": "0,0,1,1"}, 400, "exclude each other"),
        ({"path": BAND, "geometry": "POINT (0 0)"}, 422, "does not meet the image"),
        ({"path": BAND, "geometry": "/etc/passwd"}, 422, "the geometry cannot be read"),
        ({"path": BAND, "rlevel": "x"}, 422, "rlevel"),
        ({"path": BAND, "bbox": "0,0,1"}, 422, "the bbox cannot be read"),
        ({"path": BAND, "bbox": "0,0,1,1"}, 422, "does not meet the image"),
        ({"path": BAND, "bbox": "0,0,1,1", "crs": "nonsense"}, 422, "the crs cannot be read"),
        ({"path": "../secret.jp2"}, 400, "leads out of its root"),
        ({"path": "nothing.jp2"}, 404, "no such file"),
    ],
)
def test_what_is_wrong_with_a_query_is_said(service, query, status, text):
    answer = service.ask(f"/api/jp2?{urlencode(query, doseq=True)}")
    assert answer.status == status
    assert text in answer.detail


def test_an_image_is_described(service, root):
    info = get(service, "/api/jp2/info", path=BAND).json
    expected = jp2batch.inspect(str(root / BAND)).to_dict()
    assert info == json.loads(json.dumps({name: expected[name] for name in expected if name != "path"}))
    plan = get(service, "/api/jp2/plan", path=BAND, rlevel=2, window="0:64,0:64").json
    assert plan["shape"] == [16, 16]
    assert plan["bytes"] > 0
    assert str(root) not in json.dumps([info, plan])
    assert get(service, "/api/jp2/plan", path="nothing.jp2").status == 404


def test_a_batch_answers_each_request_as_it_is_done(service, root):
    bodies = [{"Path": BAND}, {"Path": "nothing.jp2"}, 7, {"path": BAND, "rlevel": 0}, {"Path": BAND, "rlevel": 9}]
    answer = service.ask("/api/jp2/batch", body=bodies)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-ndjson")
    lines = {line["index"]: line for line in map(json.loads, answer.body.splitlines())}
    assert [lines[number]["status"] for number in range(5)] == [200, 404, 400, 200, 422]
    whole, highest = oracle(root / BAND)
    for number, rlevel in ((0, highest), (3, 0)):
        verify_contract(json.dumps(lines[number]["answer"], separators=(",", ":")).encode(), whole.at(rlevel))
    assert lines[1]["problem"]["type"] == "urn:jp2batch:problem:image-not-found"
    assert service.ask("/api/jp2/batch", body={"Path": BAND}).status == 400


def test_a_token_is_required(root):
    with serving("--root", str(root), "--workers", "1", env={"JP2BATCH_TOKENS": "a" * 32}) as service:
        for at in ("/api/jp2", "/api/jp2/info", "/api/jp2/plan"):
            assert get(service, at, path=BAND).status == 401
            assert get(service, at, headers={"Authorization": "Bearer " + "a" * 32}, path=BAND).status == 200
        assert service.ask("/api/jp2/batch", body=[]).status == 401


@pytest.mark.parametrize(
    ("target", "status"), [("/healthz", 200), ("", 200), ("/api/jp2?path=B8A_60m.jp2", 200), ("/x", 404)]
)
def test_a_target_may_be_in_absolute_form(service, target, status):
    received, _ = service.raw(
        b"GET http://here%s HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n" % target.encode()
    )
    assert parsed(received).status == status
