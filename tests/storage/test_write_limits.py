"""Writes to stores that accept a request and never answer."""

import socket
from collections.abc import Iterator

import pytest

from jp2batch.core.errors import StoreUnavailable
from jp2batch.storage import deadline
from jp2batch.storage.directory import Directory
from jp2batch.storage.files import write_bytes, write_folder

pytest.importorskip("s3fs")


@pytest.fixture
def silent(monkeypatch) -> Iterator[dict[str, object]]:
    """Return options of a store that accepts connections, and never answers."""
    monkeypatch.setattr(deadline, "_SILENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        yield {"key": "a", "secret": "b", "endpoint_url": address, "client_kwargs": {"region_name": "us-east-1"}}


@pytest.mark.parametrize("size", [10, 8 << 20])
def test_a_write_that_is_not_answered_fails(size, silent, monkeypatch):
    monkeypatch.setattr(deadline, "_SLOWEST", 1e9)
    data = b"0" * size
    with pytest.raises(StoreUnavailable):
        write_bytes("s3://b/o", data, storage_options=silent)
    with pytest.raises(StoreUnavailable):
        write_folder("s3://b/f", {"a/b": data, "c": b"1"}, storage_options=silent)
    folder = Directory("s3://b", silent)
    with pytest.raises(StoreUnavailable):
        folder.put("o", data, None)
