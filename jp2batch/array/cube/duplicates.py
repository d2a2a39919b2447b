"""Parts of an overpass, and images processed again."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from jp2batch.array.cube.inputs import CubeImage
from jp2batch.core.errors import CubeMismatch
from jp2batch.core.location import Location

_TOGETHER = timedelta(hours=1)
"""Datastrips of an overpass are processed within this time."""
_NEVER = datetime.min.replace(tzinfo=UTC)


def without_duplicates(images: Sequence[CubeImage], duplicates: str) -> tuple[list[CubeImage], list[CubeImage]]:
    """Return the images to use, and outdated ones.

    Images of a tile, time and band remain together if they are of several datastrips: of other starts of sensing, or of
    the same baseline and processed within an hour, also of copies of a product. Of others, the latest by baseline and
    time of processing remain. An image that is listed twice remains once.

    Parameters
    ----------
    images : sequence of CubeImage
        Images of any tiles, times and bands.
    duplicates : {"latest", "error"}
        "error" to refuse images that were processed again.

    Raises
    ------
    CubeMismatch
        Two images cannot be told apart, or one was processed again and `duplicates` is "error".
    """
    groups: dict[object, list[CubeImage]] = defaultdict(list)
    for image in {image.url: image for image in images}.values():
        groups[image.name.tile, image.time, image.band].append(image)
    kept: list[CubeImage] = []
    dropped: list[CubeImage] = []
    for alike in groups.values():
        for of_datastrip in _by_datastrip(alike):
            used, old = _latest(of_datastrip)
            kept, dropped = kept + used, dropped + old
            if old and duplicates == "error":
                problem = f"was processed again: {_shown(used[0])}"
                raise CubeMismatch(old[0].url, problem, 'give one of them, or duplicates="latest"')
    order = {id(image): number for number, image in enumerate(images)}
    return sorted(kept, key=lambda image: order[id(image)]), dropped


def check_single(images: Sequence[CubeImage]) -> None:
    """Refuse two images of a time and band.

    Raises
    ------
    CubeMismatch
        There are two.
    """
    seen: dict[object, CubeImage] = {}
    for image in images:
        other = seen.setdefault((image.time, image.band), image)
        if other is not image:
            raise _another(image, other, "list only one of them")


def _another(
    image: CubeImage, other: CubeImage, hint: str = "give only one of them: of a single pixel size; or resolution="
) -> CubeMismatch:
    problem = f"is another image of {image.band} at {image.time.astype('datetime64[s]')} than {_shown(other)}"
    return CubeMismatch(image.url, problem, hint)


def _by_datastrip(images: list[CubeImage]) -> list[list[CubeImage]]:
    """Return images by the start of their datastrip, if all are known."""
    starts = {image.name.datastrip for image in images}
    if None in starts:
        return [images]
    return [[image for image in images if image.name.datastrip == start] for start in starts]


def _latest(images: list[CubeImage]) -> tuple[list[CubeImage], list[CubeImage]]:
    """Return the latest images of a datastrip, and all others."""
    ordered = sorted(images, key=_version, reverse=True)
    newest = ordered[0]
    baseline, made = _version(newest)
    used = [one for one in ordered if one is newest or _version(one) >= (baseline, _before(made))]
    for one, other in pairwise(used):
        is_copy = one.name.processing_time is not None and one.metres == other.metres  # of the product, elsewhere
        if _version(one) == _version(other) and not is_copy:
            raise _another(other, one)
    return used, ordered[len(used) :]


def _version(image: CubeImage) -> tuple[str, datetime]:
    return image.name.baseline or "", image.name.processing_time or _NEVER


def _before(made: datetime) -> datetime:
    return made if made == _NEVER else made - _TOGETHER


def _shown(image: CubeImage) -> str:
    return Location.of(image.url).redacted
