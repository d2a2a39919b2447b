"""The accessor `.jp2` of DataArrays: pictures, and bands as variables.

Importing this module registers the accessor.
"""

from typing import TYPE_CHECKING, SupportsIndex

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from jp2batch.core.errors import InvalidRequest
from jp2batch.core.location import described

if TYPE_CHECKING:
    from PIL.Image import Image

_COLOURS = 3


@xr.register_dataarray_accessor("jp2")  # type: ignore[no-untyped-call]
class Jp2Accessor:
    """Methods of jp2batch for DataArrays."""

    def __init__(self, array: xr.DataArray) -> None:
        self._array = array

    def preview(self, side: int = 400) -> "Image":
        """Return a stretched picture, which notebooks display.

        A lazy array is read almost as a whole, although only some rows and columns are used: open it at a higher rlevel
        to read less.

        Parameters
        ----------
        side : int
            Maximum length of the longer side in pixels; for a series, of each picture.

        Returns
        -------
        PIL.Image.Image
            Grey for (y, x), colours for three bands (as `cube.sel(band=["B04", "B03", "B02"])`); with more dimensions,
            a sheet with a picture of each time or band. No data is black.

        Raises
        ------
        InvalidRequest
            The array has no rows and columns, or dimensions besides time, band, y and x; or `side` is not a number of
            pixels.
        """
        from jp2batch.image.preview import contact_sheet, nodata_of, stretched_picture

        array = self._array
        _check_side(side)
        if array.dims[-2:] != ("y", "x") or not {*array.dims} <= {"time", "band", "y", "x"} or not array.size:
            dims = ", ".join(map(str, array.dims)) or "none"
            raise InvalidRequest("", f"an array with the dimensions {dims} has no picture", "take (…, y, x), not empty")
        step = max(1, max(array.sizes["y"], array.sizes["x"]) // (2 * side))
        small = array[..., ::step, ::step].compute()
        nodata = nodata_of(array)
        images, titles = _pictures(small)
        if not titles:
            return stretched_picture(images[0], side, nodata=nodata)
        return contact_sheet(images, titles, side=min(side, 260) if len(images) > 1 else side, nodata=nodata)

    def to_dataset(self) -> xr.Dataset:
        """Return the bands of a cube as variables of a Dataset.

        rioxarray then names the bands of a GeoTIFF: `cube.jp2.to_dataset().isel(time=0).rio.to_raster("date.tif")`.

        Returns
        -------
        Dataset
            A variable for each band, with the facts of the band as attributes; facts of each time and band are
            coordinates with the name of the band appended, as `radiometric_offset_red`.

        Raises
        ------
        InvalidRequest
            The array has no dimension `band`.
        """
        array = self._array
        if "band" not in array.dims:
            raise InvalidRequest("", "the array has no dimension band", "open it by open_cube")
        names = [str(name) for name in array["band"].values]
        return xr.Dataset({name: _variable(array, place, name) for place, name in enumerate(names)})


def _variable(array: xr.DataArray, place: int, name: str) -> xr.DataArray:
    """Return a band, with its facts under names of their own."""
    facts = [str(fact) for fact, values in array.coords.items() if "band" in values.dims and fact != "band"]
    band = array.isel(band=place).drop_vars("band")
    scalars = {fact: band.coords[fact].item() for fact in facts if not band.coords[fact].ndim}
    others = {fact: f"{fact}_{name}" for fact in facts if fact not in scalars}
    found = band.drop_vars(scalars).rename(others).rename(name)
    return found.assign_attrs(scalars, long_name=name)


def _check_side(side: object) -> None:
    if not isinstance(side, SupportsIndex) or isinstance(side, bool) or int(side) < 1:
        raise InvalidRequest("", f"side {described(side)} is not a number of pixels", "give a whole number from 1")


def _pictures(array: xr.DataArray) -> tuple[list[NDArray[np.generic]], list[str]]:
    """Return images of (bands, rows, columns), and titles of several images."""
    if array.ndim == 2:
        return [array.values[None]], []
    if array.dims[0] == "band" and array.sizes["band"] == _COLOURS:
        return [array.values], []
    along = array.dims[0]
    images, titles = [], []
    for part in array:
        title = str(part[along].dt.strftime("%Y-%m-%d").item()) if along == "time" else str(part[along].item())
        found, names = _pictures(part.drop_vars(along))
        images += found
        titles += [f"{title} {name}" for name in names] or [title]
    return images, titles
