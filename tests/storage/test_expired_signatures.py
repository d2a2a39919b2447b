"""Expired signatures are said to be expired, after the store's refusal only."""

import re

import dask
import pytest

import jp2batch
from jp2batch.core.errors import Jp2BatchError, PermissionDenied
from jp2batch.sample.encode import Coding
from jp2batch.storage.source import open_source
from jp2batch.storage.store_identity import key_of
from support.images import Made
from support.servers import RangeServer

SECRET = "0123456789abcdef"
AWS = f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20260102T030405Z&X-Amz-Expires=3600&X-Amz-Signature={SECRET}"
AT = "expired at 2026-01-02 04:04:05 UTC"
LINKS = {
    "Amazon": (AWS, AT),
    "Amazon, other order": ("&".join(reversed(AWS.split("&"))), AT),
    "Amazon, semicolons": (AWS.replace("&", ";"), AT),
    "Amazon, lower case": (AWS.replace("X-Amz", "x-amz"), AT),
    "Amazon, encoded": (AWS.replace("&", "%26").replace("=", "%3D"), AT),
    "Amazon, encoded twice": (AWS.replace("&", "%2526").replace("=", "%253D"), AT),
    "Amazon, version 2": (f"AWSAccessKeyId=AKIA&Expires=1767326645&Signature={SECRET}", AT),
    "Google": (AWS.replace("X-Amz", "X-Goog"), AT),
    "Microsoft": (f"sv=2021-10-04&se=2026-01-02T04%3A04%3A05Z&sp=r&sig={SECRET}", AT),
    "Microsoft, a date": (f"se=2026-01-02&sig={SECRET}", "expired at 2026-01-02 00:00:00 UTC"),
    "Microsoft, another zone": (f"se=2026-01-02T05:04:05%2B01:00&sig={SECRET}", AT),
}
TIME = "[Fri, 02 Jan 2026 04:04:05 GMT]"
REFUSALS = {
    "Amazon": (403, "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"),
    "Amazon, token": (400, "<Error><Code>ExpiredToken</Code><Message>The token has expired.</Message></Error>"),
    "Google": (400, "<Error><Code>ExpiredToken</Code><Details>Request signature expired at: 2026</Details></Error>"),
    "Microsoft": (
        403,
        "<Error><Code>AuthenticationFailed</Code><AuthenticationErrorDetail>Signature not valid in the specified time"
        f" frame: Start {TIME} - Expiry {TIME} - Current {TIME}</AuthenticationErrorDetail></Error>",
    ),
}
OTHER_REFUSALS = {
    "another cause": "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>",
    "HTML": f"<html><body><h1>403 Forbidden</h1>{SECRET} {'x' * 5000}</body></html>",
    "no text": "\0\1\2",
    "nothing": "",
}


def refused(server: RangeServer, query: str) -> Jp2BatchError:
    """Return the error of a refused link."""
    with pytest.raises(Jp2BatchError) as raised:
        jp2batch.read(f"{server.url('a.jp2')}?{query}", 0)
    assert SECRET not in f"{raised.value!r} {raised.value}"
    assert "\n" not in str(raised.value)
    return raised.value


@pytest.mark.parametrize(("query", "told"), LINKS.values(), ids=LINKS)
def test_a_refused_link_of_the_past_has_expired(http_server: RangeServer, query: str, told: str) -> None:
    http_server.fault = 403
    error = refused(http_server, query)
    assert isinstance(error, PermissionDenied)
    assert f"the link's signature {told}" in str(error)
    assert "sign it anew" in error.hint
    assert len(http_server.asked) == 1


@pytest.mark.parametrize(("query", "told"), LINKS.values(), ids=LINKS)
def test_a_link_of_the_past_is_read_if_the_store_allows_it(http_server: RangeServer, query: str, told: str) -> None:
    image = Made(Coding())
    http_server.files["a.jp2"] = image.data
    assert told
    assert jp2batch.read(f"{http_server.url('a.jp2')}?{query}", 0).shape == image.oracle.at(0)[0].shape


@pytest.mark.parametrize(("status", "body"), REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize("query", [f"sig={SECRET}", AWS.replace("20260102", "20960102")], ids=["no time", "future"])
def test_the_store_tells_of_it(http_server: RangeServer, status: int, body: str, query: str) -> None:
    http_server.fault, http_server.refusal = status, body.encode()
    error = refused(http_server, query)
    assert isinstance(error, PermissionDenied)
    assert "the link's signature expired: " in str(error)
    assert "sign it anew" in error.hint


@pytest.mark.parametrize("body", OTHER_REFUSALS.values(), ids=OTHER_REFUSALS)
@pytest.mark.parametrize("query", [f"sig={SECRET}", AWS.replace("20260102", "20960102")], ids=["no time", "future"])
def test_another_refusal_of_a_link_is_no_expiry(http_server: RangeServer, body: str, query: str) -> None:
    http_server.fault, http_server.refusal = 403, body.encode()
    error = refused(http_server, query)
    assert isinstance(error, PermissionDenied)
    assert "expired" not in str(error)
    assert re.search(r"refuses the link's signature: 403( AccessDenied)? \(sign it anew, for GET", str(error))


def test_a_link_of_the_future_is_not_valid_yet(http_server: RangeServer) -> None:
    http_server.fault, http_server.refusal = 403, REFUSALS["Microsoft"][1].encode()
    assert "is not valid yet" in str(refused(http_server, f"st=2096-01-01T00:00:00Z&se=2096-01-02&sig={SECRET}"))


@pytest.mark.parametrize("status", [404, 500, 400])
def test_another_failure_is_no_expiry(http_server: RangeServer, status: int) -> None:
    http_server.fault = status
    assert "expired" not in str(refused(http_server, AWS))


@pytest.mark.parametrize("driver", ["fsspec", "obstore"])
def test_expired_credentials_are_said_to_be_expired(http_server: RangeServer, driver: str) -> None:
    http_server.fault, http_server.refusal = 400, REFUSALS["Amazon, token"][1].encode()
    options = {"key": "AKIA", "secret": SECRET, "token": SECRET, "endpoint_url": http_server.url("").rstrip("/")}
    with dask.config.set({"jp2batch.driver": driver}), pytest.raises(Jp2BatchError) as raised:
        jp2batch.read("s3://bucket/a.jp2", 0, storage_options=options)
    assert "the credentials expired: 400" in str(raised.value)
    assert raised.value.hint == "renew them"
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(("query", "told"), LINKS.values(), ids=LINKS)
def test_the_key_of_the_index_holds_no_signature(query: str, told: str) -> None:
    assert told
    plain = open_source("https://store.example/a.jp2")
    assert open_source(f"https://store.example/a.jp2?{query}").key == plain.key
    assert key_of(plain.location) == plain.key


@pytest.mark.parametrize(
    "query",
    ["se=x&sig=a", "Expires=999999999999999999999&Signature=a", "X-Amz-Expires=60", "se=9999-99-99&sig=a", "%", "&&;="],
)
def test_times_that_cannot_be_read_are_left_out(http_server: RangeServer, query: str) -> None:
    http_server.fault = 403
    assert "expired" not in str(refused(http_server, query))
