"""Fields in files: GeoJSON, Parquet and CSV."""

import io
import json
import os
from typing import Any

from jp2batch.batch.extract.inputs import fields_of
from jp2batch.batch.manifest.parquet_geometry import crs_of
from jp2batch.core.errors import InvalidRequest, Jp2BatchError
from jp2batch.core.location import Location
from jp2batch.core.options import StorageOptions
from jp2batch.image.fields.field_set import FieldSet
from jp2batch.storage.files import read_bytes

_HINT = "give .geojson, .parquet or .csv; read other files by geopandas, and give its table"


def read_fields(
    path: str | os.PathLike[str],
    *,
    id: str | None = None,  # noqa: A002
    crs: object = None,
    storage_options: StorageOptions = None,
) -> FieldSet:
    """Return the fields in a file.

    Parameters
    ----------
    path : str or path
        Path or URL of GeoJSON, GeoParquet, or CSV with columns lon and lat, or geometry as WKT.
    id, crs
        As for `fields_of`.

    Raises
    ------
    InvalidRequest
        The file is of another kind, or fields in it cannot be used.
    StorageError
        It cannot be read.
    """
    location = Location.of(path)
    suffix = location.suffix.lower()
    if suffix not in _READERS:
        raise InvalidRequest(location, "fields cannot be read from such a file", _HINT)
    data = read_bytes(os.fspath(path), storage_options=storage_options)
    try:
        found, own = _READERS[suffix](data)
        return fields_of(found, id=id, crs=own if crs is None else crs)
    except InvalidRequest as error:
        raise (error if error.path else error.at(location)) from None
    except Jp2BatchError:
        raise
    except ImportError:
        raise InvalidRequest(location, "reading Parquet needs pyarrow", "pip install 'jp2batch[files]'") from None
    except Exception as error:  # noqa: BLE001  # pandas and Arrow raise many types for damaged files
        raise InvalidRequest(location, f"its fields cannot be read: {type(error).__name__}", _HINT) from None


def _geojson(data: bytes) -> tuple[Any, object]:
    return json.loads(data), None


def _csv(data: bytes) -> tuple[Any, object]:
    import pandas as pd

    return pd.read_csv(io.BytesIO(data)), None


def _parquet(data: bytes) -> tuple[Any, object]:
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(data))
    system = crs_of(table.schema.metadata or {}, "geometry") if "geometry" in table.schema.names else None
    return table.to_pandas(), system or None


_READERS = {".geojson": _geojson, ".json": _geojson, ".csv": _csv, ".parquet": _parquet}
