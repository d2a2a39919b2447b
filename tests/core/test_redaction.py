"""Credentials are in no shown path or URL, however they are written."""

import pytest

from jp2batch.core.errors import InvalidPath
from jp2batch.core.location import Location
from jp2batch.core.redaction import redact, redact_path
from jp2batch.core.request import Request

SECRET = "s3samE0pen"
HOST = "store.example:9"
PATHS = {
    "a query": f"https://{HOST}/a.jp2?sig={SECRET}",
    "a query with a bracket": f"https://{HOST}/a.jp2?){SECRET}",
    "a query with a space": f"https://{HOST}/a.jp2?x=1 2&sig={SECRET}",
    "a query with quotes": f"https://{HOST}/a.jp2?x='1'&y=\"2\"&sig={SECRET}",
    "a query with other spaces": f"https://{HOST}/a.jp2?x\u00a0\u2028&sig={SECRET}",
    "two queries": f"https://{HOST}/a.jp2?a?sig={SECRET}",
    "a wide question mark": f"https://{HOST}/a.jp2\uff1fsig={SECRET}",
    "an encoded query": f"https://{HOST}/a.jp2%3Fsig%3D{SECRET}",
    "a query encoded twice": f"https://{HOST}/a.jp2%253FX-Amz-Signature%253D{SECRET}",
    "no question mark": f"https://{HOST}/a.jp2&X-Amz-Signature={SECRET}",
    "semicolons": f"https://{HOST}/a.jp2;se=1;SIG={SECRET}",
    "a fragment": f"https://{HOST}/a.jp2#sig={SECRET}",
    "a fragment of a query": f"https://{HOST}/a.jp2?x#access_token={SECRET}",
    "a folder": f"https://{HOST}/sig={SECRET}/a.jp2",
    "a user": f"https://me:{SECRET}@{HOST}/a.jp2",
    "a user alone": f"https://{SECRET}@{HOST}/a.jp2",
    "a password with a slash": f"https://me:p/{SECRET}@{HOST}/a.jp2",
    "a password with a hash": f"https://me:p#{SECRET}@{HOST}/a.jp2",
    "a password with an at": f"https://me:p@{SECRET}@{HOST}/a.jp2",
    "upper case": f"HTTPS://ME:{SECRET}@{HOST}/A.JP2?SIG={SECRET}",
    "one slash": f"https:/me:{SECRET}@{HOST}/a.jp2?sig={SECRET}",
    "no slash": f"https:{HOST}/a.jp2?sig={SECRET}",
    "back slashes": f"https:\\\\{HOST}\\a.jp2?sig={SECRET}",
    "no scheme": f"{HOST}/a.jp2?sig={SECRET}",
    "a user without scheme": f"me:{SECRET}@{HOST}/a.jp2",
    "a network path": f"//{HOST}/a.jp2?sig={SECRET}",
    "GDAL": f"/vsiaz/container/a.jp2?sig={SECRET}",
    "GDAL, encoded": f"/vsicurl?url=https%3A%2F%2F{HOST}%2Fa.jp2%3Fsig%3D{SECRET}",
    "an archive": f"zip://x.jp2::https://me:{SECRET}@{HOST}/a.zip?sig={SECRET}",
    "a cache": f"simplecache::https://{HOST}/a.jp2?x y&sig={SECRET}",
    "a control character": f"https://{HOST}/a.jp2?x\t&sig={SECRET}",
    "a connection string": f"AccountName=a;AccountKey={SECRET[:3]}/{SECRET}==;EndpointSuffix=core.windows.net",
    "a shared access signature": f"BlobEndpoint=https://{HOST};SharedAccessSignature=sv=2021&sig={SECRET}",
    "a header": f"Authorization: Bearer {SECRET}",
    "a header of a user": f"Authorization: Basic {SECRET}",
}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_no_credentials_are_shown(path: str) -> None:
    location, error = Location.of(path), InvalidPath(path, "is wrong")
    shown = [redact_path(path), location.redacted, repr(location), str(error), repr(error)]
    shown.append(location.redact(f"cannot get {path} now"))
    if "://" in path and not set(path) & set(" '\t\u00a0"):
        shown.append(redact(f"cannot get {path} now"))
    if "\t" not in path and "vsi" not in path:
        shown += [repr(Request(path)), Request(path)._repr_html_(), repr(Request("a.jp2", root=path))]
    for text in shown:
        assert SECRET not in text
        assert SECRET.lower() not in text.lower()


@pytest.mark.parametrize(
    "path",
    [
        "s3://bucket/a.jp2",
        "https://host:8080/a@b.jp2",
        "https://[::1]:8080/a@b.jp2",
        "zip://x.jp2::s3://bucket/a.zip",
        "abfs://container@account.dfs.core.windows.net/a.jp2",
        "/data/time=10:30/a@b.jp2",
        "design=1/assignature=2.jp2",
        "C:\\data\\a.jp2",
        "bearer.jp2",
        "straße/día.jp2",
    ],
)
def test_other_paths_are_shown_unchanged(path: str) -> None:
    assert redact_path(path) == path
    assert redact(path) == path


def test_the_file_after_a_signature_is_shown() -> None:
    assert redact_path("https://host/sig=abc/a.jp2") == "https://host/sig=…/a.jp2"
    assert redact_path("zip://x.jp2::https://me:pw@host/a.zip?sig=b") == "zip://x.jp2::https://host/a.zip"
    assert redact_path("simplecache::https://h/a?sig=x y::s3://bucket/b") == "simplecache::https://h/a::s3://bucket/b"
