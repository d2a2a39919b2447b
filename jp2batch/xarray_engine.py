"""`xr.open_dataset(path, engine="jp2batch")`: lazy images, read by the parts that are touched."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import xarray as xr
from dask.base import normalize_token
from numpy.typing import NDArray
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

import jp2batch.accessor  # noqa: F401  # gives arrays their accessor
from jp2batch.jpeg2000.grid import Rect
from jp2batch.jpeg2000.known import Known
from jp2batch.radiometry import Scaling
from jp2batch.reader import StorageOptions, read_area
from jp2batch.request import Window

_DECODERS = frozenset(
    ("mask_and_scale", "decode_times", "decode_timedelta", "use_cftime", "concat_characters", "decode_coords")
)
_SUFFIXES = (".jp2", ".j2k", ".j2c", ".jpx", ".jpc", ".jpf")


@dataclass(frozen=True, eq=False)
class ImageArray(BackendArray):
    """An image that is read when it is indexed. Plain values only: it travels to workers."""

    url: str
    """Where the image lies."""
    rlevel: int
    """Resolution levels dropped."""
    area: Rect
    """Which samples it has, in the coordinates of that level."""
    shape: tuple[int, ...]
    """(rows, columns), or (bands, rows, columns)."""
    dtype: np.dtype[Any]
    """Type of the samples."""
    storage_options: StorageOptions = None
    """fsspec's options for the store."""
    scaling: Scaling | None = None
    """What makes reflectance of the samples; None: they are as stored."""
    known: Known | None = None
    """What was learned of the file when it was opened, so that no worker learns it again."""

    def __dask_tokenize__(self) -> tuple[object, ...]:
        told = (self.url, self.rlevel, self.area, str(self.dtype), self.scaling)
        return (type(self).__qualname__, *told, normalize_token(self.storage_options), normalize_token(self.known))

    def __repr__(self) -> str:
        return f"ImageArray(rlevel={self.rlevel}, shape={self.shape}, dtype={self.dtype})"  # nothing secret

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple[int | slice, ...]) -> NDArray[Any]:
        """Read the rectangle that holds what is asked for, then take it out."""
        *bands, rows, columns = key
        (y0, y1, take_rows), (x0, x1, take_columns) = (
            bounds(index, length) for index, length in zip((rows, columns), self.shape[-2:], strict=True)
        )
        if y0 == y1 or x0 == x1:
            return np.empty(self.shape, self.dtype)[key]
        area = Rect(self.area.y0 + y0, self.area.x0 + x0, self.area.y0 + y1, self.area.x0 + x1)
        values = read_area(self.url, self.rlevel, area, storage_options=self.storage_options, known=self.known).values
        values = values if self.scaling is None else self.scaling.apply(values)
        return (values if len(self.shape) == 3 else values[0])[(*bands, take_rows, take_columns)]


def _nothing_to_close() -> None:
    """Close a dataset: no file is held open between reads."""


def bounds(index: int | slice, length: int) -> tuple[int, int, int | slice]:
    """Return start and stop of the samples to read along one axis, and how to index what was read."""
    if not isinstance(index, slice):
        position = index + length if index < 0 else index
        return position, position + 1, 0
    positions = range(length)[index]
    if not positions:
        return 0, 0, slice(0, 0)
    start, stop = min(positions[0], positions[-1]), max(positions[0], positions[-1]) + 1
    return start, stop, slice(None, None, positions.step)


class Jp2BatchBackend(BackendEntrypoint):
    """The engine "jp2batch" of xarray."""

    description = "JPEG 2000 images, read from any store by the bytes that are needed"
    open_dataset_parameters: ClassVar[tuple[str, ...]] = (
        "filename_or_obj",
        "drop_variables",
        "rlevel",
        "window",
        "scaled",
        "root",
        "storage_options",
    )

    def open_dataset(  # type: ignore[override]  # its own options, as the entry point is made for
        self,
        filename_or_obj: str | os.PathLike[str],
        *,
        drop_variables: str | Iterable[str] | None = None,
        rlevel: int = 0,
        window: Window | str | None = None,
        scaled: bool = False,
        root: str | None = None,
        storage_options: StorageOptions = None,
        **decoders: Any,
    ) -> xr.Dataset:
        """Open an image as a dataset of one variable, named as its band; see `jp2batch.open`.

        xarray's options of decoding, as `mask_and_scale`, are taken and change nothing: `scaled` says what is wanted.
        """
        from jp2batch import dataarray

        if unknown := sorted(decoders.keys() - _DECODERS):
            raise TypeError(f"the engine jp2batch has no option {unknown[0]!r}")
        array = dataarray.open(
            os.fspath(filename_or_obj),
            rlevel,
            None,
            window=window,
            scaled=scaled,
            root=root,
            storage_options=storage_options,
        )
        dropped = [drop_variables] if isinstance(drop_variables, str) else drop_variables or []
        dataset: xr.Dataset = array.to_dataset(name=array.name).drop_vars(dropped)
        dataset.set_close(_nothing_to_close)  # open_mfdataset calls it without asking
        return dataset

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Tell by the suffix whether a file is ours."""
        return isinstance(filename_or_obj, str | os.PathLike) and os.fspath(filename_or_obj).lower().endswith(_SUFFIXES)
