"""Files in archives, read in ranges."""

import os
import zipfile
from pathlib import Path

import dask
import numpy as np
import pytest

import jp2batch
from jp2batch.core.errors import ImageNotFound, ImageTooLarge, Jp2BatchError, ObjectChanged, StorageError
from jp2batch.core.ranges import ByteRange
from jp2batch.storage.source import Version, open_source

DATA = np.random.default_rng(0).integers(0, 40, 300_000, np.uint8).tobytes()
RANGES = [ByteRange(0, 10), ByteRange(70_000, 70_001), ByteRange(5, 200_000), ByteRange(299_990, 300_100)]


def zipped(path: Path, data: bytes = DATA, method: int = zipfile.ZIP_STORED, **facts: object) -> str:
    """Write a zip; return the URL of the file in it."""
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("folder/file")
        info.compress_type = method
        for name, value in facts.items():
            setattr(info, name, value)
        archive.writestr("folder/", b"")
        archive.writestr("before", b"x" * 1000)
        archive.writestr(info, data)
        archive.writestr("empty", b"")
    return f"zip://folder/file::{path}"


@pytest.mark.parametrize(
    "facts", [{}, {"extra": b"\x99\x99\x00\x10" + b"x" * 0x1000}], ids=["plain", "long extra field"]
)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_any_ranges_are_those_of_the_file(tmp_path, method, facts):
    url = zipped(tmp_path / "a.zip", method=method, **facts)
    for first in RANGES:
        source = open_source(url)
        for span in (first, *RANGES):
            assert source.read_many([span]) == [(span.start, DATA[span.start : span.stop])]
        assert [data for _, data in source.read_many(RANGES)] == [DATA[span.start : span.stop] for span in RANGES]
        assert source.size == len(DATA)
        source.verify()
        source.close()
    assert open_source(f"zip://empty::{tmp_path}/a.zip").read_many([ByteRange(0, 10)]) == [(0, b"")]


def test_a_second_reader_takes_the_directory_from_memory(tmp_path, http_server):
    zipped(tmp_path / "a.zip")
    http_server.files["a.zip"] = (tmp_path / "a.zip").read_bytes()
    url = f"zip://folder/file::{http_server.url('a.zip')}"
    open_source(url).read_many([ByteRange(0, 10)])
    before = http_server.requests
    assert open_source(url).read_many([ByteRange(0, 10)]) == [(0, DATA[:10])]
    assert http_server.requests == before + 1


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_replaced_archive_is_noticed(tmp_path, http_server, method):
    url = f"zip://folder/file::{http_server.url('a.zip')}"
    other = DATA[::-1]
    zipped(tmp_path / "a.zip", method=method)
    zipped(tmp_path / "b.zip", b"y" * 5000 + other, method)
    http_server.files["a.zip"] = (tmp_path / "a.zip").read_bytes()
    reading = open_source(url)
    reading.read_many([ByteRange(0, 10)])
    version = Version(reading.size, reading.etag)
    http_server.files["a.zip"] = (tmp_path / "b.zip").read_bytes()
    with pytest.raises(ObjectChanged):
        reading.read_many([ByteRange(200_000, 299_000)])
    assert open_source(url).read_many([ByteRange(5000, 5010)]) == [(5000, other[:10])]
    expecting = open_source(url)
    expecting.expect(version)
    with pytest.raises(ObjectChanged):
        expecting.read_many([ByteRange(0, 10), ByteRange(20, 30)])


def test_the_directory_in_memory_is_read_again_if_the_archive_was_replaced(tmp_path, http_server):
    url = f"zip://folder/file::{http_server.url('a.zip')}"
    for data in (DATA, b"z" * 777 + DATA):
        zipped(tmp_path / "a.zip", data)
        http_server.files["a.zip"] = (tmp_path / "a.zip").read_bytes()
        assert open_source(url).read_many([ByteRange(700, 900)]) == [(700, data[700:900])]


def damaged(path: Path) -> str:
    url = zipped(path, method=zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    return url


def cut(path: Path) -> str:
    url = zipped(path)
    os.truncate(path, 1000)
    return url


def without_a_beginning(path: Path) -> str:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("file", DATA)
    path.write_bytes(path.read_bytes()[100:])
    return f"zip://file::{path}"


def last_part(path: Path) -> str:
    """Write a zip whose first file is in another part."""
    url = zipped(path)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 34] = 1  # the number of its disk (APPNOTE.TXT, 4.3.12)
    path.write_bytes(data)
    return url


@pytest.mark.parametrize(
    ("make", "kind", "problem"),
    [
        (damaged, StorageError, "is damaged in its archive"),
        (cut, StorageError, "not a zip archive, or damaged"),
        (without_a_beginning, StorageError, "is damaged in its archive"),
        (last_part, StorageError, "not a zip archive, or damaged"),
        (lambda path: zipped(path).replace("file", "none", 1), ImageNotFound, "the archive has no such file"),
        (lambda path: zipped(path, method=zipfile.ZIP_BZIP2), StorageError, "is compressed by method 12"),
        (lambda path: zipped(path).replace("zip://", "tar://"), StorageError, "not a tar archive"),
        (lambda path: f"zip://a::{path}", ImageNotFound, "there is no such file"),
    ],
)
def test_faults_are_told_in_a_line(tmp_path, make, kind, problem):
    url = make(tmp_path / "a.zip")
    with pytest.raises(kind, match=problem) as caught:
        open_source(url).read_many([ByteRange(0, len(DATA))])
    assert "\n" not in str(caught.value)


def test_a_compressed_file_larger_than_the_limit_is_refused(tmp_path):
    url = zipped(tmp_path / "a.zip", method=zipfile.ZIP_DEFLATED)
    with dask.config.set({"jp2batch.max-whole-file": "100 kB"}):
        assert open_source(url).read_many([ByteRange(0, 10)]) == [(0, DATA[:10])]
        with pytest.raises(ImageTooLarge, match="unpack the archive"):
            open_source(url).read_many([ByteRange(0, 100_001)])


def test_no_signature_is_shown(tmp_path, http_server):
    zipped(tmp_path / "a.zip")
    http_server.files["a.zip"] = (tmp_path / "a.zip").read_bytes()
    url = f"{http_server.url('a.zip')}?X-Amz-Signature=0123456789abcdef"
    for inside in ("none", "folder/file"):
        with pytest.raises(Jp2BatchError) as caught:
            jp2batch.read(f"zip://{inside}::{url}")
        assert "0123456789" not in str(caught.value)
    assert "0123456789" not in repr(open_source(f"zip://folder/file::{url}"))


@pytest.mark.parametrize("function", [jp2batch.open_product, jp2batch.open_cube, jp2batch.list_requests])
def test_a_compressed_tar_is_to_be_unpacked(function, tmp_path):
    (tmp_path / "p.tar.gz").write_bytes(b"\x1f\x8b" + bytes(50))
    with pytest.raises(jp2batch.Jp2BatchError, match="unpack it: such an archive"):
        function(tmp_path / "p.tar.gz")
