"""Interface of missions: names, metadata and products of images.

Other rooms know no particular mission.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime
from types import MappingProxyType
from typing import Any, Protocol, Self

from jp2batch.core.options import StorageOptions
from jp2batch.core.scaling import Scaling, ScalingClaim


@dataclass(frozen=True, slots=True)
class ImageName:
    """Facts from the names of an image and its folders.

    Unknown facts are None.
    """

    band: str | None = None
    """Band as the mission writes it, e.g. "B02", "B8A", "TCI".

    Masks are, for example, "CLDPRB" and "DETFOO_B02".
    """
    time: datetime | None = None
    """Start of sensing, in UTC; never a time of processing."""
    day: date | None = None
    """Day of sensing; also if the time is unknown."""
    tile: str | None = None
    """Name of the ground area, e.g. the MGRS tile "T29UNU"."""
    level: str | None = None
    """Level of processing, e.g. "L2A"."""
    resolution: int | None = None
    """Metres, if the name tells them."""
    baseline: str | None = None
    """Processing baseline, as in the metadata: "04.00"."""
    relative_orbit: int | None = None
    """Number of the orbit within a cycle."""
    platform: str | None = None
    """Name of the satellite, e.g. "S2A"."""
    datastrip: datetime | None = None
    """Start of sensing of the datastrip, in UTC.

    An overpass that is received in parts has several datastrips.
    """
    processing_time: datetime | None = None
    """Time of processing, in UTC."""

    def updated(
        self,
        *,
        time: datetime | None = None,
        tile: str | None = None,
        baseline: str | None = None,
        platform: str | None = None,
        datastrip: datetime | None = None,
        processing_time: datetime | None = None,
    ) -> Self:
        """Return a copy with facts from a better source."""
        return replace(
            self,
            time=time or self.time,
            day=self.day if time is None else time.date(),
            tile=tile or self.tile,
            baseline=baseline or self.baseline,
            platform=platform or self.platform,
            datastrip=datastrip or self.datastrip,
            processing_time=processing_time or self.processing_time,
        )

    def merged(self, better: Self) -> Self:
        """Return a copy with all facts from a better source."""
        facts = {one.name: value for one in fields(better) if (value := getattr(better, one.name)) is not None}
        return replace(self, **facts)

    def of_product(self, metadata: "ProductMetadata") -> Self:
        """Return a copy with the facts in the metadata of the product."""
        return self.updated(
            time=metadata.time,
            baseline=metadata.baseline,
            platform=metadata.platform,
            datastrip=metadata.datastrip,
            processing_time=metadata.processing_time,
        )


def parse_iso_time(value: object) -> datetime | None:
    """Parse a time in ISO 8601, to whole seconds; None otherwise.

    Without time zone, it is in UTC. A day without time is none.
    """
    try:
        when = datetime.fromisoformat(value) if isinstance(value, str) and len(value) > len("2022-10-05") else None
    except ValueError:
        return None
    return when and (when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)).replace(microsecond=0)


class ProductMetadata(Protocol):
    """Metadata of a product."""

    @property
    def name(self) -> str | None:
        """Name of the product."""

    @property
    def level(self) -> str | None:
        """Level of processing."""

    @property
    def baseline(self) -> str | None:
        """Processing baseline."""

    @property
    def time(self) -> datetime | None:
        """Start of sensing, in whole seconds as in names."""

    @property
    def platform(self) -> str | None:
        """Name of the satellite."""

    @property
    def datastrip(self) -> datetime | None:
        """Start of sensing of the datastrip; None for several."""

    @property
    def processing_time(self) -> datetime | None:
        """Time of processing, in whole seconds as in names."""

    def scaling(self, band: str | None) -> Scaling | None:
        """Return a band's scaling to reflectance; None for other quantities.

        Raises
        ------
        MetadataError
            The metadata lack the scaling.
        """


@dataclass(frozen=True, slots=True)
class ListedImage:
    """An image of a product, by its metadata."""

    path: str
    """Path or URL."""
    name: ImageName
    """Facts from the path, STAC item and metadata."""
    metres: int
    """Size of its pixels; 0 if unknown."""
    claim: ScalingClaim | None = None
    """Scaling to reflectance, by its STAC item."""
    access: str = ""
    """Advice of its STAC item, if the store refuses it."""


@dataclass(frozen=True, slots=True)
class SceneClasses:
    """Classes of clouds and surfaces, which are the values of a band."""

    band: str
    """The band."""
    values: Mapping[str, int]
    """Values by the names of classes."""
    clouds: tuple[str, ...]
    """Names of the classes of clouds and their shadows."""


class Mission(Protocol):
    """Reads names, metadata and products of a mission."""

    @property
    def title(self) -> str:
        """Name of the mission, for messages."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Spectral bands in their order: only these become reflectance."""

    @property
    def classes(self) -> frozenset[str]:
        """Bands whose values are classes, never to be interpolated."""

    common_names: Mapping[str, str] = MappingProxyType({})
    """Bands by their names in STAC items, such as "red"."""

    @property
    def scene_classes(self) -> SceneClasses | None:
        """Classes of clouds and surfaces, if a band has some."""

    def parse_name(self, path: str) -> ImageName | None:
        """Return facts from a path, URL or key.

        None if it is not an image of the mission.
        """

    def parse_properties(self, properties: Mapping[str, object]) -> ImageName | None:
        """Return facts from the properties of a STAC item.

        The time is that of the name of the product, else unknown. None if it is not an item of the mission.
        """

    def find_band(self, text: str) -> str | None:
        """Return the band named in a text, e.g. a STAC asset key."""

    def claim_of(self, name: ImageName, scale: float, offset: float) -> ScalingClaim | None:  # noqa: ARG002
        """Return the scaling of an image by its STAC item.

        The item has reflectance = number * scale + offset. None for other quantities, or if the mission takes none.
        """
        return None

    def nodata(self, name: ImageName | None) -> int | None:
        """Return the value for no data; None if every value counts."""

    def units(self, name: ImageName | None) -> str | None:
        """Return the unit of the numbers as stored."""

    def metres(self, band: str | None) -> int | None:
        """Return the pixel size of a band, if always the same."""

    def metadata_url(self, path: str) -> str | None:
        """Return the location of the metadata of an image's product.

        Only the path is used; nothing is read.
        """

    def read_metadata(self, location: str, *, storage_options: Mapping[str, Any] | None) -> ProductMetadata:
        """Read the metadata of a product.

        Raises
        ------
        StorageError, MetadataError
            They cannot be read, or are damaged.
        """

    def read_grid(
        self, path: str, shape: tuple[int, int], *, storage_options: StorageOptions
    ) -> tuple[int, tuple[float, float, float, float, float, float]] | None:
        """Return EPSG code and transform of an image, from metadata.

        For an image without georeference, with these rows and columns. None if unknown.
        """

    def is_product(self, path: str) -> bool:
        """Return whether a path is a product, by its name.

        Local folders may be looked at.
        """

    def list_product(
        self, product: str, *, storage_options: StorageOptions
    ) -> tuple[ProductMetadata, list[ListedImage]]:
        """Return the metadata of a product and all its images.

        Raises
        ------
        StorageError, MetadataError
            The metadata cannot be read.
        """

    def what_to_give(self, path: str) -> str | None:
        """Return a hint for a path unlike a product.

        It names the product around the path, or products in it.
        """
