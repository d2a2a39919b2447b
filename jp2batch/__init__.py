"""Sentinel-2 JPEG 2000 images from object stores: exact OpenJPEG pixels from the fewest bytes.

The public names are loaded when they are first used; importing the package starts nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jp2batch.batch.report import BatchInterrupted, BatchReport, BatchSummary, Result
    from jp2batch.batch.run import as_completed, run, to_delayed
    from jp2batch.batch.runner import run_to
    from jp2batch.cube.open import open_cube
    from jp2batch.dataarray import open, read  # noqa: A004  # named as xarray's and rasterio's
    from jp2batch.errors import Jp2BatchError
    from jp2batch.info import ImageInfo, ReadPlan
    from jp2batch.inspection import inspect, plan
    from jp2batch.listing import list_requests
    from jp2batch.manifest.read import read_manifest
    from jp2batch.product import open_product
    from jp2batch.request import Request
    from jp2batch.response import respond

__version__ = "0.1.0"

_HOMES = {
    "ImageInfo": "info",
    "BatchInterrupted": "batch.report",
    "BatchReport": "batch.report",
    "BatchSummary": "batch.report",
    "Jp2BatchError": "errors",
    "ReadPlan": "info",
    "Request": "request",
    "Result": "batch.report",
    "as_completed": "batch.run",
    "inspect": "inspection",
    "list_requests": "listing",
    "open": "dataarray",
    "open_cube": "cube.open",
    "open_product": "product",
    "plan": "inspection",
    "read": "dataarray",
    "read_manifest": "manifest.read",
    "respond": "response",
    "run": "batch.run",
    "run_to": "batch.runner",
    "to_delayed": "batch.run",
}

__all__ = [
    "BatchInterrupted",
    "BatchReport",
    "BatchSummary",
    "ImageInfo",
    "Jp2BatchError",
    "ReadPlan",
    "Request",
    "Result",
    "as_completed",
    "inspect",
    "list_requests",
    "open",
    "open_cube",
    "open_product",
    "plan",
    "read",
    "read_manifest",
    "respond",
    "run",
    "run_to",
    "to_delayed",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'jp2batch' has no attribute {name!r}")
    return getattr(importlib.import_module(f"jp2batch.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
