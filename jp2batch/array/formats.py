"""File formats of results, chosen by suffix."""

import contextlib
import importlib
import importlib.util
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jp2batch.core.errors import InvalidRequest
from jp2batch.core.file_formats import FORMATS, INSTALL
from jp2batch.core.options import StorageOptions
from jp2batch.image.preview import to_png
from jp2batch.image.read import Pixels
from jp2batch.image.response import to_json, values_of
from jp2batch.storage.files import WrittenBytes, write_bytes, write_folder

if TYPE_CHECKING:
    import xarray as xr


def write(
    pixels: Pixels, destination: str, form: str | None = None, *, storage_options: StorageOptions = None
) -> WrittenBytes:
    """Write pixels to a file, in the format of its suffix.

    Parameters
    ----------
    pixels : Pixels
        The result of a read.
    destination : str
        Path or URL ending in .json (the answer of the web service), .npy (rows, columns[, bands]), .png (a stretched
        picture), .tif (GeoTIFF), .nc (NetCDF) or .zarr. An existing file or store is replaced as a whole.
    form : str, optional
        One of these suffixes, for a destination without one.
    storage_options : mapping, optional
        fsspec's options for the store of the destination.

    Returns
    -------
    WrittenBytes
        Size and checksum of the file or store.

    Raises
    ------
    InvalidRequest
        The suffix is none of these, or a package for writing the format is not installed.
    OutputError
        The file cannot be written.
    """
    form = form_of(form or destination)
    try:
        if FORMATS[form].is_folder:
            return write_folder(destination.rstrip("/"), _to_zarr(pixels), storage_options=storage_options)
        return write_bytes(destination, to_bytes(pixels, form), storage_options=storage_options)
    except ImportError as error:
        package = error.name or " ".join(needs(form))
        raise InvalidRequest(destination, f"writing {form} files needs {package}", INSTALL) from None


def to_bytes(pixels: Pixels, form: str) -> bytes:
    """Return pixels as the content of a file.

    `form` is the suffix of the format, which must be a single file.
    """
    return _WRITERS[form](pixels)


def is_whole(path: Path, form: str) -> bool:
    """Return whether a local file has the signature of its format.

    It tells files that a power cut has emptied, filled with zeros or cut.
    """
    with contextlib.suppress(OSError, ValueError, EOFError):
        if form == ".npy":
            return bool(np.load(path, mmap_mode="r").size)  # it compares header and size
        starts, end = _ENDS[form]
        with path.open("rb") as file:
            is_right = file.read(8).startswith(starts)
            file.seek(-len(end), io.SEEK_END)
            return is_right and file.read() == end
    return False


def form_of(destination: str) -> str:
    """Return the suffix of a destination, after checking its format.

    Raises
    ------
    InvalidRequest
        No format has this suffix.
    """
    suffix = f".{destination.rstrip('/').rpartition('.')[2].lower()}"
    if suffix not in FORMATS:
        known = ", ".join(FORMATS)
        raise InvalidRequest(destination, "no format has its suffix", f"give a name ending in {known}")
    return suffix


def needs(form: str) -> tuple[str, ...]:
    """Return the packages for writing a format."""
    return ("pyarrow",) if form == ".parquet" else FORMATS[form].packages if form in FORMATS else ()


def load(form: str) -> None:
    """Import the packages for writing a format."""
    for package in needs(form):
        importlib.import_module(package)
    if form not in (".json", ".npy"):
        importlib.import_module("jp2batch.array.dataarray")
    if form == ".nc":
        importlib.import_module("distributed")  # by xarray, whenever it writes NetCDF


def check_installed(destination: str, form: str) -> None:
    """Refuse a format if its packages are missing, before any read.

    Raises
    ------
    InvalidRequest
        A package is not installed.
    """
    for package in needs(form):
        if not _is_there(package):
            raise InvalidRequest(destination, f"writing {form} files needs {package}", INSTALL)


def is_installed(form: str) -> bool:
    """Return whether the packages of a format are installed."""
    return all(map(_is_there, needs(form)))


def _is_there(package: str) -> bool:
    with contextlib.suppress(ValueError):  # imported, without a spec
        return importlib.util.find_spec(package) is not None
    return False


def _to_npy(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(values_of(pixels)))
    return buffer.getvalue()


def _to_png(pixels: Pixels) -> bytes:
    return to_png(pixels.values, nodata=_dataarray(pixels).attrs.get("nodata"))


def _to_tif(pixels: Pixels) -> bytes:
    import rioxarray  # noqa: F401  # registers the accessor

    from jp2batch.array.facts import with_attributes

    array = with_attributes(_dataarray(pixels))
    return _through_file(lambda path: array.rio.to_raster(path, driver="GTiff", compress="deflate"))


def _to_netcdf(pixels: Pixels) -> bytes:
    dataset = _dataarray(pixels).to_dataset()
    return _through_file(lambda path: dataset.to_netcdf(path, engine="h5netcdf"))


def _to_zarr(pixels: Pixels) -> dict[str, bytes]:
    import zarr  # noqa: F401  # if zarr is missing, xarray does not name it

    from jp2batch.array.zarr_files import zarr_files

    return zarr_files(_dataarray(pixels).to_dataset())


def _dataarray(pixels: Pixels) -> "xr.DataArray":
    from jp2batch.array.dataarray import to_dataarray  # imports xarray, which other formats do not need

    return to_dataarray(pixels)


def _through_file(write_to: Callable[[Path], object]) -> bytes:
    with tempfile.TemporaryDirectory(prefix="jp2batch-") as folder:
        path = Path(folder, "result")
        write_to(path)
        return path.read_bytes()


_WRITERS: dict[str, Callable[[Pixels], bytes]] = {
    ".json": to_json,
    ".npy": _to_npy,
    ".png": _to_png,
    ".tif": _to_tif,
    ".tiff": _to_tif,
    ".nc": _to_netcdf,
}
"""Writers of single-file formats, by suffix."""

_TIFF = ((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), b"")
_ENDS: dict[str, tuple[tuple[bytes, ...], bytes]] = {
    ".json": ((b"{",), b"}"),
    ".png": ((b"\x89PNG\r\n\x1a\n",), b"IEND\xaeB`\x82"),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".nc": ((b"\x89HDF\r\n\x1a\n",), b""),
}
"""Possible first bytes, and last bytes, of single-file formats by suffix."""
