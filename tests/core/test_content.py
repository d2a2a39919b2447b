"""Content that is no JPEG 2000 image is named, with what to do: in images, manifests, products and STAC."""

import gzip
import io
import json
import re
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

import jp2batch
from jp2batch.cli import main
from jp2batch.core.content import foreign_content
from jp2batch.core.errors import ManifestError, MetadataError, NotJpeg2000
from jp2batch.sentinel2.metadata import parse_metadata
from support.servers import RangeServer


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"x" * 100)
    return file.getvalue()


ITEM = {"assets": {"blue": {"href": "B02.jp2", "type": "image/jp2"}}, "type": "Feature", "stac_version": "1.0.0"}
CONTENT = {
    "html": (b"\n<!DOCTYPE html><html><title>Sign in</title>", "an HTML page", "login"),
    "html-in-xml": (b'<?xml version="1.0"?><html xmlns="x">', "an HTML page", "login"),
    "s3-error": (b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code>', "an XML error, NoSuchKey", "credentials"),
    "azure-error": (
        b"\xef\xbb\xbf<Error><Code>AuthenticationFailed</Code>",
        "an XML error, AuthenticationFailed",
        "path",
    ),
    "xml": (b'<n1:Product xmlns:n1="x">', "XML (n1:Product)", "give"),
    "json-error": (b'{"code": "AccessDenied", "message": "no"}', "a JSON error, AccessDenied", "URL"),
    "stac": (json.dumps(ITEM, indent=2).encode(), "STAC", "jp2batch manifest"),
    "gzip": (gzip.compress(b"x"), "gzip data", "decompress"),
    "zip": (zipped("a.jp2"), "a zip archive", "zip://"),
    "tiff": (b"II*\0" + b"\0" * 50, "a TIFF", "rioxarray"),
    "bigtiff": (b"MM\0+" + b"\0" * 50, "a TIFF", "rioxarray"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + b"\0" * 50, "HDF5 or NetCDF", "xarray"),
    "png": (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "a PNG", "JPEG 2000"),
}
TEXT = {
    "json": (b'{"Path": "a.jp2", "type": "Feature"}', "JSON", "manifest"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a Git LFS pointer", "git lfs pull"),
    "text": ("schöne Grüße".encode(), "text", "give"),
}


def but(*left_out: str) -> list[str]:
    return [kind for kind in CONTENT if kind not in left_out]


@pytest.mark.parametrize("kind", CONTENT | TEXT)
def test_an_image_of_another_kind_is_named(kind: str, tmp_path: Path, http_server: RangeServer) -> None:
    data, name, hint = (CONTENT | TEXT)[kind]
    (tmp_path / "x.jp2").write_bytes(data)
    http_server.files["x.jp2"] = data
    for path in (tmp_path / "x.jp2", http_server.url("x.jp2")):
        with pytest.raises(NotJpeg2000, match=rf"it is {re.escape(name)} \(.*{hint}"):
            jp2batch.inspect(path)


@pytest.mark.parametrize("kind", but("gzip"))  # which is decompressed
def test_a_manifest_of_another_kind_is_named_once(kind: str, tmp_path: Path) -> None:
    data, name, hint = CONTENT[kind]
    (tmp_path / "m.json").write_bytes(data)
    done = CliRunner().invoke(
        main, ["run", str(tmp_path / "m.json"), "-o", str(tmp_path / "out.ndjson"), "--local-threads"]
    )
    assert done.exit_code == 2
    assert f"this is {name}" in done.stderr
    assert hint in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("kind", but("xml"))
def test_metadata_of_another_kind_are_named(kind: str) -> None:
    data, name, _ = CONTENT[kind]
    with pytest.raises(MetadataError, match=f"this is {re.escape(name)}"):
        parse_metadata(data, "MTD_MSIL2A.xml")


@pytest.mark.parametrize("kind", but("stac", "gzip", "json-error"))
def test_stac_of_another_kind_is_named(kind: str, tmp_path: Path) -> None:
    data, name, _ = CONTENT[kind]
    (tmp_path / "items.json").write_bytes(data)
    with pytest.raises(ManifestError) as caught:
        jp2batch.list_requests(tmp_path / "items.json")
    assert f"this is {name}" in str(caught.value)


def test_a_row_with_words_of_stac_and_a_path_is_a_row(tmp_path: Path) -> None:
    row = {"type": "Feature", "assets": {}, "stac_version": "1.0.0", "error": "none", "Path": "a.jp2"}
    (tmp_path / "m.ndjson").write_text(json.dumps(row))
    assert [one.path for one in jp2batch.read_manifest(tmp_path / "m.ndjson")] == ["a.jp2"]


def test_an_archive_offers_its_images(tmp_path: Path) -> None:
    (tmp_path / "x.jp2").write_bytes(zipped("readme.txt", "IMG/b01.jp2", "IMG/b02.jp2"))
    with pytest.raises(NotJpeg2000, match=r"one of its 2 images, such as IMG/b01.jp2"):
        jp2batch.inspect(tmp_path / "x.jp2")
    (tmp_path / "x.jp2").write_bytes(zipped("readme.txt"))
    with pytest.raises(NotJpeg2000, match="no JPEG 2000 image"):
        jp2batch.inspect(tmp_path / "x.jp2")


@pytest.mark.parametrize("length", range(13))
def test_an_image_cut_short_is_no_other_kind(length: int) -> None:
    start = bytes.fromhex("0000000c6a5020200d0a870a")
    assert foreign_content(start[:length]) is None or length == 12
