"""What is installed, found, configured and reachable; and the cure where it is not."""

import importlib.metadata
import platform
import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

from jp2batch import config, openjpeg
from jp2batch.errors import Jp2BatchError
from jp2batch.info import format_bytes
from jp2batch.inspection import inspect
from jp2batch.reader import StorageOptions

_PACKAGES = ("glymur", "numpy", "xarray", "dask", "distributed", "fsspec", "s3fs", "aiohttp", "pyproj", "pillow")
_OPTIONAL = {"gcsfs": "gs:// paths", "rioxarray": ".tif files", "h5netcdf": ".nc files", "zarr": ".zarr stores"}
_OLDEST_OPENJPEG = (2, 5)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    topic: str
    """What it is."""
    status: Literal["ok", "missing", "problem"]
    """"missing" is no problem where nobody needs it."""
    detail: str
    """What was found, and the cure."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dict that json can write."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.status:<7}  {self.topic:<13}  {self.detail}"


def examine(path: str | None = None, *, storage_options: StorageOptions = None) -> list[Finding]:
    """Look at the installation, and at an image where a path is given.

    Parameters
    ----------
    path : str, optional
        An image that should be readable.
    storage_options : mapping, optional
        fsspec's options for its store.
    """
    findings = [
        Finding("python", "ok", f"{platform.python_version()} on {platform.platform()}"),
        _openjpeg(),
        _glymurrc(),
        _configuration(),
        *(_package(name) for name in _PACKAGES),
        *(_optional(name, use) for name, use in _OPTIONAL.items()),
    ]
    return findings if path is None else [*findings, _image(path, storage_options)]


def _openjpeg() -> Finding:
    try:
        library = openjpeg.library()
    except Jp2BatchError as error:
        return Finding("openjpeg", "problem", str(error))
    detail = f"{library.version} at {library.path}, found by {library.found_by}"
    if tuple(int(part) for part in re.findall(r"\d+", library.version)[:2]) < _OLDEST_OPENJPEG:
        return Finding("openjpeg", "problem", f"{detail}: older than 2.5 (pip install pillow brings a newer one)")
    return Finding("openjpeg", "ok", detail)


def _glymurrc() -> Finding:
    file = openjpeg.glymurrc()
    return Finding("glymurrc", "ok", f"{file} is in use" if file else "none, and none is needed")


def _configuration() -> Finding:
    try:
        for protocol in ("default", "file", "s3", "gs", "https"):
            config.store_profile(protocol)
        for check in (config.max_result, config.max_whole_file, config.first_read, config.threads):
            check()
    except Jp2BatchError as error:
        return Finding("configuration", "problem", str(error))
    changes = ", ".join(f"{key} = {value}" for key, value in config.changed().items())
    return Finding("configuration", "ok", changes or "the defaults")


def _package(name: str) -> Finding:
    try:
        return Finding(name, "ok", importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "problem", f"not installed (pip install {name})")


def _optional(name: str, use: str) -> Finding:
    found = _package(name)
    return found if found.status == "ok" else Finding(name, "missing", f"needed for {use} (pip install {name})")


def _image(path: str, storage_options: StorageOptions) -> Finding:
    try:
        info = inspect(path, storage_options=storage_options)
    except Jp2BatchError as error:
        return Finding("image", "problem", str(error))
    rows, columns = info.shape
    return Finding("image", "ok", f"{info.path}: {rows} x {columns}, {format_bytes(info.size)}, {info.crs or 'no CRS'}")
