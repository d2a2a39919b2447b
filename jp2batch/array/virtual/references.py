"""References of kerchunk and Icechunk to tiles of files."""

import base64
import io
import re
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import orjson

from jp2batch.core.errors import ConfigurationError, InvalidRequest
from jp2batch.core.location import Location
from jp2batch.core.options import StorageOptions
from jp2batch.image.tile_prefixes import TilePrefixes
from jp2batch.storage.files import write_bytes, write_folder

if TYPE_CHECKING:
    from jp2batch.array.virtual.pyramid import Pyramid

_PACKAGES = {"kerchunk": "zarr", "icechunk": "icechunk"}
_TABLES = (".parquet", ".parq")
_STORES = {"s3": "s3_store", "http": "http_store", "https": "http_store", "file": "local_filesystem_store"}


def write_references(
    paths: str | Iterable[str],
    output: str,
    *,
    format: Literal["kerchunk", "icechunk"] = "kerchunk",  # noqa: A002  # as to_kerchunk of VirtualiZarr has it
    storage_options: StorageOptions = None,
    output_options: StorageOptions = None,
) -> None:
    """Write references for Zarr to images, without copying them.

    They are a pyramid of GeoZarr: a group for each rlevel, "0", "1", …, with an array for each image, x, y and the
    reference system. A chunk is a tile at this level: a single range of bytes of the file. Readers need jp2batch, whose
    codec they find by itself. Only headers are read.

    Parameters
    ----------
    paths : str or iterable of str
        Paths or URLs of images on one grid; arrays are named by band. Each must have one band, one layer, and one
        tile-part a tile with the low levels first, as bands of Sentinel-2 have.
    output : str
        Path or URL to write: of kerchunk, a file `.json` or a folder `.parquet`; of Icechunk, a local folder.
    format : {"kerchunk", "icechunk"}
        Kind of references. Those of kerchunk are read with fsspec, of Icechunk with icechunk.
    storage_options, output_options : mapping, optional
        fsspec's options for the store of the images, and of the references. They are not written.

    Raises
    ------
    UnsupportedImage
        The layout of an image does not fit; `open` reads it.
    InvalidRequest
        The images have different grids, or equal names.
    ConfigurationError
        A package is missing.
    Jp2BatchError
        An image cannot be read, or the output not be written.
    """
    if format not in _PACKAGES:
        raise InvalidRequest(output, f"there is no format {format!r}", f"give {' or '.join(_PACKAGES)}")
    pyramid = locate_pyramid([paths] if isinstance(paths, str) else paths, _PACKAGES[format], storage_options)
    if format == "icechunk":
        _write_icechunk(pyramid, output)
    elif Location.of(output).suffix == ".json":
        write_bytes(output, orjson.dumps(json_references(pyramid)), storage_options=output_options)
    elif Location.of(output).suffix in _TABLES:
        write_folder(output, _table_files(pyramid), storage_options=output_options)
    else:
        raise InvalidRequest(output, "references are a file .json or a folder .parquet", "name the output so")


def locate_pyramid(paths: Iterable[str], package: str, storage_options: StorageOptions) -> "Pyramid":
    """Locate the tiles of images, once the packages are found."""
    try:
        __import__(package)
        from jp2batch.array.virtual.pyramid import pyramid_of
    except ImportError as error:
        problem = f"references need the package {error.name}"
        raise ConfigurationError("", problem, 'pip install "jp2batch[virtual]"') from None
    return pyramid_of(paths, storage_options=storage_options)


def absolute_url(path: str) -> str:
    """Return the URL of a path, as references name it."""
    location = Location.of(path).expanded
    return f"file://{location.absolute(str(Path.cwd())).path}" if location.is_local else location.text


def tiles(image: TilePrefixes, rlevel: int) -> Iterator[tuple[int, int, int, int]]:
    """Iterate over the tiles of a level: row, column, position, bytes."""
    rows, columns = image.starts.shape
    for row, column in product(range(rows), range(columns)):
        yield row, column, int(image.starts[row, column]), int(image.lengths[rlevel, row, column])


def _metadata(pyramid: "Pyramid") -> dict[str, bytes]:
    """Return metadata and coordinates of a pyramid in Zarr 2, by key."""
    from jp2batch.array.virtual.codecs import Jp2TileCodec, Jp2TileFilter
    from jp2batch.array.virtual.pyramid import write_metadata

    stored: dict[str, Any] = {}

    def codec(image: TilePrefixes, rlevel: int) -> Jp2TileFilter:
        return Jp2TileFilter(**Jp2TileCodec.of(image, rlevel).to_dict()["configuration"])

    write_metadata(stored, pyramid, 2, codec)
    return {key: _compact(key, buffer.to_bytes()) for key, buffer in stored.items()}


def _consolidated(stored: dict[str, bytes]) -> dict[str, Any]:
    """Return the consolidated metadata: zarr cannot list references."""
    metadata = {key: orjson.loads(data) for key, data in stored.items() if _is_metadata(key)}
    return {"zarr_consolidated_format": 1, "metadata": metadata}


def _is_metadata(key: str) -> bool:
    return key.rpartition("/")[2].startswith(".z")


def _compact(key: str, data: bytes) -> bytes:
    return orjson.dumps(orjson.loads(data)) if _is_metadata(key) else data


def json_references(pyramid: "Pyramid") -> dict[str, Any]:
    """Return the references of a pyramid, as kerchunk has them in JSON."""
    stored = _metadata(pyramid)
    references: dict[str, Any] = {
        key: data.decode() if _is_metadata(key) else f"base64:{base64.b64encode(data).decode()}"
        for key, data in stored.items()
    }
    references[".zmetadata"] = orjson.dumps(_consolidated(stored)).decode()
    names = {name: f"u{number}" for number, name in enumerate(pyramid.bands)}
    for path, image, rlevel in pyramid.chunks():
        url = f"{{{{{names[path.partition('/')[2]]}}}}}"
        references |= {
            f"{path}/{row}.{column}": [url, start, size] for row, column, start, size in tiles(image, rlevel)
        }
    templates = {names[name]: absolute_url(image.url) for name, image in pyramid.bands.items()}
    return {"version": 1, "templates": templates, "refs": references}


def _table_files(pyramid: "Pyramid") -> dict[str, bytes]:
    """Return the files of references in Parquet, as fsspec reads them."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        problem = "references in Parquet need the package pyarrow"
        raise ConfigurationError("", problem, 'pip install "jp2batch[virtual]"') from None
    fields = {"path": pa.string(), "offset": pa.int64(), "size": pa.int64()}
    schema = pa.schema([pa.field(name, kind, nullable=False) for name, kind in fields.items()])
    stored = _metadata(pyramid)
    tables: dict[str, Any] = {}
    for key, data in stored.items():
        if not _is_metadata(key):  # coordinates have a single chunk
            tables[key.rpartition("/")[0]] = pa.table({"raw": [data]})
    for path, image, rlevel in pyramid.chunks():
        urls = [absolute_url(image.url)] * image.starts.size
        tables[path] = pa.table([urls, image.starts.ravel(), image.lengths[rlevel].ravel()], schema=schema)
    head = {**_consolidated(stored), "record_size": pyramid.first.starts.size}
    files = {".zmetadata": orjson.dumps(head)}
    for path, table in tables.items():
        buffer = io.BytesIO()
        counted = [name for name in table.column_names if name in ("offset", "size")]  # so fastparquet finds no gaps
        options = {"write_statistics": counted, "use_dictionary": ["path"], "store_schema": False}
        parquet.write_table(table, buffer, compression="zstd", **options)
        files[f"{path}/refs.0.parq"] = buffer.getvalue()
    return files


def _write_icechunk(pyramid: "Pyramid", output: str) -> None:
    """Write a new store of Icechunk, with virtual references."""
    import icechunk

    from jp2batch.array.virtual.codecs import Jp2TileCodec
    from jp2batch.array.virtual.pyramid import write_metadata

    location = Location.of(output).expanded
    if not location.is_local:
        raise InvalidRequest(output, "stores of Icechunk are written locally", "give a folder, and copy it")
    settings = icechunk.RepositoryConfig.default()
    for prefix in sorted({_prefix(absolute_url(image.url)) for image in pyramid.bands.values()}):
        settings.set_virtual_chunk_container(icechunk.VirtualChunkContainer(prefix, _store(prefix)))
    try:
        repository = icechunk.Repository.create(icechunk.local_filesystem_storage(location.path), settings)
    except icechunk.IcechunkError as error:
        reason = str(error).strip().splitlines()[0]
        raise InvalidRequest(output, f"no store of Icechunk can be made ({reason})", "name a new folder") from None
    session = repository.writable_session("main")
    write_metadata(session.store, pyramid, 3, Jp2TileCodec.of)
    for path, image, rlevel in pyramid.chunks():
        url, spans = absolute_url(image.url), tiles(image, rlevel)
        chunks = [icechunk.VirtualChunkSpec([row, column], url, start, size) for row, column, start, size in spans]
        if session.store.set_virtual_refs(path, chunks):
            raise InvalidRequest(
                image.url, "Icechunk does not take its URL (nor ports)", "write references of kerchunk"
            )
    session.commit("Virtual references to JPEG 2000 files")


def _prefix(url: str) -> str:
    """Return the store of a URL, as its prefix."""
    parts = urlsplit(url)
    folder = parts.path.rpartition("/")[0] if parts.scheme == "file" else ""
    return f"{parts.scheme}://{parts.netloc}{folder}/"


def _store(prefix: str) -> Any:
    """Return Icechunk's access to a store; its readers may give another."""
    import icechunk

    scheme = prefix.partition("://")[0]
    if scheme not in _STORES:
        raise InvalidRequest(prefix, f"Icechunk's access to {scheme} is not set up", "write references of kerchunk")
    if scheme == "file":
        return icechunk.local_filesystem_store(re.sub("^file://", "", prefix))
    return icechunk.http_store({"allow_http": "true"}) if scheme != "s3" else icechunk.s3_store(region="us-east-1")
