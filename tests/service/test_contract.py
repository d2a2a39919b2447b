"""The old contract at every resolution level, over a folder, a signed bucket and https."""

import io
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from benchmarks.seaweedfs import S3_BUCKET, S3_KEY, S3_SECRET
from support.answers import oracle, verify_contract
from support.images import REAL
from support.servers import range_server, tls_relay
from support.services import Service, certificate, serving

MADE = ("B8A_60m", "SCL_20m", "TCI_60m", "B08_10m")
REAL_DAILY = ("B8A_60m", "AOT_60m", "TCI_60m", "SCL_20m", "PVI")
AS_JSON = 4_000_000
"""Values of an answer that are compared as JSON every day; all are in the exhaustive form."""
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
    return made | {f"real/{path.name}": path for path in REAL}


@pytest.fixture(scope="module", params=["folder", pytest.param("bucket", marks=pytest.mark.seaweedfs), "https"])
def place(request, originals, tmp_path_factory) -> Iterator[Place]:
    """Return a service over a folder, over a bucket that refuses what is not signed, or over a web server with TLS."""
    folder = tmp_path_factory.mktemp("root")
    if request.param == "folder":
        for key, path in originals.items():
            (folder / key).parent.mkdir(exist_ok=True)
            shutil.copy(path, folder / key)
        with serving("--root", str(folder), "--workers", "1") as service:
            yield Place(service, originals)
    elif request.param == "bucket":
        server = request.getfixturevalue("s3_server")
        for key, path in originals.items():
            server.put(key, path.read_bytes())
        options = ["--root", f"s3://{S3_BUCKET}", "--endpoint-url", server.endpoint, "--workers", "1"]
        with serving(*options, env=CREDENTIALS) as service:
            yield Place(service, originals)
    else:
        _, certfile, _, keyfile = certificate(folder, "-nodes", "-addext", "subjectAltName=IP:127.0.0.1")
        with range_server() as web, tls_relay(web.address, certfile, keyfile) as address:
            web.files |= {key: path.read_bytes() for key, path in originals.items()}
            trust = {"SSL_CERT_FILE": certfile}
            with serving("--root", address, "--workers", "1", env=trust) as service:
                yield Place(service, originals)


def verify_every_rlevel(place: Place, key: str, as_json: float = AS_JSON, as_arrays_from: int = AS_JSON) -> None:
    """Verify the answers at every rlevel, as JSON and as arrays by their number of values."""
    whole, highest = oracle(place.originals[key])
    for rlevel in (*range(highest + 1), -1):
        expected = whole.at(highest if rlevel == -1 else rlevel)
        if expected.size <= as_json:
            answer = place.service.image(key, rlevel, timeout=250)
            assert (answer.status, answer.headers["content-type"]) == (200, "application/json"), answer.body[:500]
            verify_contract(answer.body, expected)
        if expected.size > as_arrays_from:
            answer = place.service.image(key, rlevel, headers={"Accept": "application/x-npy"}, timeout=250)
            assert answer.status == 200, answer.body[:500]
            values = np.load(io.BytesIO(answer.body))
            np.testing.assert_array_equal(values if values.ndim == 2 else np.moveaxis(values, 2, 0), expected.squeeze())


@pytest.mark.parametrize("name", MADE)
def test_made_images_are_openjpegs_decode(place, name):
    verify_every_rlevel(place, f"made/{name}.jp2")


@pytest.mark.skipif(not REAL, reason="no real images beside the repository")
@pytest.mark.parametrize("name", REAL_DAILY)
def test_real_images_are_openjpegs_decode(place, name):
    (path,) = (path for path in REAL if re.search(f"_{name}[.]jp2$", path.name))
    verify_every_rlevel(place, f"real/{path.name}")


@pytest.mark.exhaustive
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem[-12:])
def test_every_real_image_is_openjpegs_decode_at_every_rlevel_as_json_and_as_array(place, path):
    verify_every_rlevel(place, f"real/{path.name}", np.inf, 0)


@pytest.mark.skipif(not REAL, reason="no real images beside the repository")
def test_a_20_m_band_at_its_lowest_has_the_shape_of_the_old_readme(place):
    (path,) = (path for path in REAL if path.name.endswith("_SCL_20m.jp2"))
    assert place.service.image(f"real/{path.name}", -1).json["shape"] == [344, 344]


@pytest.mark.seaweedfs
@pytest.mark.parametrize(
    ("bucket", "secret", "text"),
    [
        (S3_BUCKET, "another-secret", "the secret key does not fit the access key: 403 SignatureDoesNotMatch"),
        ("no-such-bucket", S3_SECRET, "there is no such bucket: 404 NoSuchBucket"),
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
