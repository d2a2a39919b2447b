"""What batches read from and write to: an image file, and a bucket."""

from pathlib import Path
from typing import Any

import fsspec
import pytest

from benchmarks.seaweedfs import S3_BUCKET
from support.images import PLAIN


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Return an image file."""
    path = tmp_path / "image.jp2"
    path.write_bytes(PLAIN.data)
    return path


@pytest.fixture
def fs(s3_server: Any) -> Any:
    """Return fsspec's file system of the S3 server, without a cache of listings."""
    return fsspec.filesystem("s3", **s3_server.options, use_listings_cache=False)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return the folder that commands are run in."""
    return tmp_path


@pytest.fixture
def away(s3_server: Any, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Set credentials of the S3 server, stand in a folder, and return a URL where nothing is."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.options["key"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.options["secret"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return f"s3://{S3_BUCKET}/{tmp_path.name}"
