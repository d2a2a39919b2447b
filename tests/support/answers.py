"""Verify responses of the service: the contract, and OpenJPEG's pixels."""

import re
from pathlib import Path

import numpy as np
import orjson

from jp2batch.image.inspect import inspect
from support.oracle import Oracle


def oracle(path: Path) -> tuple[Oracle, int]:
    """Return OpenJPEG's decode of an image, and its highest rlevel."""
    info = inspect(str(path))
    return Oracle(path.read_bytes(), (0, 0), (info.bands, *info.shape), info.dtype), len(info.levels) - 1


def verify_contract(body: bytes, expected: np.ndarray) -> None:
    """Verify every byte of a response: keys, order, types and values."""
    values = np.ascontiguousarray(expected[0] if len(expected) == 1 else np.moveaxis(expected, 0, 2))
    shape = ",".join(map(str, values.shape)).encode()
    number = rb"\d+\.\d+(?:e-?\d+)?"
    tail = rb',"shape":\[%s\],"time_download":%s,"time_processing":%s\}' % (shape, number, number)
    head = b'{"img_data":'
    data = orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)
    assert body.startswith(head)
    assert memoryview(body)[len(head) : len(head) + len(data)] == data
    assert re.fullmatch(tail, body[len(head) + len(data) :]), body[-200:]
