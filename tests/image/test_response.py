"""The answer of the old web service: its keys, their order, plain numbers."""

import json

import pytest

import jp2batch
from jp2batch.core.errors import InvalidPath, Jp2BatchError
from jp2batch.core.request import Request
from jp2batch.image.read import read_pixels
from jp2batch.image.response import response, to_json


def all_numbers(data):
    return all(all_numbers(item) for item in data) if isinstance(data, list) else type(data) is int


@pytest.mark.parametrize("rlevel", [-1, 0, 2])
@pytest.mark.parametrize(("name", "bands"), [("B8A_60m", 1), ("SCL_20m", 1), ("TCI_60m", 3)])
def test_the_answer_has_the_contracts_form(image_of, name, bands, rlevel):
    answer = jp2batch.respond({"Path": image_of(name), "rlevel": rlevel})
    assert list(answer) == ["img_data", "shape", "time_download", "time_processing"]
    image = jp2batch.read(image_of(name), rlevel)
    expected = image.transpose("y", "x", "band") if bands > 1 else image
    assert answer["shape"] == list(expected.shape)
    assert answer["img_data"] == expected.values.tolist()
    assert all_numbers(answer["img_data"])
    assert type(answer["time_download"]) is float
    assert type(answer["time_processing"]) is float
    assert answer["time_processing"] > 0


@pytest.mark.parametrize("name", ["B8A_60m", "SCL_20m", "TCI_60m"])
def test_the_json_is_that_of_the_dict(image_of, name):
    pixels = read_pixels(Request(image_of(name), 1))
    answer, text = response(pixels), to_json(pixels)
    timeless = {"time_processing": 0.0}
    assert list(json.loads(text)) == list(answer)
    assert json.loads(text) | timeless == answer | timeless
    assert type(json.loads(text)["time_processing"]) is float


def test_a_root_confines_the_path(product, image_of):
    key = image_of("SCL_20m").removeprefix(f"{product}/")
    assert jp2batch.respond({"path": key}, root=str(product))["shape"] == [35, 35]
    with pytest.raises(InvalidPath):
        jp2batch.respond({"Path": f"../{product.name}/{key}"}, root=str(product))


def test_errors_name_the_path():
    with pytest.raises(Jp2BatchError, match=r"nowhere\.jp2"):
        jp2batch.respond({"Path": "nowhere.jp2"})
