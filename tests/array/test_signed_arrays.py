"""Arrays of signed links keep the signature to themselves."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
import xarray as xr

import jp2batch
from jp2batch.core.errors import PermissionDenied
from support.planted import SECRET, planted_in
from support.servers import RangeServer

NAME = "T29UNU_20260102T110431_B8A_60m.jp2"
OPENERS: dict[str, Callable[[str], xr.DataArray | xr.Dataset]] = {
    "engine": lambda link: xr.open_dataset(link, engine="jp2batch"),
    "guessed engine": xr.open_dataset,
    "several files": lambda link: xr.open_mfdataset([link], engine="jp2batch"),
    "open": jp2batch.open,
    "read": jp2batch.read,
    "open_cube": lambda link: jp2batch.open_cube([link]),
}


@pytest.fixture
def link(http_server: RangeServer, band: str) -> str:
    http_server.files[NAME], http_server.signature = Path(band).read_bytes(), f"X-Amz-Signature={SECRET}"
    return f"{http_server.url(NAME)}?{http_server.signature}"


@pytest.mark.parametrize("opener", OPENERS)
def test_no_attribute_or_file_holds_the_signature(link: str, opener: str, tmp_path: Path) -> None:
    opened, printed = OPENERS[opener](link), io.StringIO()
    dataset = opened.to_dataset(name="image") if isinstance(opened, xr.DataArray) else opened
    dataset.info(printed)
    parts = [opened, dataset, *dataset.variables.values()]
    texts = [repr([part.attrs, part.encoding]) for part in parts]
    texts += [printed.getvalue(), repr(opened), opened._repr_html_(), repr(dataset.to_dict(encoding=True))]
    dataset.to_netcdf(tmp_path / "image.nc")
    assert planted_in(*texts, (tmp_path / "image.nc").read_bytes().decode("latin1")) == ""


def test_the_source_of_a_dataset_is_its_plain_link(link: str, band: str) -> None:
    assert xr.open_dataset(link, engine="jp2batch").encoding["source"] == link.partition("?")[0]
    assert xr.open_dataset(band, engine="jp2batch").encoding["source"] == band


def test_a_link_that_expires_after_opening_is_said_to_have_expired(http_server: RangeServer, link: str) -> None:
    link = f"{link}&X-Amz-Date=20260102T030405Z&X-Amz-Expires=3600"
    array, cube = jp2batch.open(link), jp2batch.open_cube([link])
    http_server.fault, http_server.refusal = 403, b"<Error><Message>Request has expired</Message></Error>"
    for one in (array, cube):
        with pytest.raises(PermissionDenied, match="the link's signature expired at 2026-01-02 04:04:05 UTC") as raised:
            one.compute()
        assert planted_in(raised.value) == ""
