"""Signers: links are signed when they are read, wherever that is."""

import io
import json
import operator
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
from click.testing import CliRunner
from dask.base import tokenize
from distributed import Client, LocalCluster

import jp2batch
from jp2batch.cli import main
from jp2batch.core.errors import ConfigurationError, InvalidRequest, Jp2BatchError, PermissionDenied, StoreUnavailable
from jp2batch.core.options import Signer
from jp2batch.core.ranges import ByteRange
from jp2batch.sample.encode import Coding
from jp2batch.storage.files import read_bytes
from jp2batch.storage.source import open_source
from support.images import Made
from support.servers import RangeServer

SECRET = "s3samE-0pen"
NAME = "T29UNU_20260102T110431_B8A_60m.jp2"


def sign(url: str) -> str:
    """Return a signed link, as Planetary Computer's function does."""
    return f"{url}?X-Amz-Signature={SECRET}"


@pytest.fixture
def image() -> Made:
    return Made(Coding())


@pytest.fixture
def url(http_server: RangeServer, image: Made) -> str:
    """The unsigned address of an image that takes a signature."""
    http_server.files[NAME], http_server.signature = image.data, f"X-Amz-Signature={SECRET}"
    return http_server.url(NAME)


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        yield pool


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0", processes=True) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


OPTIONS: dict[str, Any] = {"plain": {"sign": sign}, "by protocol": {"http": {"sign": sign}, "s3": {"anon": True}}}
OPTIONS["beside protocols"] = {"sign": sign, "s3": {"anon": True}}
OPTIONS["with an old signature"] = {"sign": sign}


@pytest.mark.parametrize("case", OPTIONS)
def test_a_link_is_signed_when_it_is_read(http_server: RangeServer, url: str, image: Made, case: str) -> None:
    given = f"{url}?X-Amz-Signature=old" if "old" in case else url
    for _ in range(2):
        values = jp2batch.read(given, 0, storage_options=OPTIONS[case]).values
        np.testing.assert_array_equal(values, image.oracle.at(0)[0])
    assert "HEAD" not in http_server.asked


def test_only_an_http_link_is_signed(band: str) -> None:
    calls: list[str] = []
    expected = jp2batch.read(band, 0).values
    np.testing.assert_array_equal(jp2batch.read(band, 0, storage_options={"sign": calls.append}).values, expected)
    assert calls == []


@pytest.mark.parametrize("driver", ["fsspec", "obstore"])
def test_another_store_does_not_get_it(http_server: RangeServer, image: Made, driver: str) -> None:
    http_server.files["bucket/a.jp2"] = image.data
    options = {"sign": sign, "anon": True, "endpoint_url": http_server.url("").rstrip("/")}
    with dask.config.set({"jp2batch.driver": driver}):
        assert jp2batch.read("s3://bucket/a.jp2", 0, storage_options=options).size


@pytest.mark.parametrize("chain", ["simplecache::{}", "zip://a.jp2::{}", "tar://a.jp2::{}"])
@pytest.mark.parametrize("options", [{"sign": sign}, {"http": {"sign": sign}}], ids=["plain", "by protocol"])
def test_the_store_of_a_chain_is_signed(
    http_server: RangeServer, url: str, image: Made, chain: str, options: dict[str, Any]
) -> None:
    data = io.BytesIO()
    if chain.startswith("zip"):
        with zipfile.ZipFile(data, "w") as archive:
            archive.writestr("a.jp2", image.data)
    elif chain.startswith("tar"):
        with tarfile.open(fileobj=data, mode="w") as tar:
            entry = tarfile.TarInfo("a.jp2")
            entry.size = len(image.data)
            tar.addfile(entry, io.BytesIO(image.data))
    http_server.files[NAME] = data.getvalue() or image.data
    values = jp2batch.read(chain.format(url), 0, storage_options=options).values
    np.testing.assert_array_equal(values, image.oracle.at(0)[0])


def test_a_whole_file_is_read_by_a_signed_link(http_server: RangeServer, url: str) -> None:
    http_server.files[NAME] = b"Path\na.jp2\n"
    assert read_bytes(url, storage_options={"sign": sign}) == b"Path\na.jp2\n"
    assert jp2batch.read_manifest(url, storage_options={"sign": sign})[0].path == "a.jp2"


def test_a_lazy_array_is_signed_in_the_process_that_reads(
    url: str, image: Made, elsewhere: ProcessPoolExecutor
) -> None:
    compute = operator.methodcaller("compute", scheduler="sync")
    arrays = [
        jp2batch.open(url, storage_options={"sign": sign}),
        jp2batch.open(url, storage_options={"sign": lambda link: f"{link}?X-Amz-Signature={SECRET}"}),
    ]
    for array in arrays:
        np.testing.assert_array_equal(elsewhere.submit(compute, array).result(60).values, image.oracle.at(0)[0])


def test_tasks_are_signed_on_workers(url: str, image: Made, client: Client) -> None:
    options = {"sign": lambda link: f"{link}?X-Amz-Signature={SECRET}"}
    (result,) = jp2batch.run([jp2batch.Request(url, 0)], client, storage_options=options, progress=False).results
    np.testing.assert_array_equal(result.value.values, image.oracle.at(0)[0])
    (task,) = jp2batch.to_delayed([jp2batch.Request(url, 0)], storage_options=options)
    np.testing.assert_array_equal(client.compute(task).result().values, image.oracle.at(0)[0])


# By the configuration


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.1"])
def test_the_host_has_a_signer(url: str, image: Made, host: str) -> None:
    with dask.config.set({"jp2batch.signers": {host: f"{__name__}:sign"}}):
        np.testing.assert_array_equal(jp2batch.read(url, 0).values, image.oracle.at(0)[0])


def test_the_option_takes_precedence(url: str) -> None:
    with dask.config.set({"jp2batch.signers": {"127.0.0.1": "nowhere:sign"}}):
        assert jp2batch.inspect(url, storage_options={"sign": sign}).shape
        with pytest.raises(ConfigurationError, match=r"jp2batch.signers names no function .*ModuleNotFoundError"):
            jp2batch.inspect(url)


def test_another_host_has_none(url: str) -> None:
    with dask.config.set({"jp2batch.signers": {"example.com": f"{__name__}:sign"}}), pytest.raises(PermissionDenied):
        jp2batch.inspect(url)


@pytest.mark.parametrize("value", [SECRET, [SECRET], {"127.0.0.1": {"x": SECRET}}, {"127.0.0.1": SECRET}, {1: "a:b"}])
def test_a_wrong_configuration_is_refused_without_its_value(url: str, value: Any) -> None:
    with dask.config.set({"jp2batch.signers": value}), pytest.raises(ConfigurationError) as raised:
        jp2batch.inspect(url)
    assert SECRET not in f"{raised.value!r}"


def test_commands_sign_by_the_configuration(url: str, tmp_path: Path, image: Made) -> None:
    manifest = tmp_path / "a.csv"
    manifest.write_text(f"Path,rlevel\n{url},0\n")
    with dask.config.set({"jp2batch.signers": {"127.0.0.1": f"{__name__}:sign"}}):
        for command in (
            ["info", url],
            ["plan", url],
            ["read", url, "--rlevel", "0", "-o", str(tmp_path / "a.npy")],
            ["run", str(manifest), "-o", str(tmp_path / "a.ndjson"), "--local-threads"],
            ["index", str(manifest), "-o", str(tmp_path / "i.parquet")],
            ["doctor", url],
        ):
            done = CliRunner().invoke(main, command)
            assert done.exit_code == 0, done.output
            assert SECRET not in done.output
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy").squeeze(), image.oracle.at(0)[0])
    assert json.loads((tmp_path / "a.ndjson").read_text().splitlines()[0])["shape"]
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes()


# A refusal


class Clock:
    """A signer whose links expire."""

    def __init__(self, server: RangeServer) -> None:
        self.server, self.calls, self.urls = server, 0, set[str]()
        self._lock = threading.Lock()

    def __call__(self, url: str) -> str:
        with self._lock:
            self.calls += 1
            self.urls.add(url)
            if self.calls > 1:
                self.server.signature = f"sig={self.calls}x"
            return f"{url}?sig={self.calls}x"


def test_a_link_is_signed_once_for_an_open_image(http_server: RangeServer, url: str, dear_bytes: None) -> None:
    clock = Clock(http_server)
    http_server.signature = "sig=1x"
    jp2batch.read(url, 0, storage_options={"sign": clock})
    assert clock.calls == 1
    assert clock.urls == {url}
    assert http_server.requests > 1


@pytest.mark.parametrize("many", [1, 20])
def test_an_expired_link_is_signed_once_more(http_server: RangeServer, url: str, many: int) -> None:
    clock = Clock(http_server)
    http_server.signature = "sig=1x"
    source = open_source(url, storage_options={"sign": clock})
    source.read_many([ByteRange(0, 10)])
    http_server.signature = "sig=2x"
    assert len(source.read_many([ByteRange(start, start + 10) for start in range(many)])) == many
    assert clock.calls == 2
    source.verify()


def test_a_link_may_expire_between_opening_and_computing(http_server: RangeServer, url: str, image: Made) -> None:
    clock = Clock(http_server)
    http_server.signature = "sig=1x"
    array = jp2batch.open(url, storage_options={"sign": clock})
    http_server.signature = "sig=2x"
    np.testing.assert_array_equal(array.compute().values, image.oracle.at(0)[0])


def test_a_lasting_refusal_is_told(http_server: RangeServer, url: str) -> None:
    http_server.signature = "another"
    calls: list[str] = []

    def signed(link: str) -> str:
        calls.append(link)
        return sign(link)

    with pytest.raises(PermissionDenied, match="the store refuses the signer's link: 403 ") as raised:
        jp2batch.read(url, 0, storage_options={"sign": signed})
    assert len(calls) == 2
    assert SECRET not in repr(raised.value)


# Bad signers


def failing(error: Exception) -> Callable[[str], str]:
    def sign(url: str) -> str:
        raise error

    return sign


BAD: dict[str, tuple[Callable[[str], Any], type[Jp2BatchError], str]] = {
    "raises": (failing(ValueError(SECRET)), PermissionDenied, "its signer failed: ValueError"),
    "is not connected": (failing(ConnectionError(SECRET)), StoreUnavailable, "its signer failed: ConnectionError"),
    "returns None": (lambda _: None, PermissionDenied, "its signer returned a value of type NoneType"),
    "returns a dict": (lambda _: {"href": SECRET}, PermissionDenied, "its signer returned a value of type dict"),
    "returns bytes": (lambda _: SECRET.encode(), PermissionDenied, "its signer returned a value of type bytes"),
    "returns text": (lambda _: SECRET, PermissionDenied, "its signer returned the link of another object"),
    "returns nothing": (lambda _: "", PermissionDenied, "its signer returned the link of another object"),
    "another host": (lambda _: f"http://127.0.0.2/{NAME}?sig={SECRET}", PermissionDenied, "another object"),
    "another port": (lambda _: f"http://127.0.0.1:1/{NAME}?sig={SECRET}", PermissionDenied, "another object"),
    "another path": (lambda url: f"{url}.txt?sig={SECRET}", PermissionDenied, "another object"),
    "another scheme": (lambda url: url.replace("http:", "file:"), PermissionDenied, "another object"),
    "no URL": (lambda _: f"http://[{SECRET}", PermissionDenied, "another object"),
    "lines": (lambda url: f"{url}?sig={SECRET}\r\nX: y", PermissionDenied, "another object"),
    "takes two arguments": (lambda _, __: SECRET, PermissionDenied, "its signer failed: TypeError"),  # type: ignore[dict-item]
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("chain", ["{}", "simplecache::{}"])
def test_a_bad_signer_is_told(http_server: RangeServer, url: str, case: str, chain: str) -> None:
    signer, kind, told = BAD[case]
    with pytest.raises(kind) as raised:
        jp2batch.read(chain.format(url), 0, storage_options={"sign": signer})
    assert told in str(raised.value)
    assert str(raised.value).startswith(chain.format(url))
    assert SECRET not in repr(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None
    assert http_server.asked == []


@pytest.mark.parametrize("value", [SECRET, {"url": SECRET}, 1, [sign], True])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("url", ["http://127.0.0.1:9/a.jp2", "s3://bucket/a.jp2", "nowhere.jp2"])
def test_a_signer_is_a_function(value: Any, nested: bool, url: str) -> None:
    options = {"http": {"sign": value}} if nested else {"sign": value}
    for act in (jp2batch.read, jp2batch.open, jp2batch.inspect, jp2batch.plan):
        with pytest.raises(InvalidRequest, match="storage_options: sign is of type") as raised:
            act(url, storage_options=options)
        assert SECRET not in repr(raised.value)


def test_a_signer_for_workers_can_be_pickled(url: str, client: Client) -> None:
    lock = threading.Lock()

    def signed(link: str) -> str:
        with lock:
            return sign(link)

    options = {"sign": signed}
    told = r"storage_options: sign cannot be pickled for workers \(TypeError\)"
    assert jp2batch.read(url, storage_options=options).size
    with pytest.raises(InvalidRequest, match=told):
        jp2batch.run([url], client, storage_options=options, progress=False)
    with pytest.raises(InvalidRequest, match=told):
        jp2batch.open_cube([url], client=client, storage_options=options)


# Identity


def test_names_of_tasks_depend_on_no_secret_of_a_signer(url: str) -> None:
    def signer_with(secret: str) -> Callable[[str], str]:
        return lambda link: sign(link) + secret[:0]

    one, other = ({"sign": signer_with(secret)} for secret in ("one", "other"))
    assert tokenize(Signer(one["sign"])) == tokenize(Signer(other["sign"]))
    assert (
        jp2batch.open(url, storage_options=one).chunk().name == jp2batch.open(url, storage_options=other).chunk().name
    )
    keys = [jp2batch.to_delayed([url], storage_options=options)[0].key for options in (one, other)]
    assert keys[0] == keys[1]


def test_the_key_of_the_index_is_that_of_the_plain_link(url: str) -> None:
    assert open_source(url, storage_options={"sign": sign}).key == open_source(url).key == open_source(sign(url)).key


def test_a_signer_shows_nothing(url: str) -> None:
    shown = Signer(lambda _: SECRET)
    assert repr(shown) == "Signer(…)"
    array = jp2batch.open(url, storage_options={"sign": sign})
    assert "signers" not in repr(array)


def test_doctor_names_a_signer_that_cannot_be_imported() -> None:
    with dask.config.set({"jp2batch.signers": {"example.com": "nowhere:sign"}}):
        done = CliRunner().invoke(main, ["doctor"])
    assert "jp2batch.signers names no function that can be imported (ModuleNotFoundError)" in done.output
