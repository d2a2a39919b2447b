"""Sentinel-2 JPEG 2000 images from object stores: exact OpenJPEG pixels from the fewest bytes.

The public names are loaded when they are first used; importing the package starts nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jp2batch.dataarray import open, read  # noqa: A004  # named as xarray's and rasterio's
    from jp2batch.errors import Jp2BatchError
    from jp2batch.info import ImageInfo, ReadPlan
    from jp2batch.inspection import inspect, plan
    from jp2batch.request import Request
    from jp2batch.response import respond

__version__ = "0.1.0"

_HOMES = {
    "ImageInfo": "info",
    "Jp2BatchError": "errors",
    "ReadPlan": "info",
    "Request": "request",
    "inspect": "inspection",
    "open": "dataarray",
    "plan": "inspection",
    "read": "dataarray",
    "respond": "response",
}

__all__ = ["ImageInfo", "Jp2BatchError", "ReadPlan", "Request", "inspect", "open", "plan", "read", "respond"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'jp2batch' has no attribute {name!r}")
    return getattr(importlib.import_module(f"jp2batch.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
