"""The xarray engine "jp2batch", for `xr.open_dataset` of lazy images."""

import os
from collections.abc import Iterable, Mapping
from inspect import signature
from typing import Any, ClassVar

import xarray as xr
from xarray.backends import BackendEntrypoint

import jp2batch.array.accessor  # noqa: F401  # registers the accessor
from jp2batch.array.lazy import _nothing_to_close
from jp2batch.core.errors import InvalidRequest
from jp2batch.core.location import Location
from jp2batch.core.options import StorageOptions
from jp2batch.core.redaction import redact_path
from jp2batch.core.suffixes import JPEG2000_SUFFIXES, PRODUCT_SUFFIX
from jp2batch.core.window import WindowLike

_DECODERS = frozenset(
    ("mask_and_scale", "decode_times", "decode_timedelta", "use_cftime", "concat_characters", "decode_coords")
)


class Jp2BatchBackend(BackendEntrypoint):
    """Engine "jp2batch" of xarray."""

    description = "JPEG 2000 images, of which only the necessary bytes are read from any store"
    supports_groups = True
    open_dataset_parameters: ClassVar[tuple[str, ...]] = (
        "filename_or_obj",
        "drop_variables",
        "mask_and_scale",
        "decode_coords",
        "group",
        "bands",
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
        group: str | None = None,
        bands: str | Iterable[str] | None = None,
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
        """Open an image, or a group of a product, as a dataset.

        See `jp2batch.open` and `jp2batch.open_product`. The variable of an image is named by its band. Groups are pixel
        sizes, as "R10m". `mask_and_scale=True` means `scaled=True`; with `decode_coords=False`, only x, y and band are
        coordinates. xarray's other options of decoding have no effect.
        """
        from jp2batch.array import dataarray

        path = os.fspath(filename_or_obj)
        options: dict[str, Any] = {
            "rlevel": rlevel,
            "bbox": bbox,
            "geometry": geometry,
            "crs": crs,
            "resolution": resolution,
        }
        options |= {"mask": mask, "scaled": scaled, "storage_options": storage_options}
        if group is not None or bands is not None or _is_product(path):
            if root is not None or window is not None:
                raise InvalidRequest(path, "root= and window= are for images", "give bbox= and the path of the product")
            groups = self.open_groups_as_dict(path, drop_variables=drop_variables, bands=bands, **options, **decoders)
            return groups[_group(path, group, groups)]
        options["scaled"] = _is_scaled(decoders, scaled=scaled)
        array = dataarray.open(path, chunks=None, window=window, root=root, **options)
        return _finished(array.to_dataset(name=array.name), path, drop_variables, decoders)

    def open_groups_as_dict(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        scaled: bool = False,
        **options: Any,
    ) -> dict[str, xr.Dataset]:
        """Open a product as a dataset for each pixel size.

        See `jp2batch.open_product`, and `open_dataset` for xarray's options.
        """
        from jp2batch.array.product import open_product

        path = os.fspath(filename_or_obj)
        decoders = {name: options.pop(name) for name in options.keys() - signature(open_product).parameters.keys()}
        tree = open_product(path, chunks=None, scaled=_is_scaled(decoders, scaled=scaled), **options)
        return {node.path: _finished(node.to_dataset(), path, drop_variables, decoders) for node in tree.subtree}

    def open_datatree(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        group: str | None = None,
        **options: Any,
    ) -> xr.DataTree:
        """Open a product as a tree, or a group of it.

        See `open_groups_as_dict`.
        """
        groups = self.open_groups_as_dict(filename_or_obj, drop_variables=drop_variables, **options)
        if group is not None and group.strip("/"):
            groups = {"/": groups[_group(os.fspath(filename_or_obj), group, groups)]}
        return xr.DataTree.from_dict(groups)

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Return whether a path names a JPEG 2000 file or product."""
        if not isinstance(filename_or_obj, str | os.PathLike):
            return False
        return Location.of(filename_or_obj).suffix in JPEG2000_SUFFIXES or _is_product(os.fspath(filename_or_obj))


def _is_product(path: str) -> bool:
    return Location.of(path).plain_path.rstrip("/\\").lower().endswith(PRODUCT_SUFFIX)


def _is_scaled(decoders: Mapping[str, Any], *, scaled: bool) -> bool:
    """Return whether to scale values, after checking xarray's options."""
    if unknown := sorted(decoders.keys() - _DECODERS):
        raise TypeError(f"the engine jp2batch has no option {unknown[0]!r}")
    return scaled or decoders.get("mask_and_scale") is True


def _group(path: str, group: str | None, groups: Mapping[str, xr.Dataset]) -> str:
    """Return the path of a group in a product."""
    name = f"/{(group or '').strip('/')}"
    if name == "/" or name not in groups:
        there = ", ".join(one[1:] for one in groups if groups[one].data_vars)
        problem = "a product has groups" if group is None else f"the product has no group {group!r}"
        raise InvalidRequest(path, problem, f"give group=, of {there}, or use xarray.open_datatree")
    return name


def _finished(
    dataset: xr.Dataset, path: str, drop_variables: str | Iterable[str] | None, decoders: Mapping[str, Any]
) -> xr.Dataset:
    """Return a dataset as xarray's options demand."""
    dropped = [drop_variables] if isinstance(drop_variables, str) else drop_variables or []
    dataset = dataset.drop_vars(dropped, errors="ignore")  # as xarray's own engines
    if decoders.get("decode_coords") is False:
        dataset = dataset.reset_coords()
    if not Location.of(path).is_local:
        dataset.encoding["source"] = redact_path(path)  # xarray would put the link there, with its signature
    dataset.set_close(_nothing_to_close)  # open_mfdataset calls it unconditionally
    return dataset
