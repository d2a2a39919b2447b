"""Responses in parts: put together, they are the response that is made at once."""

import gzip
import io
import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jp2batch.compute.task import TaskSpec, run_task
from jp2batch.core.errors import ObjectChanged, TooManyPixels
from jp2batch.core.options import SecretDict
from jp2batch.core.request import Request
from jp2batch.image.inspect import inspect
from jp2batch.service import reading as module
from jp2batch.service.reading import Reading, Settled
from jp2batch.service.representations import head_of, slices_of, tail_of
from jp2batch.storage.source import MemorySource
from support.answers import oracle, verify_contract

FEW = 1_000
PLAIN = Reading()


def run(reading: Reading, data: bytes, rlevel: int = 0, etag: str | None = '"1"', **more):
    source = MemorySource(data, etag=etag)
    order = TaskSpec(reading.deliver, SecretDict(), None, None, open=lambda *_: source, select=reading.select)
    result = run_task(Request("a.jp2", rlevel, **more), order)
    if result.error is not None:
        raise result.error
    return result


@pytest.fixture
def in_parts(monkeypatch):
    monkeypatch.setattr(module, "MOST_AT_ONCE", FEW)
    monkeypatch.setattr(module, "_PART", 20_000)
    monkeypatch.setattr(module, "_FIRST", 3_000)


def parts_of(reading: Reading, data: bytes, **more):
    while True:
        content = run(reading, data, **more).value
        yield content
        if content.next_row is None:
            return
        reading = replace(reading, row=content.next_row, version=content.version)


@pytest.mark.parametrize("name", ["B8A_60m", "TCI_60m"])
@pytest.mark.parametrize("suffix", [".json", ".npy"])
@pytest.mark.parametrize("selection", [(0, None), (1, None), (0, "3:180,7:150")])
def test_parts_are_the_whole(image_of, in_parts, name, suffix, selection):
    rlevel, window = selection
    data = Path(image_of(name)).read_bytes()
    parts = list(parts_of(Reading(suffix), data, rlevel=rlevel, window=window))
    whole, _ = oracle(Path(image_of(name)))
    expected = whole.window(rlevel, window) if window else whole.at(rlevel)
    body = head_of(suffix, parts[0].shape, parts[0].samples.dtype)
    for number, part in enumerate(parts):
        body += b"".join(slices_of(suffix, part.samples, first=not number))
    body += tail_of(suffix, parts[0].shape, (0.5, 0.25))
    if suffix == ".json":
        verify_contract(body, expected)
    else:
        values = np.load(io.BytesIO(body))
        np.testing.assert_array_equal(values if values.ndim == 2 else np.moveaxis(values, 2, 0), expected.squeeze())
    assert len({part.etag for part in parts}) == 1


def test_a_part_is_whole_rows_of_tiles_but_for_a_small_first(image_of, in_parts, monkeypatch):
    path = image_of("B08_10m")
    tile = inspect(path).tile_shape[0]
    monkeypatch.setattr(module, "_PART", int(1.05 * tile * inspect(path).shape[1] * 2))
    first, second, *others, _ = [len(part.samples) for part in parts_of(Reading(), Path(path).read_bytes())]
    assert first < tile / 10
    assert first + second == tile
    assert set(others) <= {tile}


def test_a_file_that_is_replaced_ends_the_response(image_of, in_parts):
    data = Path(image_of("B8A_60m")).read_bytes()
    first = run(Reading(), data).value
    with pytest.raises(ObjectChanged):
        run(Reading(row=first.next_row, version=first.version), data, etag='"2"')


def test_an_etag_is_that_of_the_file_and_of_the_selection(image_of):
    data = Path(image_of("B8A_60m")).read_bytes()

    def etag(reading=PLAIN, etag='"1"', **more):
        return run(reading, data, etag=etag, **more).value.etag

    tags = [
        etag(),
        etag(etag='"2"'),
        etag(rlevel=1),
        etag(window="0:50,0:50"),
        etag(Reading(".npy")),
        etag(Reading(compress=True)),
    ]
    assert len(set(tags)) == len(tags)
    assert etag() == tags[0]
    assert etag(etag=None) is None
    assert etag(etag='W/"1"').startswith('W/"')
    for known in (f'"0", {etag()}', f"W/{etag()}", "*"):
        with pytest.raises(Settled) as raised:
            run(Reading(if_none_match=known), data)
        assert raised.value.content.etag == etag()
    assert run(Reading(if_none_match='"0"'), data).value.data


def test_compressed_content_is_the_same(image_of):
    data = Path(image_of("B8A_60m")).read_bytes()
    plain, packed = (run(Reading(compress=compress), data).value for compress in (False, True))
    assert gzip.decompress(packed.data) == plain.data
    assert zlib.decompress(packed.data, 31) == plain.data
    assert list(json.loads(plain.data)) == ["img_data", "shape"]


@pytest.mark.parametrize(("suffix", "fits"), [(".json", 1), (".png", 2)])
def test_too_many_pixels_come_with_what_would_fit(image_of, monkeypatch, suffix, fits):
    monkeypatch.setattr(module, "_PICTURE", 8_000)
    with pytest.raises(TooManyPixels) as raised:
        run(Reading(suffix, most=20_000), Path(image_of("B8A_60m")).read_bytes())
    assert raised.value.fits == fits
