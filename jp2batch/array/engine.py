"""The xarray engine "jp2batch", for `xr.open_dataset` of lazy images."""

import os
from collections.abc import Iterable
from typing import Any, ClassVar

import xarray as xr
from xarray.backends import BackendEntrypoint

import jp2batch.array.accessor  # noqa: F401  # registers the accessor
from jp2batch.array.lazy import _nothing_to_close
from jp2batch.core.location import Location
from jp2batch.core.options import StorageOptions
from jp2batch.core.redaction import redact_path
from jp2batch.core.suffixes import JPEG2000_SUFFIXES
from jp2batch.core.window import WindowLike

_DECODERS = frozenset(
    ("mask_and_scale", "decode_times", "decode_timedelta", "use_cftime", "concat_characters", "decode_coords")
)


class Jp2BatchBackend(BackendEntrypoint):
    """Engine "jp2batch" of xarray."""

    description = "JPEG 2000 images, of which only the necessary bytes are read from any store"
    open_dataset_parameters: ClassVar[tuple[str, ...]] = (
        "filename_or_obj",
        "drop_variables",
        "rlevel",
        "window",
        "bbox",
        "geometry",
        "crs",
        "resolution",
        "mask",
        "scaled",
        "root",
        "storage_options",
    )

    def open_dataset(  # type: ignore[override]  # engines have options of their own
        self,
        filename_or_obj: str | os.PathLike[str],
        *,
        drop_variables: str | Iterable[str] | None = None,
        rlevel: int = 0,
        window: WindowLike | None = None,
        bbox: object = None,
        geometry: object = None,
        crs: object = None,
        resolution: object = None,
        mask: bool = True,
        scaled: bool = False,
        root: str | None = None,
        storage_options: StorageOptions = None,
        **decoders: Any,
    ) -> xr.Dataset:
        """Open an image as a dataset; its variable is named by band.

        See `jp2batch.open`. xarray's options of decoding, such as `mask_and_scale`, have no effect: use `scaled`.
        """
        from jp2batch.array import dataarray

        if unknown := sorted(decoders.keys() - _DECODERS):
            raise TypeError(f"the engine jp2batch has no option {unknown[0]!r}")
        path = os.fspath(filename_or_obj)
        array = dataarray.open(
            path,
            rlevel,
            None,
            window=window,
            bbox=bbox,
            geometry=geometry,
            crs=crs,
            resolution=resolution,
            mask=mask,
            scaled=scaled,
            root=root,
            storage_options=storage_options,
        )
        dropped = [drop_variables] if isinstance(drop_variables, str) else drop_variables or []
        dataset: xr.Dataset = array.to_dataset(name=array.name).drop_vars(dropped)
        if not Location.of(path).is_local:
            dataset.encoding["source"] = redact_path(path)  # xarray would put the link there, with its signature
        dataset.set_close(_nothing_to_close)  # open_mfdataset calls it unconditionally
        return dataset

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Return whether the suffix of a file is of JPEG 2000."""
        is_path = isinstance(filename_or_obj, str | os.PathLike)
        return is_path and Location.of(filename_or_obj).suffix in JPEG2000_SUFFIXES
