"""Products with the oddities of the real archive: parts, twins, overlapping tiles. And their pixels, by brute force."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import xarray as xr

import jp2batch
from jp2batch.sample.coding import Coding
from jp2batch.sample.encode import encode
from jp2batch.sample.georeference import gmljp2, tile_corner

TIME = datetime(2023, 6, 25, 10, 5, 41, tzinfo=UTC)
_TILES = {10: (128, 128), 20: (64, 64), 60: (64, 64)}
_XML = """<?xml version="1.0"?><n1:P xmlns:n1="x"><PRODUCT_START_TIME>{time:%Y-%m-%dT%H:%M:%S}.024Z</PRODUCT_START_TIME>
<PRODUCT_URI>{name}</PRODUCT_URI><PROCESSING_LEVEL>Level-{level}</PROCESSING_LEVEL>
<PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE><GENERATION_TIME>{made:%Y-%m-%dT%H:%M:%S}.000Z</GENERATION_TIME>
<Granule datastripIdentifier="S2A_OPER_MSI_DS_2APS_{made:%Y%m%dT%H%M%S}_S{datastrip:%Y%m%dT%H%M%S}_N{baseline}">{files}
</Granule><{quantity}>10000</{quantity}>{offsets}</n1:P>
"""


def write_product(
    folder: Path,
    images: Mapping[str, np.ndarray],
    *,
    tile: str = "T33TWL",
    moved: tuple[int, int] = (0, 0),
    time: datetime = TIME,
    datastrip: datetime | None = None,
    made: datetime | None = None,
    baseline: str = "05.09",
    offset: int = -1000,
    level: str = "L2A",
) -> Path:
    """Write a product with images by name and size, as "B04_10m"; `moved` are metres from the corner of the tile."""
    made, datastrip = made or time + timedelta(hours=3), datastrip or time + timedelta(seconds=3)
    name = f"S2A_MSI{level}_{time:%Y%m%dT%H%M%S}_N{baseline.replace('.', '')}_R022_{tile}_{made:%Y%m%dT%H%M%S}.SAFE"
    epsg, x, y = tile_corner(tile)
    granule = f"GRANULE/{level}_{tile}_A041826_{datastrip:%Y%m%dT%H%M%S}/IMG_DATA"
    paths = []
    for key, pixels in images.items():
        band, size = key.split("_")
        metres = int(size[:-1])
        stem = f"{tile}_{time:%Y%m%dT%H%M%S}_{band}"
        path = f"{granule}/R{size}/{stem}_{size}" if level == "L2A" else f"{granule}/{stem}"
        box = gmljp2(pixels.shape[1], pixels.shape[0], epsg, (x + moved[0], y + moved[1]), metres)
        coding = Coding(tile=_TILES[metres], levels=4, bits=8 if pixels.dtype == np.uint8 else 15)
        target = folder / name / f"{path}.jp2"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(encode(pixels, coding, boxes=box))
        paths.append(f"<IMAGE_FILE>{path}</IMAGE_FILE>")
    kind, quantity = ("BOA", "BOA_QUANTIFICATION_VALUE") if level == "L2A" else ("RADIO", "QUANTIFICATION_VALUE")
    offsets = "".join(f'<{kind}_ADD_OFFSET band_id="{band}">{offset}</{kind}_ADD_OFFSET>' for band in range(13))
    facts = {"name": name, "level": level[1:], "time": time, "made": made, "datastrip": datastrip}
    text = _XML.format(**facts, baseline=baseline, files="".join(paths), quantity=quantity, offsets=offsets)
    (folder / name / f"MTD_MSI{level}.xml").write_text(text)
    return folder / name


def image(product: Path, name: str) -> str:
    """Return the path of an image, by its name and size."""
    return str(next(product.glob(f"GRANULE/*/IMG_DATA/**/*_{name}.jp2")))


def numbers(seed: int, size: int, *, hole: tuple[slice, slice] | None = None) -> np.ndarray:
    """Return a square of numbers like reflectance, without data in a hole."""
    found = np.random.default_rng(seed).integers(1001, 9000, (size, size)).astype(np.uint16)
    if hole is not None:
        found[hole] = 0
    return found


def at(path: str, x: np.ndarray, y: np.ndarray, *, nothing: float = 0) -> np.ndarray:
    """Return the pixels of an image at coordinates, by the whole image."""
    pixels = jp2batch.read(path, 0)
    size = float(pixels.x[1] - pixels.x[0])
    columns = np.floor((np.asarray(x) - (float(pixels.x[0]) - size / 2)) / size).astype(int)
    rows = np.floor(((float(pixels.y[0]) + size / 2) - np.asarray(y)) / size).astype(int)
    found = np.full((len(rows), len(columns)), nothing, np.float64)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            if 0 <= row < pixels.shape[0] and 0 <= column < pixels.shape[1]:
                found[i, j] = pixels.values[row, column]
    return found


def fused(paths: Sequence[str], cube: xr.DataArray) -> np.ndarray:
    """Return the first pixel with data at each position of a cube."""
    found = np.zeros(cube.shape[-2:])
    for path in paths:
        found = np.where(found == 0, at(path, cube.x.values, cube.y.values), found)
    return found
