"""Images of products, STAC items and paths, by pixel size."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from jp2batch.core.errors import PermissionDenied
from jp2batch.core.location import Location
from jp2batch.core.mission import ListedImage, ProductMetadata
from jp2batch.core.request import Request


@dataclass(frozen=True, slots=True)
class SourceImages:
    """Images of a product, a STAC item, or a path."""

    images: tuple[ListedImage, ...]
    """Images in their order."""
    bands: frozenset[str]
    """Bands of all its images, including images left out."""
    name: str | None = None
    """Name of the product or item."""
    metadata: ProductMetadata | None = None
    """Metadata of the product, if they are read."""
    product: str | None = None
    """Path of the product."""
    request: Request | None = None
    """The request of a single image, whose columns are its facts."""
    is_item: bool = False
    """True for a STAC item."""
    datetime: str | None = None
    """Time in the item, if its product or datatake is unknown."""
    collection: str = ""
    """Collection of the item."""
    alternates: frozenset[str] = frozenset()
    """Names of the item's alternate locations, with `alternate`."""
    has_images: bool = True
    """False if the item has no JPEG 2000 image of any band."""

    @property
    def is_path(self) -> bool:
        """True for an image given by its path."""
        return self.product is None and not self.is_item

    def of_size(self, metres: int | None, resolution: float | None = None) -> "SourceImages":
        """Return a copy with a single pixel size of each band.

        Parameters
        ----------
        metres : int, optional
            Exactly this size; bands without it are left out.
        resolution : float, optional
            The largest size up to this; by default the smallest of all.
        """
        if metres is not None:
            return replace(self, images=tuple(one for one in self.images if one.metres == metres))
        sizes = _sizes(self.images, resolution or 0)
        kept = (one for one in self.images if one.name.band is None or one.metres == sizes[_key(one)])
        return replace(self, images=tuple(kept))


def _sizes(images: Iterable[ListedImage], largest: float) -> dict[tuple[str | None, str | None], int]:
    """Return the pixel size to take of each band and tile.

    An unknown size is larger than all others.
    """
    found: dict[tuple[str | None, str | None], int] = {}
    for image in sorted(images, key=lambda one: _rank(one.metres, largest)):
        found[_key(image)] = image.metres
    return found


def _rank(metres: int, largest: float) -> float:
    if metres == 0:
        return -float("inf")
    return metres if metres <= largest else -metres


def _key(image: ListedImage) -> tuple[str | None, str | None]:
    return image.name.band, image.name.tile


def advised(error: PermissionDenied, advice: Mapping[str, str]) -> PermissionDenied:
    """Return a refusal with the advice of the STAC item.

    `advice` is by path; it may be empty.
    """
    hints = (hint for path, hint in advice.items() if hint and Location.of(path).redacted == error.path)
    hint = next(hints, "")
    return type(error)(error.path, error.problem, f"{hint}; {error.hint}") if hint else error
