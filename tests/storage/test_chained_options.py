"""Storage options of chains: each goes to the protocol that knows it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import jp2batch
from jp2batch.cli import main
from jp2batch.core.errors import InvalidRequest
from jp2batch.sample.product import make_product
from jp2batch.storage.store_options import options_for

CACHED = "simplecache::s3://b/a.jp2"
ZIPPED = "zip://a.jp2::s3://b/a.zip"


@pytest.mark.parametrize(
    ("url", "options", "expected"),
    [
        (ZIPPED, {}, {}),
        (ZIPPED, {"anon": True}, {"s3": {"anon": True}}),
        (ZIPPED, {"s3": {"anon": True}}, {"s3": {"anon": True}}),
        (ZIPPED, {"s3": {"anon": True}, "key": "k"}, {"s3": {"anon": True, "key": "k"}}),
        (CACHED, {"cache_storage": "x", "anon": True}, {"simplecache": {"cache_storage": "x"}, "s3": {"anon": True}}),
        (CACHED, {"unheard_of": 1}, {"s3": {"unheard_of": 1}}),
        ("zip://a.jp2::https://h/a.zip", {"headers": {"A": "b"}}, {"https": {"headers": {"A": "b"}}}),
        ("zip://a.jp2::simplecache::s3://b/a", {"same_names": True}, {"simplecache": {"same_names": True}}),
    ],
)
def test_an_option_goes_to_the_protocol_that_knows_it(url, options, expected):
    assert options_for(url, options) == expected


def test_an_option_of_several_protocols_is_named():
    with pytest.raises(InvalidRequest, match="zip and simplecache both have the option target_options") as caught:
        options_for("zip://a::simplecache::s3://b/a.zip", {"target_options": {"secret": "sesame"}})
    assert 'give {"zip": {…}, "simplecache": {…}}' in str(caught.value)
    assert "sesame" not in str(caught.value)


def test_flat_options_and_flags_read_files_of_archives_in_a_store(s3_server, tmp_path):
    product = make_product(tmp_path, size=60, bands=["B04"])
    archive = Path(shutil.make_archive(str(tmp_path / "a"), "zip", product.parent, product.name))
    url = s3_server.put("chained/a.zip", archive.read_bytes())
    image = next(product.glob("**/*_B04_10m.jp2"))
    expected = jp2batch.read(str(image), 0).values
    chained = f"zip://{image.relative_to(tmp_path).as_posix()}::{url}"
    values = jp2batch.read(chained, 0, storage_options=s3_server.options).values
    np.testing.assert_array_equal(values, expected)
    flags = ["--endpoint-url", s3_server.endpoint, "--storage-options", '{"key": "%(key)s", "secret": "%(secret)s"}']
    flags[-1] %= s3_server.options
    done = CliRunner().invoke(main, ["info", chained, "--json", *flags], catch_exceptions=False)
    assert done.exit_code == 0, done.output
