"""Answers of the web service: pixels and times, as dict or JSON."""

import time
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

import numpy as np
import orjson
from numpy.typing import NDArray

from jp2batch.core.options import StorageOptions
from jp2batch.core.request import Request
from jp2batch.image.read import Pixels, read_pixels


class Response(TypedDict):
    """The answer of `POST /api/jp2`."""

    img_data: list[Any]
    """Rows of grey values; with several bands, rows of lists of values."""
    shape: list[int]
    """Rows and columns; with several bands, their number as well."""
    time_download: float
    """Seconds spent waiting for the store."""
    time_processing: float
    """Seconds spent otherwise."""


def respond(body: Mapping[str, object], *, root: str | None = None, storage_options: StorageOptions = None) -> Response:
    """Read an image as the web service does.

    Parameters
    ----------
    body : mapping
        `{"Path": "<key>", "rlevel": -1}`; `rlevel` may be left out, and a `window` given.
    root : str, optional
        Base folder or bucket; keys are relative to it and cannot escape it.
    storage_options : mapping, optional
        fsspec's options for the store.

    Raises
    ------
    Jp2BatchError
        Always one of its subclasses, naming the path.
    """
    return response(read_pixels(Request.from_json(body, root=root), storage_options=storage_options))


def response(pixels: Pixels) -> Response:
    """Return pixels as the answer of the web service."""
    return _answer(pixels, np.ndarray.tolist)


def to_json(pixels: Pixels) -> bytes:
    """Return the web service's JSON, straight from the array.

    By way of lists it would take several times as long.
    """
    return orjson.dumps(_answer(pixels, np.ascontiguousarray), option=orjson.OPT_SERIALIZE_NUMPY)


def json_of(values: NDArray[np.generic]) -> bytes:
    """Return the web service's JSON without times."""
    return b'{"img_data":[%s],"shape":%s}' % (json_rows(values), orjson.dumps(values.shape))


def json_rows(values: NDArray[np.generic]) -> bytes:
    """Return rows as JSON, separated by commas, for the array `img_data`."""
    return orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]


def values_of(pixels: Pixels) -> NDArray[np.generic]:
    """Return samples as rows and columns; with several bands, bands last."""
    return pixels.values[0] if len(pixels.values) == 1 else np.moveaxis(pixels.values, 0, 2)


def _answer(pixels: Pixels, form: Callable[[NDArray[np.generic]], Any]) -> Response:
    begin = time.perf_counter()
    values = values_of(pixels)
    data = form(values)
    return {
        "img_data": data,
        "shape": list(values.shape),
        "time_download": pixels.stats.time_download,
        "time_processing": pixels.stats.time_processing + time.perf_counter() - begin,
    }
