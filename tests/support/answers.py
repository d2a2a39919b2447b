"""Verify responses of the service: the contract, and OpenJPEG's pixels."""

import json
import re
from pathlib import Path

import numpy as np

from jp2batch.image.inspect import inspect
from support.oracle import Oracle

KEYS = ["img_data", "shape", "time_download", "time_processing"]


def oracle(path: Path) -> tuple[Oracle, int]:
    """Return OpenJPEG's decode of an image, and its highest rlevel."""
    info = inspect(str(path))
    return Oracle(path.read_bytes(), (0, 0), (info.bands, *info.shape), info.dtype), len(info.levels) - 1


def verify_contract(body: bytes, expected: np.ndarray) -> None:
    """Verify keys, order, types and values of a response."""
    answer = json.loads(body)
    assert list(answer) == KEYS
    values = expected[0] if len(expected) == 1 else np.moveaxis(expected, 0, 2)
    assert answer["shape"] == list(values.shape)
    assert answer["img_data"] == values.tolist()
    assert re.fullmatch(rb'\{"img_data":\[\[[\[\]0-9,-]+\],"shape":\[[0-9,]+\],.*', body)
    assert all(type(answer[name]) is float and answer[name] >= 0 for name in KEYS[2:])
