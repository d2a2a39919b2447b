"""Extract the values of many fields from many images, as a table."""

import os
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jp2batch.batch.catalog import list_requests
from jp2batch.batch.extract.files import read_fields
from jp2batch.batch.extract.inputs import fields_of
from jp2batch.batch.extract.rows import AsFieldRows, FieldRows, field_ids
from jp2batch.batch.extract.statistics import statistic_names
from jp2batch.batch.run import OnError, run
from jp2batch.compute.connection import ClientLike
from jp2batch.compute.result import Result
from jp2batch.core.arguments import as_list
from jp2batch.core.errors import InvalidRequest
from jp2batch.core.options import StorageOptions
from jp2batch.core.request import LOWEST, Request
from jp2batch.image.fields.field_set import FieldSet, shown
from jp2batch.image.fields.on_grid import FieldSelector
from jp2batch.image.missions import bands_by_label

if TYPE_CHECKING:
    import pandas as pd


def extract(
    images: Any,
    fields: object,
    bands: str | Iterable[str] | None = None,
    *,
    stats: str | Iterable[str] | None = "mean",
    id: str | None = None,  # noqa: A002
    crs: object = None,
    resolution: object = None,
    all_touched: bool = False,
    scaled: bool = False,
    client: ClientLike | None = None,
    processes: bool = False,
    wait_workers: str | float = "10 minutes",
    on_error: OnError = "collect",
    storage_options: StorageOptions = None,
    progress: bool = True,
) -> "pd.DataFrame":
    """Return the values of many points and polygons in many images.

    Each image is read once, and of it only the precincts around the fields.

    Parameters
    ----------
    images : str, path, item, Request, or iterable of these
        Images, products or STAC items, as for `list_requests`; or requests of whole images.
    fields : GeoDataFrame, mapping, object with `__geo_interface__`, table, list or path
        Points and polygons: GeoJSON, geometries, features, pairs of longitude and latitude, or a table with columns
        `lon` and `lat` or `geometry`; or a file of them: .geojson, .parquet or .csv.
    bands : iterable of str, optional
        Bands to read, e.g. ["B04", "B08"], or common names of STAC, e.g. ["red", "nir"]: the column `band` has these
        names. By default all images.
    stats : str, iterable of str, or None
        Statistics of the samples of a field: "mean", "median", "count", "min", "max", "std", "var", "sum", "mode" (the
        most frequent, of classes), and percentiles such as "p10". None: the samples themselves.
    id : str, optional
        Column or property with the ids of the fields; by default `id`, else the ids of features or the index of a
        table, else 0, 1, 2, ….
    crs : str, int or CRS, optional
        Reference system of the fields; by default their own, or else longitude and latitude.
    resolution : float or str, optional
        Largest distance between samples in metres, as for `read`; by default the pixels of each image.
    all_touched : bool
        True to take all samples that a polygon overlaps, not only those with their centres inside.
    scaled : bool
        True for reflectance in place of the numbers in the files.
    client, processes, wait_workers, storage_options, progress
        As for `run`.
    on_error : {"collect", "raise"}
        "collect" leaves out failed images with a warning; their paths and errors are in `.attrs["failed"]`. "raise"
        ends with the first error.

    Returns
    -------
    pandas.DataFrame
        A row per field, image and band, in the order of images: `id`, `time` (start of sensing in UTC), `band`,
        `value`, `tile`, `item`. With several statistics, a column of each in place of `value`. With `stats=None`, a row
        per sample with the columns `x` and `y` in addition: its centre, in the reference system of the image. Values
        are floats, those without data NaN; a count of them is 0. A field outside an image has no row; one in two
        tiles has a row of each.

    Raises
    ------
    InvalidRequest
        Fields, statistics or images cannot be used.
    Jp2BatchError
        The error of an image, with `on_error="raise"` or if all have failed.
    """
    deliver = delivery_of(fields, bands, stats, id, crs, all_touched, scaled, storage_options)
    requests = image_requests(images, bands, resolution=resolution, storage_options=storage_options)
    report = run(
        requests,
        client,
        deliver,
        on_error=on_error,
        storage_options=storage_options,
        processes=processes,
        wait_workers=wait_workers,
        progress=progress,
    )
    failed = report.failed
    if failed and len(failed) == len(report) and failed[0].error is not None:
        raise failed[0].error
    rows = [result.value for result in report if result.value is not None]
    found = table_of(rows, deliver)
    found.attrs["failed"] = {result.request.shown_path: str(result.error) for result in failed}
    _warn(deliver.selector.fields, rows, failed, len(report))
    return found


def delivery_of(  # noqa: PLR0917  # the options of `extract`, in their order
    fields: object,
    bands: str | Iterable[str] | None,
    stats: str | Iterable[str] | None,
    id: str | None,  # noqa: A002
    crs: object,
    all_touched: bool,
    scaled: bool,
    storage_options: StorageOptions = None,
) -> AsFieldRows:
    """Return the delivery of the rows of fields of any form."""
    names = statistic_names(stats)
    if isinstance(fields, str | os.PathLike):
        found = read_fields(fields, id=id, crs=crs, storage_options=storage_options)
    else:
        found = fields_of(fields, id=id, crs=crs)
    labels = tuple((bands_by_label(bands) or {}).items())
    return AsFieldRows(FieldSelector(found, all_touched), names, scaled, labels)


def image_requests(
    images: Any,
    bands: str | Iterable[str] | None = None,
    *,
    resolution: object = None,
    storage_options: StorageOptions = None,
) -> list[Request]:
    """Return the requests of images for fields.

    Raises
    ------
    InvalidRequest
        A request is of a part of an image, or requests and options contradict each other.
    """
    given = as_list(images) if isinstance(images, list | tuple | Request) else [images]
    if not any(isinstance(one, Request) for one in given):
        level = LOWEST if resolution is not None else 0
        return list_requests(images, bands, rlevel=level, resolution=resolution, storage_options=storage_options)
    requests = [one for one in given if isinstance(one, Request)]
    if len(requests) < len(given) or bands is not None or resolution is not None:
        hint = "give requests alone, or paths with bands= and resolution="
        raise InvalidRequest("", "requests have their own band and resolution", hint)
    for one in requests:
        if one.window is not None or (one.area is not None and one.area.has_extent):
            raise InvalidRequest(one.shown_path, "the request is of a part of the image", "give whole images")
    return requests


def table_of(rows: Sequence[FieldRows], deliver: AsFieldRows) -> "pd.DataFrame":
    """Return the rows of images as a table."""
    import pandas as pd

    fields = deliver.selector.fields
    lengths = [len(one) for one in rows]
    places = np.concatenate([np.empty(0, np.int32), *(one.fields for one in rows)])
    bands = [np.array(one.bands, object)[one.band] for one in rows]
    columns = {
        "id": field_ids(fields, places),
        "time": np.repeat(np.array([one.time for one in rows], "datetime64[ns]"), lengths),
        "band": np.concatenate([np.empty(0, object), *bands]),
        **{name: np.concatenate([np.empty(0), *(one.columns[name] for one in rows)]) for name in deliver.names},
        "tile": np.repeat(np.array([one.tile for one in rows], object), lengths),
        "item": np.repeat(np.array([one.item for one in rows], object), lengths),
    }
    if rows and "count" in columns:
        columns["count"] = columns["count"].astype(np.int64)
    return pd.DataFrame(columns)


def _warn(fields: FieldSet, rows: Sequence[FieldRows], failed: Sequence[Result], images: int) -> None:
    """Warn of failed images, and of fields in no image."""
    if failed:
        text = f'{len(failed)} of {images} images failed, see .attrs["failed"]; the first: {failed[0].error}'
        warnings.warn(text, stacklevel=3)
    met = np.zeros(len(fields), np.bool_)
    for one in rows:
        met[one.fields] = True
    missing = [fields.ids[place] for place in np.flatnonzero(~met).tolist()]
    if missing:
        text = f"{len(missing)} of {len(fields)} fields have no row: {shown(missing)}"
        warnings.warn(text, stacklevel=3)
