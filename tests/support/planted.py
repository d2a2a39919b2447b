"""Planted secrets: links that hold one, however written, and the search for it."""

import html
import traceback
from collections.abc import Iterator
from urllib.parse import unquote

SECRET, KEY = "s3samE0pen", "kEy4711xyz"
_HOST = "127.0.0.1:9"  # nobody answers there

LINKS = {
    "a query": f"https://{_HOST}/a.jp2?sig={SECRET}",
    "upper case": f"HTTPS://ME:{SECRET}@{_HOST}/A.JP2?SIG={SECRET}",
    "spaces in a query": f"https://{_HOST}/a.jp2?x=1 2&sig={SECRET}",
    "quotes in a query": f"https://{_HOST}/a.jp2?x='1'&y=\"2\"&sig={SECRET}",
    "two queries": f"https://{_HOST}/a.jp2?a?sig={SECRET}",
    "a wide question mark": f"https://{_HOST}/a.jp2\uff1fsig={SECRET}",
    "other spaces": f"https://{_HOST}/a.jp2?x\u00a0\u2028&sig={SECRET}",
    "an encoded query": f"https://{_HOST}/a.jp2%3Fsig%3D{SECRET}",
    "a query encoded twice": f"https://{_HOST}/a.jp2%253Fsig%253D{SECRET}",
    "no question mark": f"https://{_HOST}/a.jp2&X-Amz-Signature={SECRET}",
    "semicolons": f"https://{_HOST}/a.jp2;sig={SECRET}",
    "a fragment": f"https://{_HOST}/a.jp2#access_token={SECRET}",
    "a folder": f"https://{_HOST}/X-Amz-Signature={SECRET}/a.jp2",
    "a user": f"https://{SECRET}@{_HOST}/a.jp2",
    "a password": f"https://me:{SECRET}@{_HOST}/a.jp2",
    "a password with an at": f"https://me:p@{SECRET}@{_HOST}/a.jp2",
    "a password with a slash": f"https://me:p/{SECRET}@{_HOST}/a.jp2",
    "a password with a hash": f"https://me:p#{SECRET}@{_HOST}/a.jp2",
    "one slash": f"https:/me:{SECRET}@{_HOST}/a.jp2?sig={SECRET}",
    "no slash": f"https:{_HOST}/a.jp2?sig={SECRET}",
    "back slashes": f"https:\\\\{_HOST}\\a.jp2?sig={SECRET}",
    "no scheme": f"{_HOST}/a.jp2?sig={SECRET}",
    "a network path": f"//{_HOST}/a.jp2?sig={SECRET}",
    "brackets": f"<https://{_HOST}/a.jp2?sig={SECRET}>",
    "no port": f"https://{_HOST}x/a.jp2?sig={SECRET}",
    "no host": f"https://u:{SECRET}@[::/a.jp2?sig={SECRET}",
    "a control character": f"https://{_HOST}/a.jp2?x\t&sig={SECRET}",
    "half a character": f"https://{_HOST}/a.jp2?x\ud800&sig={SECRET}",
    "GDAL": f"/vsicurl/https://{_HOST}/a.jp2?sig={SECRET}",
    "GDAL, encoded": f"/vsicurl?url=https%3A%2F%2F{_HOST}%2Fa.jp2%3Fsig%3D{SECRET}",
    "GDAL, Azure": f"/vsiaz/container/a.jp2?sig={SECRET}",
    "GDAL, archive": f"/vsizip/{{/vsicurl/https://{_HOST}/a.zip?sig={SECRET}}}/x.jp2",
    "an archive": f"zip://x.jp2::https://me:{SECRET}@{_HOST}/a.zip?sig={SECRET}",
    "a cache": f"simplecache::https://{_HOST}/a.jp2?sig={SECRET}",
    "a bucket": f"s3://bucket/a.jp2?X-Amz-Signature={SECRET}",
    "a key": f"s3://AKIA:{SECRET}@bucket/a.jp2",
    "a container": f"abfs://c:{SECRET}@account.dfs.core.windows.net/a.jp2?sig={SECRET}",
    "a file": f"file:///nowhere/a.jp2?sig={SECRET}",
    "a connection string": f"AccountName=a;AccountKey={SECRET[:3]}/{SECRET}==;EndpointSuffix=core.windows.net",
    "a shared access signature": f"BlobEndpoint=https://{_HOST};SharedAccessSignature=sv=2021&sig={SECRET}",
    "a header": f"Authorization: Bearer {SECRET}",
    "a long link": f"https://{_HOST}/{'a' * 5000}?sig={SECRET}",
}


def planted_in(*texts: object) -> str:
    """Return what surrounds the first secret in texts, also encoded; empty without any."""
    for text in map(str, texts):
        for view in (text, unquote(text), html.unescape(text)):
            for secret in (SECRET, KEY):
                place = view.lower().find(secret.lower())
                if place >= 0:
                    return f"…{view[max(0, place - 100) : place]}[secret]"
    return ""


def printed_of(error: BaseException) -> Iterator[str]:
    """Iterate over whatever may be printed of an error, of its causes and contexts."""
    seen: set[int] = set()
    chain: list[BaseException | None] = [error]
    while chain:
        one = chain.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield from (str(one), repr(one), repr(one.args))
            chain += [one.__cause__, None if one.__suppress_context__ else one.__context__]
    yield "".join(traceback.format_exception(error))
