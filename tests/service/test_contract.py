"""The old service's contract at every resolution level, over a folder and a signed bucket, of made and real images."""

import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from benchmarks.seaweedfs import S3_BUCKET, S3_KEY, S3_SECRET
from support.answers import oracle, verify_contract
from support.images import REAL
from support.services import Service, serving

MADE = ("B8A_60m", "SCL_20m", "TCI_60m", "B08_10m")
REAL_NAMES = ("B8A_60m", "AOT_60m", "TCI_60m", "SCL_20m", "PVI")
AS_JSON = 4_000_000
"""Values of an answer that are compared as JSON; larger ones come from the same code as arrays, ten times as fast."""
CREDENTIALS = {"AWS_ACCESS_KEY_ID": S3_KEY, "AWS_SECRET_ACCESS_KEY": S3_SECRET}


@dataclass
class Place:
    """A service over images, and the files that they are copies of."""

    service: Service
    originals: dict[str, Path]


@pytest.fixture(scope="module")
def originals(product) -> dict[str, Path]:
    """Return files by the keys that they have below the root."""
    made = {f"made/{name}.jp2": next(product.glob(f"**/*_{name}.jp2")) for name in MADE}
    real = {f"real/{name}.jp2": path for name in REAL_NAMES for path in REAL if path.name.endswith(f"_{name}.jp2")}
    return made | real


@pytest.fixture(scope="module", params=["folder", pytest.param("bucket", marks=pytest.mark.seaweedfs)])
def place(request, originals, tmp_path_factory) -> Iterator[Place]:
    """Return a service over a folder, or over a bucket that refuses what is not signed."""
    more = ["--max-pixels", "40000000", "--workers", "1"]
    if request.param == "folder":
        root = tmp_path_factory.mktemp("root")
        for key, path in originals.items():
            (root / key).parent.mkdir(exist_ok=True)
            shutil.copy(path, root / key)
        with serving("--root", str(root), *more) as service:
            yield Place(service, originals)
        return
    server = request.getfixturevalue("s3_server")
    for key, path in originals.items():
        server.put(key, path.read_bytes())
    options = ["--root", f"s3://{S3_BUCKET}", "--endpoint-url", server.endpoint, *more]
    with serving(*options, env=CREDENTIALS) as service:
        yield Place(service, originals)


def verify_every_rlevel(place: Place, key: str) -> None:
    whole, highest = oracle(place.originals[key])
    for rlevel in (*range(highest + 1), -1):
        expected = whole.at(highest if rlevel == -1 else rlevel)
        if expected.size <= AS_JSON:
            answer = place.service.image(key, rlevel)
            assert (answer.status, answer.headers["content-type"]) == (200, "application/json"), answer.body[:500]
            verify_contract(answer.body, expected)
        else:
            answer = place.service.image(key, rlevel, headers={"Accept": "application/x-npy"})
            assert answer.status == 200, answer.body[:500]
            values = np.load(io.BytesIO(answer.body))
            np.testing.assert_array_equal(values if values.ndim == 2 else np.moveaxis(values, 2, 0), expected.squeeze())


@pytest.mark.parametrize("name", MADE)
def test_made_images_are_openjpegs_decode(place, name):
    verify_every_rlevel(place, f"made/{name}.jp2")


@pytest.mark.skipif(not REAL, reason="no real images beside the repository")
@pytest.mark.parametrize("name", REAL_NAMES)
def test_real_images_are_openjpegs_decode(place, name):
    verify_every_rlevel(place, f"real/{name}.jp2")


@pytest.mark.skipif(not REAL, reason="no real images beside the repository")
def test_a_20_m_band_at_its_lowest_has_the_shape_of_the_old_readme(place):
    assert place.service.image("real/SCL_20m.jp2", -1).json["shape"] == [344, 344]


@pytest.mark.seaweedfs
@pytest.mark.parametrize(
    ("bucket", "secret", "text"),
    [
        (S3_BUCKET, "another-secret", "the store refuses access: 403 SignatureDoesNotMatch"),
        ("no-such-bucket", S3_SECRET, "there is no such object: 404 NoSuchBucket"),
    ],
)
def test_a_bucket_that_cannot_be_read_is_told_before_it_listens(s3_server, bucket, secret, text):
    options = ["--root", f"s3://{bucket}", "--endpoint-url", s3_server.endpoint, "--workers", "1"]
    with serving(*options, env=CREDENTIALS | {"AWS_SECRET_ACCESS_KEY": secret}, ready=False) as service:
        assert service.process.wait(60) == 3
    written = "".join(service.text)
    assert f"s3://{bucket}: the root cannot be read: {text}" in written
    assert "another-secret" not in written + json.dumps(service.lines)
    assert "listening" not in {line["message"] for line in service.lines}


def test_what_is_not_there_is_told(place):
    missing = place.service.image("made/nothing.jp2")
    assert missing.status == 404
    assert "there is no such" in missing.detail
    assert S3_SECRET not in json.dumps(place.service.lines) + "".join(place.service.text)
