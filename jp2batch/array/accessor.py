"""The accessor `.jp2` of DataArrays: pictures of images, series and cubes. Importing it gives it to all arrays."""

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
    """What jp2batch adds to DataArrays."""

    def __init__(self, array: xr.DataArray) -> None:
        self._array = array

    def preview(self, side: int = 400) -> "Image":
        """Return a stretched picture; in a notebook it is shown.

        Of a lazy array, every so many rows and columns are read, which takes about as much as reading all: open it at a
        higher rlevel for less.

        Parameters
        ----------
        side : int
            Pixels that its longer side has at most; of a series, that each of its pictures has.

        Returns
        -------
        PIL.Image.Image
            Grey for (y, x), colours for three bands (as `cube.sel(band=["B04", "B03", "B02"])`), and a sheet with a
            picture of each time or band for what has more dimensions. No data is black.

        Raises
        ------
        InvalidRequest
            It has no rows and columns, or more dimensions than time, band, y and x; or `side` is no number of pixels.
        """
        from jp2batch.image.preview import contact_sheet_picture, nodata_of, stretched_picture

        array = self._array
        _check_side(side)
        if array.dims[-2:] != ("y", "x") or not {*array.dims} <= {"time", "band", "y", "x"} or not array.size:
            dims = ", ".join(map(str, array.dims)) or "none"
            raise InvalidRequest("", f"a picture of an array with the dimensions {dims}", "take (…, y, x), not empty")
        step = max(1, max(array.sizes["y"], array.sizes["x"]) // (2 * side))
        small = array[..., ::step, ::step].compute()
        nodata = nodata_of(array)
        images, titles = _pictures(small)
        if not titles:
            return stretched_picture(images[0], side, nodata=nodata)
        return contact_sheet_picture(images, titles, side=min(side, 260) if len(images) > 1 else side, nodata=nodata)


def _check_side(side: object) -> None:
    if not isinstance(side, SupportsIndex) or isinstance(side, bool) or int(side) < 1:
        raise InvalidRequest("", f"a side {described(side)} is no number of pixels", "give a whole number from 1")


def _pictures(array: xr.DataArray) -> tuple[list[NDArray[np.generic]], list[str]]:
    """Return images of (bands, rows, columns), and their titles; none for a single one."""
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
