"""Kinds of content, recognised by their first bytes.

Answers of servers and files of other programs are named, with the command to use instead.
"""

import io
import re
import zipfile
from dataclasses import dataclass
from typing import Literal

from jp2batch.core.suffixes import JPEG2000_SUFFIXES

HEAD = 4096
"""Bytes to recognise content by."""
TAIL = 1 << 16
"""Bytes of the end of a zip archive, which lists its members."""

_LONGEST = 300  # characters of a member that is named


Media = Literal["jpeg2000", "zip", "parquet", "xml", "stac", "json", "text", "other"]
"""Kinds of content that some function reads, and all others."""


@dataclass(frozen=True, slots=True)
class ContentKind:
    """A kind of content."""

    name: str
    """Its name with an article."""
    hint: str
    """Advice to a user who expected something else."""
    media: Media = "other"
    """What it is to the functions of this package."""


_UNPACK = "decompress it first: compressed data cannot be read in parts"
_RASTERIO = "open it with rioxarray.open_rasterio"
_XARRAY = "open it with xarray.open_dataset"
_MANIFEST = "give it as a manifest, to read_manifest or jp2batch run"
_OTHER_FORMAT = "give the JPEG 2000 file of the image"
_MAGIC = (
    (rb"\x1f\x8b", ContentKind("gzip data", _UNPACK)),
    (rb"BZh[1-9]1AY&SY", ContentKind("bzip2 data", _UNPACK)),
    (rb"\xfd7zXZ\0", ContentKind("xz data", _UNPACK)),
    (rb"\x28\xb5\x2f\xfd", ContentKind("zstd data", _UNPACK)),
    (rb"7z\xbc\xaf\x27\x1c", ContentKind("a 7z archive", "unpack it first")),
    (rb"Rar!\x1a\x07", ContentKind("a RAR archive", "unpack it first")),
    (rb"PK(\x03\x04|\x05\x06)", ContentKind("a zip archive", "give zip://MEMBER::ARCHIVE", "zip")),
    (rb"II\*\0|MM\0\*|II\+\0|MM\0\+", ContentKind("a TIFF", _RASTERIO)),
    (rb"\x89HDF\r\n\x1a\n", ContentKind("HDF5 or NetCDF", _XARRAY)),
    (rb"CDF[\x01\x02\x05]", ContentKind("NetCDF", _XARRAY)),
    (
        rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
        ContentKind("a JPEG 2000 image", "give it to read, or to jp2batch manifest", "jpeg2000"),
    ),
    (rb"PAR1", ContentKind("Parquet", _MANIFEST, "parquet")),
    (rb"\x89PNG\r\n\x1a\n", ContentKind("a PNG", _OTHER_FORMAT)),
    (rb"\xff\xd8\xff", ContentKind("a JPEG", _OTHER_FORMAT)),
    (rb"%PDF-", ContentKind("a PDF", _OTHER_FORMAT)),
)
_HTML = re.compile(rb"(?i)<!doctype html|<html[\s>]")
_XML = re.compile(rb"(?i)<(?:\?xml|!--|!doctype|[a-z_])")
_XML_CODE = re.compile(rb"(?i)<(?:\w+:)?(?:code|exceptioncode)>\s*([\w.-]{1,60})\s*<|exceptionCode=\"([\w.-]{1,60})\"")
_XML_ROOT = re.compile(rb"<([A-Za-z_][\w.:-]{0,80})[\s/>]")
_STAC = re.compile(rb'"type"\s*:\s*"(?:Feature|FeatureCollection)"|"stac_version"\s*:|"assets"\s*:\s*\{')
_PATH = re.compile(rb'(?i)"path"\s*:')
_JSON_CODE = re.compile(rb'(?i)"(?:code|error_?code|error|status)"\s*:\s*"?([A-Za-z0-9_.-]{1,60})"?\s*[,}]')
_LFS = b"version https://git-lfs.github.com/spec/"
_TEXT = re.compile(rb"[\t\n\r\f -~\x80-\xff]*")


def foreign_content(head: bytes, *expected: Media) -> ContentKind | None:
    """Return the kind of content by its first bytes.

    None if it is expected or unknown.
    """
    known = next((content for magic, content in _MAGIC if re.match(magic, head)), None)
    found = known or _text_kind(head.removeprefix(b"\xef\xbb\xbf").lstrip())
    return None if found is None or found.media in expected else found


def members_hint(tail: bytes) -> str:
    """Return a hint with the images of a zip archive."""
    try:
        with zipfile.ZipFile(io.BytesIO(tail)) as archive:
            names = [name for name in archive.namelist() if name.lower().endswith(JPEG2000_SUFFIXES)]
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return ""
    if not names:
        return "it holds no JPEG 2000 image"
    example = next((name for name in names if name.isprintable() and len(name) <= _LONGEST), "")
    return f"give zip://MEMBER::ARCHIVE, with one of its {len(names)} images, such as {example}" if example else ""


def _text_kind(text: bytes) -> ContentKind | None:
    if _XML.match(text):
        return _html_or_xml(text)
    if text.startswith((b"{", b"[")) and _TEXT.fullmatch(text):
        return _json_kind(text)
    if text.startswith(_LFS):
        return ContentKind("a Git LFS pointer", "fetch the file itself with git lfs pull")
    return ContentKind("text", "give a JPEG 2000 file", "text") if text and _TEXT.fullmatch(text) else None


def _html_or_xml(text: bytes) -> ContentKind:
    if _HTML.search(text):
        return ContentKind("an HTML page", "check the URL: it may need a login, or lead to a page about the file")
    if code := _XML_CODE.search(text):
        return ContentKind(f"an XML error, {_text(code)}", "the store sent it for the file: check path and credentials")
    root = _XML_ROOT.search(text)
    return ContentKind(f"XML ({_text(root)})" if root else "XML", "give a JPEG 2000 file", "xml")


def _json_kind(text: bytes) -> ContentKind:
    """Return a kind of JSON.

    With a `Path`, it may always be a manifest.
    """
    if _PATH.search(text):
        return ContentKind("JSON", _MANIFEST, "json")
    if _STAC.search(text):
        return ContentKind("STAC", "make a manifest of it: jp2batch manifest ITEMS.json -o images.ndjson", "stac")
    code = _JSON_CODE.search(text) if text.startswith(b"{") and len(text) < HEAD else None
    if code is not None:
        return ContentKind(f"a JSON error, {_text(code)}", "the server sent it for the file: check URL and credentials")
    return ContentKind("JSON", "give a JPEG 2000 file", "json")


def _text(match: re.Match[bytes]) -> str:
    return (match[1] or match[match.lastindex or 1]).decode("ascii", "replace")
