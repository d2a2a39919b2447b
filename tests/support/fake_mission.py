"""Landsat as a mission, in a few lines: names of its Collection 2, and metadata in a small JSON file."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from jp2batch.core.errors import MetadataError
from jp2batch.core.mission import ImageName, ListedImage, Mission
from jp2batch.core.scaling import Scaling
from jp2batch.storage.files import read_bytes

NODATA = 9999
QUANTITY = "surface reflectance of Landsat"
_SCENE = r"(?P<platform>L[CE]0[4-9])_(?P<level>L[12]SP)_(?P<tile>\d{6})_(?P<day>\d{8})_\d{8}_\d\d_T1"
_FILE = re.compile(rf"(?P<scene>{_SCENE})_(?:SR_)?(?P<band>B\d\d?|QA_PIXEL)")


@dataclass(frozen=True)
class FakeMetadata:
    """Metadata of a scene."""

    name: str
    level: str
    offset: float
    quantification: float
    bands: tuple[str, ...]
    baseline: str | None = None
    time: datetime | None = None
    platform: str | None = None
    datastrip: datetime | None = None
    processing_time: datetime | None = None

    def scaling(self, band):
        if band not in FakeMission.bands:
            return None
        return Scaling(self.offset, self.quantification, QUANTITY, NODATA)


class FakeMission(Mission):
    """Reads Landsat's names; passes at ten in the morning."""

    title = "Landsat"
    bands = ("B4", "B3", "B2")  # in an order of its own
    classes = frozenset({"QA_PIXEL"})

    def parse_name(self, path):
        match = _FILE.fullmatch(Path(path).stem)
        if match is None:
            return None
        time = datetime.strptime(f"{match['day']}10", "%Y%m%d%H").replace(tzinfo=UTC)
        return ImageName(
            band=match["band"],
            time=time,
            day=time.date(),
            tile=match["tile"],
            level=match["level"],
            platform=match["platform"],
        )

    def find_band(self, text):
        return "B4" if text == "red" else None

    def nodata(self, name):
        return None if name is None or name.band == "QA_PIXEL" else NODATA

    def units(self, name):
        return "counts"

    def metres(self, band):
        return 30 if band else None

    def metadata_url(self, path):
        match = _FILE.search(path)
        return None if match is None else str(Path(path).parent / f"{match['scene']}_MTL.json")

    def read_metadata(self, location, *, storage_options):
        try:
            told = json.loads(read_bytes(location, storage_options=storage_options))
            return FakeMetadata(told["name"], "L2SP", told["offset"], told["quantification"], tuple(told["bands"]))
        except (ValueError, KeyError) as error:
            raise MetadataError(location, f"it is damaged: {type(error).__name__}", "fetch it again") from None

    def is_product(self, path):
        return path.endswith("_MTL.json")

    def list_product(self, product, *, storage_options):
        metadata = self.read_metadata(product, storage_options=storage_options)
        paths = [str(Path(product).parent / f"{metadata.name}_SR_{band}.jp2") for band in metadata.bands]
        return metadata, [ListedImage(path, self.parse_name(path), 30) for path in paths]

    def what_to_give(self, path):
        return "give the MTL.json of the scene" if "LC08" in path else None
