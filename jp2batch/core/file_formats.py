"""File formats of results: suffix, media type and packages.

Their writers are in `array/formats.py`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FileFormat:
    """File format of results."""

    suffix: str
    media_type: str | None = None
    packages: tuple[str, ...] = ()
    """Packages needed to write the format, beyond the dependencies."""
    is_alias: bool = False
    """True if another suffix is more usual."""
    is_folder: bool = False
    """True if a result is a folder instead of a file."""

    @property
    def name(self) -> str:
        """The suffix without its dot."""
        return self.suffix[1:]

    @property
    def plural(self) -> str:
        """Name of the format in messages, such as ".tif files"."""
        return f"{self.suffix} {'stores' if self.is_folder else 'files'}"


FORMATS = {
    row.suffix: row
    for row in (
        FileFormat(".json", "application/json"),
        FileFormat(".npy", "application/x-npy"),
        FileFormat(".png", "image/png"),
        FileFormat(".tif", "image/tiff", ("rioxarray",)),
        FileFormat(".tiff", "image/tiff", ("rioxarray",), is_alias=True),
        FileFormat(".nc", "application/x-netcdf", ("h5netcdf", "h5py")),
        FileFormat(".zarr", packages=("zarr",), is_folder=True),
    )
}
"""File formats by suffix."""

INSTALL = 'pip install "jp2batch[files]"'
"""Command to install the packages of all formats."""

DEFAULT_FORMAT = "npy"
"""Format of the files in an output folder."""

FORMAT_NAMES = (
    DEFAULT_FORMAT,
    *(row.name for row in FORMATS.values() if not row.is_alias and row.name != DEFAULT_FORMAT),
)
"""Formats of the files in an output folder, the default first."""

CUBE_FORMAT = "cube"
"""Format of an output: a single array in a Zarr store."""
