"""Check installation and configuration; hint at repairs."""

import importlib.metadata
import os
import platform
import re

from jp2batch.core import config
from jp2batch.core.errors import Jp2BatchError
from jp2batch.core.file_formats import FORMATS, INSTALL
from jp2batch.core.location import Location
from jp2batch.core.options import StorageOptions
from jp2batch.doctor.cluster import examine_cluster
from jp2batch.doctor.configuration import examine_configuration
from jp2batch.doctor.findings import Finding
from jp2batch.doctor.storage import examine_storage
from jp2batch.image import openjpeg
from jp2batch.image.index.shared_index import shared_table
from jp2batch.storage.schemes import SCHEMES

_PACKAGES = ("glymur", "numpy", "xarray", "dask", "distributed", "fsspec", "s3fs", "aiohttp", "pyproj", "pillow")
_OPTIONAL = {
    **{row.package: f"{row.names[0]}:// paths" for row in SCHEMES if row.package},
    "obstore": "s3:// paths, at a third of the computing",
    **{package: row.plural for row in FORMATS.values() if not row.is_alias for package in row.packages},
}
_OLDEST_OPENJPEG = (2, 5)


def examine(
    path: str | None = None, *, scheduler: str | os.PathLike[str] | None = None, storage_options: StorageOptions = None
) -> list[Finding]:
    """Check the installation and, if given, an image and a cluster.

    Parameters
    ----------
    path : str, optional
        An image, which this process and the workers of the cluster should be able to read.
    scheduler : str or path, optional
        Address of the scheduler of a cluster, or its scheduler file.
    storage_options : mapping, optional
        fsspec's options for the store of the image.
    """
    findings = [
        Finding("python", "ok", f"{platform.python_version()} on {platform.platform()}"),
        _openjpeg(),
        _glymurrc(),
        examine_configuration(),
        *(_package(name) for name in _PACKAGES),
        *(_optional(name, use) for name, use in _OPTIONAL.items()),
        *_shared_index(),
    ]
    if path is not None:
        findings += examine_storage(path, storage_options)
    if scheduler is not None:
        findings += examine_cluster(scheduler, path, storage_options)
    return findings


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
    return Finding("glymurrc", "ok", f"{file} is in use" if file else "none; not required")


def _shared_index() -> list[Finding]:
    """Check the shared index table, if configured."""
    try:
        settings = config.index_settings()
    except Jp2BatchError:
        return []  # a problem of the configuration
    if settings.shared is None:
        return []
    try:
        shared_table(settings.shared, settings.shared_options)
    except Jp2BatchError as error:
        return [Finding("shared index", "problem", str(error))]
    return [Finding("shared index", "ok", Location.of(settings.shared).redacted)]


def _package(name: str) -> Finding:
    try:
        return Finding(name, "ok", importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "problem", f"not installed (pip install {name})")


def _optional(name: str, use: str) -> Finding:
    found = _package(name)
    extra = next((row.install for row in SCHEMES if row.package == name), INSTALL)
    install = 'pip install "jp2batch[fast]"' if name == "obstore" else extra
    return found if found.status == "ok" else Finding(name, "missing", f"needed for {use} ({install})")
