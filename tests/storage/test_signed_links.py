"""Links signed for GET only: whoever reads by them never asks by HEAD, which the server refuses."""

import json
import operator
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import dask
import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from numpy.typing import NDArray

import jp2batch
from jp2batch.cli import main
from jp2batch.core.errors import ObjectChanged
from jp2batch.core.ranges import ByteRange
from jp2batch.sample.encode import Coding
from jp2batch.sample.product import make_product
from jp2batch.storage.source import Version, open_source
from support.images import Made
from support.servers import RangeServer

NAME = "T29UNU_20260102T110431_B8A_60m.jp2"
SIGNATURE = "X-Amz-Signature=0123456789abcdef"
PLACES = ["signed link", "s3 by fsspec", "s3 by obstore"]


@dataclass(frozen=True)
class Link:
    """How an image is asked for, and what it holds."""

    url: str
    options: dict[str, Any]
    values: NDArray[Any]


@pytest.fixture(autouse=True)
def memory(tmp_path: Path) -> Iterator[None]:
    """Let images be known from their second read on, and not be read whole."""
    settings = {"jp2batch.index": {"enabled": True, "folder": str(tmp_path / "index")}, "jp2batch.first-read": 2000}
    with dask.config.set({**settings, "jp2batch.max-whole-file": 0}):
        yield


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[ProcessPoolExecutor]:
    """Another process, that knows of no image."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        yield pool


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, http_server: RangeServer) -> Iterator[tuple[str, dict[str, Any]]]:
    """The address that files of the server are below of, and the options to read them."""
    if request.param == "signed link":
        http_server.signature = SIGNATURE
        yield http_server.url("scenes"), {}
        return
    with dask.config.set({"jp2batch.driver": request.param.removeprefix("s3 by ")}):
        yield "s3://scenes", {"anon": True, "endpoint_url": http_server.url("").rstrip("/")}


@pytest.fixture
def link(place: tuple[str, dict[str, Any]], http_server: RangeServer, band: str) -> Link:
    """A band of a product, that GET is allowed for."""
    root, options = place
    values = jp2batch.read(band, 0).values
    http_server.files[f"scenes/{NAME}"] = Path(band).read_bytes()
    return Link(f"{root}/{NAME}{f'?{SIGNATURE}' if http_server.signature else ''}", options, values)


def opened(link: Link) -> xr.DataArray:
    return jp2batch.open(link.url, storage_options=link.options)


def read_by_the_engine(link: Link) -> NDArray[Any]:
    dataset = xr.open_dataset(link.url, engine="jp2batch", storage_options=link.options)
    return next(iter(dataset.data_vars.values())).values


def read_of_a_cube(link: Link) -> NDArray[Any]:
    return jp2batch.open_cube([link.url], 0, storage_options=link.options).values[0, 0]


def read_of_a_plan(link: Link) -> NDArray[Any]:
    assert jp2batch.plan(link.url, 0, storage_options=link.options).bytes > 1000
    return jp2batch.read(link.url, 0, storage_options=link.options).values


def read_of_the_header(link: Link) -> NDArray[Any]:
    assert jp2batch.inspect(link.url, storage_options=link.options).shape == link.values.shape
    return link.values


def read_as_answer(link: Link) -> NDArray[Any]:
    return np.array(jp2batch.respond({"Path": link.url, "rlevel": 0}, storage_options=link.options)["img_data"])


def read_in_a_batch(link: Link) -> NDArray[Any]:
    (result,) = jp2batch.run([jp2batch.Request(link.url, 0)], storage_options=link.options).results
    return result.value.values


def read_in_a_window(link: Link) -> NDArray[Any]:
    values = jp2batch.read(link.url, 0, "10:60,20:90", storage_options=link.options).values
    np.testing.assert_array_equal(values, link.values[10:60, 20:90])
    return link.values


READS: list[Callable[[Link], NDArray[Any]]] = [
    lambda link: jp2batch.read(link.url, 0, storage_options=link.options).values,
    lambda link: opened(link).values,
    lambda link: opened(link).compute(scheduler="sync").values,
    read_by_the_engine,
    read_of_a_cube,
    read_of_a_plan,
    read_of_the_header,
    read_as_answer,
    read_in_a_batch,
    read_in_a_window,
]
NAMES = ["read", "open", "lazy", "engine", "cube", "plan", "inspect", "respond", "run", "window"]


@pytest.mark.parametrize("status", [403, 405, 501])
@pytest.mark.parametrize("read", READS, ids=NAMES)
def test_what_may_only_be_got_is_read_the_first_and_the_second_time(
    http_server: RangeServer, link: Link, read: Callable[[Link], NDArray[Any]], status: int
) -> None:
    http_server.head = status
    for _ in range(2):
        np.testing.assert_array_equal(read(link), link.values)
    assert "HEAD" not in http_server.asked
    assert http_server.paths


@pytest.mark.parametrize("status", [403, 405, 501])
@pytest.mark.parametrize("is_known", [False, True], ids=["first", "second"])
def test_a_lazy_array_of_it_is_computed_elsewhere(
    http_server: RangeServer, link: Link, elsewhere: ProcessPoolExecutor, status: int, is_known: bool
) -> None:
    http_server.head = status
    if is_known:
        opened(link).load()
    compute = operator.methodcaller("compute", scheduler="sync")
    for array in (opened(link), jp2batch.open_cube([link.url], 0, storage_options=link.options)[0, 0]):
        np.testing.assert_array_equal(elsewhere.submit(compute, array).result(60).values, link.values)
    assert "HEAD" not in http_server.asked


@pytest.mark.parametrize("status", [403, 405, 501])
@pytest.mark.parametrize("command", ["info", "plan", "plan --rlevel 0", "read --rlevel 0 -o"])
def test_the_command_line_reads_it(
    http_server: RangeServer, link: Link, command: str, status: int, tmp_path: Path
) -> None:
    http_server.head = status
    output = [str(tmp_path / "image.npy")] if command.endswith("-o") else []
    storage = ["--storage-options", json.dumps(link.options)] if link.options else []
    for _ in range(2):
        done = CliRunner().invoke(main, [*command.split(), *output, link.url, *storage])
        assert done.exit_code == 0, done.output
    if output:
        np.testing.assert_array_equal(np.load(output[0]).squeeze(), link.values)
    assert "HEAD" not in http_server.asked


def test_a_cache_of_fsspec_reads_it(http_server: RangeServer) -> None:
    image = Made(Coding())
    http_server.files["image.jp2"], http_server.signature = image.data, SIGNATURE
    for _ in range(2):
        values = jp2batch.read(f"simplecache::{http_server.url('image.jp2')}?{SIGNATURE}", 0).values
        np.testing.assert_array_equal(values, image.oracle.at(0)[0])


# Confirming a version


def confirmed(link: Link, known: Version) -> tuple[int, int]:
    """Return the requests and the bytes that it takes."""
    source = open_source(link.url, storage_options=link.options)
    source.expect(known)
    source.verify()
    return source.meter.requests, source.meter.bytes_read


def version_of(link: Link) -> Version:
    source = open_source(link.url, storage_options=link.options)
    source.read_many([ByteRange(0, 8)])
    return Version(source.size, source.etag)


def test_confirming_a_version_takes_one_request_and_no_byte(http_server: RangeServer, link: Link) -> None:
    known = version_of(link)
    assert confirmed(link, known) == (1, 0)
    headers = http_server.headers[-1]
    assert headers["if-none-match"] == known.etag


def test_confirming_a_version_takes_one_byte_of_a_store_without_conditions(
    http_server: RangeServer, link: Link
) -> None:
    http_server.conditional = False
    known, sent = version_of(link), http_server.bytes_sent
    assert confirmed(link, known) == (1, 1)
    assert http_server.bytes_sent == sent + 1


@pytest.mark.parametrize("content", [b"another", b"another of that length", b""])
@pytest.mark.parametrize("conditional", [True, False])
def test_another_version_is_not_confirmed(
    http_server: RangeServer, link: Link, conditional: bool, content: bytes
) -> None:
    http_server.conditional = conditional
    http_server.files[f"scenes/{NAME}"] = b"one of the same length"
    known = version_of(link)
    http_server.files[f"scenes/{NAME}"] = content
    with pytest.raises(ObjectChanged):
        confirmed(link, known)


@pytest.mark.parametrize("conditional", [True, False])
def test_a_version_is_confirmed_by_a_server_that_ignores_ranges(
    http_server: RangeServer, link: Link, conditional: bool
) -> None:
    known = version_of(link)
    http_server.conditional, http_server.fault = conditional, "ignore-range"
    requests, taken = confirmed(link, known)
    assert requests <= 2
    assert taken == 0


def test_a_cube_of_signed_links_takes_a_request_of_each(http_server: RangeServer, tmp_path: Path) -> None:
    product = make_product(tmp_path, size=360, bands=["B04", "B8A"])
    images = [next(product.glob(f"GRANULE/*/IMG_DATA/**/*_{name}_20m.jp2")) for name in ("B04", "B8A")]
    http_server.signature = SIGNATURE
    for image in images:
        http_server.files[image.name] = image.read_bytes()
    urls = [f"{http_server.url(image.name)}?{SIGNATURE}" for image in images]
    cube = jp2batch.open_cube(urls, 0)
    again = jp2batch.open_cube(urls, 0)
    for band, image in enumerate(images):
        for one in (cube, again):
            np.testing.assert_array_equal(one.values[0, band], jp2batch.read(str(image), 0).values)
    assert "HEAD" not in http_server.asked


# The signature as it was given


QUERIES = {
    "Amazon": "X-Amz-Credential=AKIA%2F20260102%2Feu&X-Amz-SignedHeaders=host&X-Amz-Signature=ab",
    "Microsoft": "se=2026-01-01T00%3A00%3A00Z&sig=ab%2Bcd%2Fef%3D",
    "characters of base64": "sig=ab+cd/ef==",
    "CloudFront": "Policy=eyJ_-~&Signature=a~b-c_&Key-Pair-Id=K",
    "lower case": "sig=%c3%a9%2f",
    "needless": "sig=%7E%41",
    "encoded twice": "X-Amz-Credential=AKIA%252F2026&sig=%25",
    "semicolons": "a=b;c=d;sig=x",
    "other order": "sig=x&se=2026&sv=1",
    "empty parts": "a&&b=&sig",
    "question marks": "a=b?c=d&sig=?",
    "commas and stars": "hdnts=exp=1~acl=/*~hmac=ff,a",
}


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
@pytest.mark.parametrize("path", ["a.jp2", "a%20b/%C3%A9.jp2", "a%3Bb//c;d.jp2"])
def test_the_query_is_sent_as_it_is(http_server: RangeServer, query: str, path: str) -> None:
    image = Made(Coding())
    http_server.files[unquote(path)], http_server.signature = image.data, query
    targets = f"{http_server.url(path)}?{query}"
    for _ in range(2):
        np.testing.assert_array_equal(jp2batch.read(targets, 0).values, image.oracle.at(0)[0])
    assert set(http_server.paths) == {f"/{path}"}


@pytest.mark.parametrize("query", ["a=b c", "a=é", "sig=a%", "sig=a%zz", 'a="<b>"', "a={x}|y^z"])
def test_other_queries_are_encoded(http_server: RangeServer, query: str) -> None:
    image = Made(Coding())
    http_server.files["a.jp2"] = image.data
    np.testing.assert_array_equal(jp2batch.read(f"{http_server.url('a.jp2')}?{query}", 0).values, image.oracle.at(0)[0])
