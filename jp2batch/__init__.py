"""Read Sentinel-2 JPEG 2000 images from object stores, fetching few bytes.

Pixels are exactly those of OpenJPEG. Public names are imported when first used.
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Any

from jp2batch.core.version import __version__ as __version__

if TYPE_CHECKING:
    from jp2batch.array.cube.open import open_cube
    from jp2batch.array.dataarray import open, read  # noqa: A004  # named as xarray's and rasterio's
    from jp2batch.array.product import open_product
    from jp2batch.array.virtual.parser import Jp2Parser
    from jp2batch.array.virtual.references import write_references
    from jp2batch.batch.catalog import list_requests
    from jp2batch.batch.extract.extract import extract
    from jp2batch.batch.manifest.read import iter_manifest, read_manifest
    from jp2batch.batch.report import BatchInterrupted, BatchReport, BatchSummary
    from jp2batch.batch.run import as_completed, run, to_delayed
    from jp2batch.batch.run_to import run_to
    from jp2batch.compute.result import Result
    from jp2batch.core.errors import Jp2BatchError
    from jp2batch.core.request import Request
    from jp2batch.core.window import Window
    from jp2batch.image.info import ImageInfo, ReadPlan
    from jp2batch.image.inspect import inspect, plan
    from jp2batch.image.response import respond

_HOMES = {
    "ImageInfo": "image.info",
    "BatchInterrupted": "batch.report",
    "BatchReport": "batch.report",
    "BatchSummary": "batch.report",
    "Jp2BatchError": "core.errors",
    "Jp2Parser": "array.virtual.parser",
    "ReadPlan": "image.info",
    "Request": "core.request",
    "Result": "compute.result",
    "Window": "core.window",
    "as_completed": "batch.run",
    "extract": "batch.extract.extract",
    "inspect": "image.inspect",
    "iter_manifest": "batch.manifest.read",
    "list_requests": "batch.catalog",
    "open": "array.dataarray",
    "open_cube": "array.cube.open",
    "open_product": "array.product",
    "plan": "image.inspect",
    "read": "array.dataarray",
    "read_manifest": "batch.manifest.read",
    "respond": "image.response",
    "run": "batch.run",
    "run_to": "batch.run_to",
    "to_delayed": "batch.run",
    "write_references": "array.virtual.references",
}

__all__ = [
    "BatchInterrupted",
    "BatchReport",
    "BatchSummary",
    "ImageInfo",
    "Jp2BatchError",
    "Jp2Parser",
    "ReadPlan",
    "Request",
    "Result",
    "Window",
    "as_completed",
    "extract",
    "inspect",
    "iter_manifest",
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
    "write_references",
]


class _AccessorName:
    """Import `jp2batch.accessor`, the public name of `jp2batch.array.accessor`."""

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name == "jp2batch.accessor" else None  # type: ignore[arg-type]

    def create_module(self, _spec: ModuleSpec) -> ModuleType:
        return importlib.import_module("jp2batch.array.accessor")

    def exec_module(self, _module: ModuleType) -> None:
        """Do nothing: the module is already loaded under its own name."""


class _OdcHook:
    """Register the driver "jp2batch" after an import of odc-loader."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, _target: object = None) -> ModuleSpec | None:
        if name != "odc.loader" or (spec := PathFinder.find_spec(name, path)) is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            _register_driver(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _register_driver(loader: Any) -> None:
    """Register the driver by name, for an import at its use."""
    loader.register_driver("jp2batch", lambda: importlib.import_module("jp2batch.plugins.odc").OdcDriver())


sys.meta_path.append(_AccessorName())
if "odc.loader" in sys.modules:
    _register_driver(sys.modules["odc.loader"])
else:
    sys.meta_path.insert(0, _OdcHook())


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'jp2batch' has no attribute {name!r}")
    return getattr(importlib.import_module(f"jp2batch.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
