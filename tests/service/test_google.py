"""Roots on Google Cloud Storage; needs the extra gs: `pip install ".[test,gs]"`."""

from pathlib import Path

import pytest

from support.answers import oracle, verify_contract
from support.google import PRIVATE, PUBLIC, google
from support.services import serving

pytest.importorskip("gcsfs")

KEYS = ("images/B8A.jp2", "images/x//y?generation=5", "images/./a:b#7.jp2")


@pytest.fixture(scope="module")
def store(image_of):
    with google() as server:
        server.objects |= {f"{PUBLIC}/{key}": Path(image_of("B8A_60m")).read_bytes() for key in KEYS}
        yield server


def options(store, bucket: str) -> list[str]:
    return ["--root", f"gs://{bucket}/images", "--endpoint-url", store.address, "--no-sign-request", "--workers", "1"]


def test_a_root_on_google_is_read(store, image_of):
    pixels, highest = oracle(Path(image_of("B8A_60m")))
    with serving(*options(store, PUBLIC)) as service:
        for key in KEYS:
            verify_contract(service.image(key.removeprefix("images/")).body, pixels.at(highest))
        assert service.image("nothing.jp2").status == 404
        tag = service.ask("/api/jp2?path=B8A.jp2").headers["etag"]
        assert service.ask("/api/jp2?path=B8A.jp2", headers={"If-None-Match": tag}).status == 304
        assert not service.text, "gcsfs has something to say of each read"
    assert not [path for path in store.asked if "storageLayout" in path]


@pytest.mark.parametrize(
    ("bucket", "text"), [("nowhere", "there is no such bucket"), (PRIVATE, "the store refuses access")], ids=str
)
def test_a_bucket_that_cannot_be_read_is_told_before_it_listens(store, bucket, text):
    with serving(*options(store, bucket), ready=False) as service:
        assert service.process.wait(60) == 3
    assert f"gs://{bucket}/images: the root cannot be read: {text}" in "".join(service.text)
    assert len(service.text) == 1, "gcsfs has something to say, too"
