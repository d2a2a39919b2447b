"""World files: text files with the transform of an image.

Their six numbers are a, d, b, e of `Transform`, and the coordinates of the centre of the first pixel. A world file
names no reference system.
"""

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

from jp2batch.core import config
from jp2batch.core.errors import StorageError, StoreUnavailable
from jp2batch.core.location import Location
from jp2batch.core.ranges import ByteRange
from jp2batch.image.georeference import Transform, corner_transform, is_invertible
from jp2batch.storage.source import Source, open_source

logger = logging.getLogger(__name__)

_LONGEST = 4096  # bytes; six numbers take some 100
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.ASCII | re.IGNORECASE)


def read_world_file(source: Source) -> Transform | None:
    """Return the transform in the world file of an image.

    The names are those of GDAL, and `.jgw`: of `a.jp2`, they are `a.j2w`, `a.jp2w`, `a.wld` and `a.jgw`. Each takes a
    request, until a file has a transform; requests are counted with those of the image. A local file is also found by a
    suffix in capitals; elsewhere, the suffix is in capitals if the image's is. Another file of the name is ignored.

    Parameters
    ----------
    source : Source
        The image. In a store, no world file is read unless `jp2batch.world-files` says so.

    Returns
    -------
    Transform or None
        The transform of pixel corners; None without a world file.

    Raises
    ------
    StoreUnavailable
        The store failed.
    """
    location, where = source.location, config.world_files()
    if where == "everywhere" or (where == "local" and location.is_local):
        for suffix in world_file_suffixes(location):
            data = _read(location.beside(suffix), source)
            found = None if data is None else parse_world_file(data)
            if found is not None:
                return found
            if data is not None:
                logger.warning("%s is not a world file, and is ignored", location.beside(suffix))
    return None


def world_file_suffixes(location: Location) -> Iterator[str]:
    """Iterate over the suffixes of world files of an image."""
    own = location.suffix
    derived = [f".{own[1]}{own[-1]}w", f"{own}w"] if len(own) > 2 else []
    suffixes = dict.fromkeys([*derived, ".wld", ".jgw"])
    capitals = bool(own) and not location.plain_path.endswith(own)
    yield from (suffix.upper() if capitals else suffix for suffix in suffixes)
    if location.is_local:
        yield from (suffix if capitals else suffix.upper() for suffix in suffixes)


def parse_world_file(data: bytes) -> Transform | None:
    """Return the transform of pixel corners in a world file, or None."""
    try:
        lines = (line.split() for line in data.decode("utf-8-sig").splitlines())
        words = [line[0].replace(",", ".") for line in lines if line][:6]
    except UnicodeDecodeError:
        return None
    if len(data) > _LONGEST or len(words) < 6 or not all(map(_NUMBER.fullmatch, words)):
        return None
    a, d, b, e, x, y = map(float, words)
    transform = corner_transform((x, y), (a, d), (b, e))
    return transform if is_invertible(transform) else None


def _read(location: Location, image: Source) -> bytes | None:
    """Return the beginning of a file, or None if missing."""
    # os.path leaves an unknown user as it is. To look is much faster than an error.
    if location.is_local and not Path(os.path.expanduser(location.path)).is_file():  # noqa: PTH111
        return None
    source = open_source(location, storage_options=location.options)
    try:
        ((_, data),) = source.read_many([ByteRange(0, _LONGEST + 1)])
    except StoreUnavailable:
        raise
    except StorageError:  # many stores refuse a request for a missing object
        return None
    finally:
        image.meter.requested(source.meter.requests)
        image.meter.received(source.meter.bytes_read)
        source.close()
    return data
