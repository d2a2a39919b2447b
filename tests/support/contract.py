"""The contract of drivers: what each makes of the same key and the same reply."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import dask
import pytest

from jp2batch.core.errors import Jp2BatchError
from jp2batch.core.location import Location
from jp2batch.core.ranges import ByteRange
from jp2batch.storage.schemes import scheme_info
from jp2batch.storage.source import open_source
from support.plays import Play, PlayServer

DATA = bytes(range(256)) * 40
SPAN = ByteRange(0, 100)
DENIED = "the hint of the scheme for refusals"


@dataclass(frozen=True)
class Store:
    """A driver, and how to reach the server by it."""

    scheme: str
    options: Callable[[str], dict[str, Any]]
    """Storage options, from the server's address."""
    driver: str = "auto"
    package: str = "fsspec"
    """Package that it needs."""

    def url(self, server: PlayServer, key: str = "x.jp2", bucket: str = "bucket") -> str:
        """Return the URL of an object; of the web, its key is percent-encoded."""
        if self.scheme == "http":
            return f"{server.address}/web/{bucket}/{quote(key)}"
        return f"{self.scheme}://{bucket}/{key}"

    @contextmanager
    def chosen(self) -> Iterator[None]:
        """Let this driver be the configured one; skip the test if its package is absent."""
        pytest.importorskip(self.package)
        with dask.config.set({"jp2batch.driver": self.driver}):
            yield


def _s3(address: str) -> dict[str, Any]:
    return {"anon": True, "endpoint_url": address}


def _azure(address: str) -> dict[str, Any]:
    return {"anon": True, "account_name": "devstoreaccount1", "endpoint_url": f"{address}/devstoreaccount1"}


STORES = {
    "http": Store("http", lambda _: {}),
    "aiohttp": Store("http", lambda _: {}, "fsspec"),
    "s3fs": Store("s3", _s3, "fsspec"),
    "obstore": Store("s3", _s3, "obstore", "obstore"),
    "auto": Store("s3", _s3, "auto", "obstore"),
    "gs": Store("gs", lambda address: {"token": "anon", "endpoint_url": address}, package="gcsfs"),
    "az": Store("az", _azure, package="adlfs"),
}
"""All drivers of remote objects, and the choice among those of S3."""


@dataclass(frozen=True)
class Refusal:
    """An error: its class, problem and hint."""

    kind: type[Jp2BatchError]
    problem: str
    hint: str

    def of(self, scheme: str) -> "Refusal":
        """Return the refusal with the hint of a scheme."""
        return Refusal(self.kind, self.problem, scheme_info(scheme).denied) if self.hint == DENIED else self


Outcome = str | Refusal
"""What becomes of a read: "part", "whole" or "empty", each followed by later reads; or an error."""


@dataclass(frozen=True)
class Case:
    """Replies, and the outcome of reading them by any driver."""

    plays: tuple[Play, ...]
    outcome: Outcome
    but: Mapping[str, tuple[Outcome, str]] = field(default_factory=dict)
    """Other outcomes, by driver, with their reasons."""

    def expected(self, name: str) -> Outcome:
        """Return the outcome by a driver."""
        outcome = self.but[name][0] if name in self.but else self.outcome
        return outcome.of(STORES[name].scheme) if isinstance(outcome, Refusal) else outcome


def outcome_of(store: Store, server: PlayServer, url: str) -> Outcome:
    """Return the outcome of three reads of an object, and of a look at it."""
    try:
        source = open_source(url, storage_options=store.options(server.address))
        first = source.read_many([SPAN])
        if source.size:
            assert [source.read_many([SPAN]) for _ in range(2)] == 2 * [[(0, DATA[:100])]]
        source.verify()
    except Jp2BatchError as error:
        return Refusal(
            type(error), error.problem if error.path == Location.of(url).redacted else f"{error}", error.hint
        )
    return {DATA[:100]: "part", DATA: "whole", b"": "empty"}[first[0][1]]
