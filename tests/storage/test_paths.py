"""Paths as people have them: file URLs, GDAL's, with "::", of UPath; each is read, or its cure is told."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import jp2batch
from jp2batch.core.errors import InvalidPath, InvalidRequest
from jp2batch.core.location import Location
from jp2batch.storage.file_systems import written_as_url


@pytest.mark.parametrize("name", ["a b.jp2", "ü.jp2", "100%25.jp2", "a%20b.jp2", "a#b?.jp2", "a::b.jp2", "zip::b.jp2"])
def test_a_file_is_read_by_its_path_and_by_its_url(name: str, band: str, tmp_path: Path) -> None:
    path = tmp_path / name
    shutil.copy(band, path)
    expected = jp2batch.inspect(band).shape
    assert jp2batch.inspect(path).shape == expected
    assert jp2batch.inspect(path.as_uri()).shape == expected
    assert jp2batch.inspect(jp2batch.Request(f"{tmp_path.name}/{name}", root=tmp_path.parent).url).shape == expected


def test_a_product_without_metadata_is_listed_by_its_path_and_by_its_url(product: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a ü::b.SAFE"
    shutil.copytree(product, folder, copy_function=os.link)
    for metadata in folder.glob("MTD_*.xml"):
        metadata.unlink()
    names = sorted(path.name for path in folder.rglob("*_60m.jp2"))
    for path in (folder, folder.as_uri()):
        requests = jp2batch.list_requests(path, metres=60)
        assert sorted(request.location.path.rpartition("/")[2] for request in requests) == names
        assert jp2batch.inspect(requests[0].path).shape


GRANULE = "GRANULE/L2A_T29UNU_A038058_20221005T115407/IMG_DATA/R10m/T29UNU_20221005T115411_B04_10m.jp2"


@pytest.mark.parametrize(
    ("path", "url"),
    {
        "/vsis3/bucket/a b.jp2": "s3://bucket/a b.jp2",
        "/vsis3_streaming/bucket/a.jp2": "s3://bucket/a.jp2",
        "/vsigs/bucket/a.jp2": "gs://bucket/a.jp2",
        "/vsiaz/container/a.jp2": "az://container/a.jp2",
        "/vsiadls/container/a.jp2": "abfs://container/a.jp2",
        "/vsicurl/https://host/a.jp2": "https://host/a.jp2",
        "/vsizip/p.zip/f/a.jp2": "zip://f/a.jp2::p.zip",
        "/vsizip//data/p.SAFE.zip/f/a.jp2": "zip://f/a.jp2::/data/p.SAFE.zip",
        "/vsizip/{/data/p}/f/a.jp2": "zip://f/a.jp2::/data/p",
        "/vsizip//vsis3/bucket/p.zip/a.jp2": "zip://a.jp2::s3://bucket/p.zip",
        "/vsizip//vsicurl/https://host/p.zip/a.jp2": "zip://a.jp2::https://host/p.zip",
        "/vsizip/vsicurl/https://host/p.zip/a.jp2": "zip://a.jp2::https://host/p.zip",
        "/vsicurl?max_retry=3&url=https%3A%2F%2Fhost%2Fa.jp2": "https://host/a.jp2",
        f"file:/d/S2A_MSIL2A_X.SAFE/{GRANULE}": f"file:///d/S2A_MSIL2A_X.SAFE/{GRANULE}",
        "/vsitar//data/p.tar/f/a.jp2": "tar://f/a.jp2::/data/p.tar",
        "/vsizip/p.zip": "p.zip",
        "s3:/bucket/a.jp2": "s3://bucket/a.jp2",
        "https:/host/a.jp2": "https://host/a.jp2",
        "file:/data/a.jp2": "file:///data/a.jp2",
    }.items(),
)
def test_the_url_is_told_for_a_path_of_gdal_or_with_one_slash(path: str, url: str) -> None:
    assert written_as_url(path) == url
    for function in (jp2batch.inspect, jp2batch.read, jp2batch.read_manifest):
        with pytest.raises(InvalidPath) as caught:
            function(path)
        assert f"give {url}" in str(caught.value)


@pytest.mark.parametrize(
    ("path", "url"),
    {
        "zip://": "zip://member::archive",
        "zip://p.zip": "zip://member::p.zip",
        "zip:///d/p.zip!/f/a.jp2": "zip://f/a.jp2::/d/p.zip",
        "tar://p.tar::": "tar://member::p.tar",
    }.items(),
)
def test_a_member_without_an_archive_is_refused(path: str, url: str) -> None:
    for function in (jp2batch.inspect, jp2batch.read, jp2batch.open_product):
        with pytest.raises(InvalidPath, match="names no archive") as caught:
            function(path)
        assert f"give {url})" in str(caught.value)


@pytest.mark.parametrize("path", ["a" * 5000, "/" + "a/" * 3000, "a" * 300])
@pytest.mark.parametrize("function", [jp2batch.open_product, jp2batch.open_cube, jp2batch.list_requests])
def test_a_path_of_too_many_characters_is_refused(function: Callable[[Any], object], path: str) -> None:
    with pytest.raises(jp2batch.Jp2BatchError):
        function([path] if function is jp2batch.open_cube else path)


def test_a_question_mark_in_the_url_of_a_file_is_of_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a?b" / Path(GRANULE).name
    assert [request.path for request in jp2batch.list_requests(path.as_uri())] == [path.as_uri()]


@pytest.mark.parametrize(
    "path", ["s3://bucket/a.jp2", "/data/vsis3/a.jp2", "c:/a.jp2", "/vsigzip/a.gz", "vsizip/a.zip/b"]
)
def test_other_paths_are_taken_as_they_are(path: str) -> None:
    assert not written_as_url(path)


@pytest.mark.parametrize(
    "text", ["zip://a::s3://b/c.zip", "simplecache::https://h/a.jp2", "filecache::zip://m::/a.zip"]
)
def test_a_chain_begins_with_a_url_or_a_protocol(text: str) -> None:
    assert Location.of(text).is_chained
    assert "::".join(Location.of(text).links) == text


@pytest.mark.parametrize("text", ["/data/a::b.jp2", "data/a::b.jp2", "./a::b", "a b::c.jp2", "/data/zip::b.jp2"])
def test_a_local_path_may_contain_colons(text: str) -> None:
    location = Location.of(text)
    assert (location.is_local, location.is_chained, location.path, location.links) == (True, False, text, [text])
    assert location.with_path("/x::y").path == "/x::y"


@pytest.mark.parametrize("root", ["https://host/data", "http://host", "memory://data"])
@pytest.mark.parametrize("key", ["x/a::/etc/passwd", "x/a::b", "a::b", "x%3A%3A/etc/passwd", "x/zip://a::/etc/passwd"])
def test_a_key_below_the_root_of_a_url_cannot_chain(root: str, key: str) -> None:
    with pytest.raises(InvalidPath, match="leads out of its root"):
        jp2batch.Request(key, root=root)


@pytest.mark.parametrize("key", ["a%2F..%2Fb.jp2", "..%2Fb.jp2", "%2e%2e/b.jp2", "%252e%252e/b.jp2"])
def test_decoding_leads_no_key_out_of_its_folder(key: str) -> None:
    for root in ("/data", "file:///data"):
        with pytest.raises(InvalidPath, match="leads out of its root"):
            jp2batch.Request(key, root=root)


@dataclass
class FakeUPath:
    """A path as universal_pathlib has it."""

    path: str
    protocol: str = "memory"
    storage_options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.protocol}://{self.path}"


def test_a_upath_is_a_path_and_its_options_are_not_lost() -> None:
    assert jp2batch.Request(FakeUPath("a.jp2")).path == "memory://a.jp2"  # type: ignore[arg-type]
    (one,) = jp2batch.list_requests(FakeUPath("T29UNU_20221005T115411_B04_60m.jp2"))  # type: ignore[arg-type]
    assert one.path.startswith("memory://")
    for function in (jp2batch.Request, jp2batch.inspect, jp2batch.list_requests, jp2batch.run, jp2batch.open_cube):
        with pytest.raises(InvalidRequest, match=r"storage_options=path\.storage_options"):
            function(FakeUPath("a.jp2", storage_options={"key": "secret"}))  # type: ignore[operator]
