"""Facts of a STAC item, in place of a product's metadata."""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from jp2batch.core.errors import MetadataError
from jp2batch.core.location import Location
from jp2batch.core.mission import ImageName
from jp2batch.core.scaling import Scaling, ScalingClaim
from jp2batch.image.missions import identify
from jp2batch.image.source_images import SourceImages

HINT = "use scaled=False for the numbers as stored"
"""Advice about an unknown scaling."""


@dataclass(frozen=True, slots=True)
class ItemMetadata:
    """Facts of an item, as `ProductMetadata`."""

    name: str | None
    """Name of the item."""
    level: str | None
    """Processing level."""
    baseline: str | None
    """Processing baseline."""
    time: datetime | None
    """Start of sensing."""
    platform: str | None
    """Name of the satellite."""
    datastrip: datetime | None
    """Start of sensing of the datastrip."""
    processing_time: datetime | None
    """Time of processing."""
    claims: Mapping[str | None, ScalingClaim]
    """Scalings by band."""
    reflectance: Collection[str]
    """Bands of reflectance."""

    @classmethod
    def of(cls, item: SourceImages) -> Self:
        """Return the facts of an item's images."""
        name = item.images[0].name if item.images else ImageName()
        claims = {one.name.band: one.claim for one in item.images if one.claim is not None}
        bands = identify(item.images[0].path)[0].bands if item.images else ()
        facts = (name.level, name.baseline, name.time, name.platform, name.datastrip, name.processing_time)
        return cls(item.name, *facts, claims, bands)

    def scaling(self, band: str | None) -> Scaling | None:
        """Return a band's scaling by the item; None for other quantities.

        Raises
        ------
        MetadataError
            The item has none, or contradicts its baseline.
        """
        if band not in self.reflectance:
            return None
        claim = self.claims.get(band)
        problem = f"its STAC item has no scaling of {band}" if claim is None else claim.problem
        if claim is None or problem:
            raise MetadataError(self.name or "", f"the metadata of its product cannot be read, and {problem}", HINT)
        return claim.scaling


def contradiction(claims: Iterable[tuple[str, ScalingClaim | None, Scaling | None]]) -> str:
    """Return a warning of items with another scaling than the metadata.

    Parameters
    ----------
    claims : iterable of tuple
        Path, scaling by the item, and scaling by the metadata, of each image.

    Returns
    -------
    str
        Empty without contradiction.
    """
    odd = [(path, one.scaling, true) for path, one, true in claims if one and true and not _agree(one.scaling, true)]
    if not odd:
        return ""
    path, stated, true = odd[0]
    more = f" and {len(odd) - 1} more images" if len(odd) > 1 else ""
    return (
        f"{Location.of(path).redacted}{more}: the STAC item has offset {stated.offset:g} and quantification"
        f" {stated.quantification:g}, the metadata of the product {true.offset:g} and {true.quantification:g},"
        " which are used"
    )


def _agree(one: Scaling, other: Scaling) -> bool:
    return math.isclose(one.offset, other.offset, abs_tol=0.01) and math.isclose(
        one.quantification, other.quantification, rel_tol=1e-5
    )
