"""Table rows: statistics or samples of fields in an image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from jp2batch.array.facts import ImageFacts, time_of
from jp2batch.batch.extract.statistics import statistics_of
from jp2batch.core.request import Request
from jp2batch.image.fields.field_set import FieldSet
from jp2batch.image.fields.on_grid import FieldSelector, Grid, field_runs
from jp2batch.image.open import OpenImage
from jp2batch.image.read import Pixels
from jp2batch.jpeg2000.geometry.grid import Selection

NO_TIME = np.datetime64("NaT", "ns")


@dataclass(frozen=True, slots=True, eq=False)
class FieldRows:
    """Rows of an image: columns of equal length, and common facts."""

    fields: NDArray[np.int32]
    """Index of the field of each row."""
    band: NDArray[np.int16]
    """Index of the band of each row, in `bands`."""
    columns: dict[str, NDArray[np.generic]]
    """Values by name."""
    bands: tuple[str | None, ...]
    time: np.datetime64
    """Start of sensing; NaT if unknown."""
    tile: str | None
    item: str | None

    def __len__(self) -> int:
        return len(self.fields)


@dataclass(frozen=True, slots=True)
class AsFieldRows:
    """Deliver the rows of fields in an image."""

    bytes_per_sample: ClassVar[int] = 64  # floats, their order, and positions

    selector: FieldSelector
    stats: tuple[str, ...] | None = ("mean",)
    """Names of statistics; None for the samples themselves."""
    scaled: bool = False
    """True for reflectance in place of numbers."""
    labels: tuple[tuple[str, str], ...] = ()
    """Names of bands, and their names in the table."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns of values."""
        if self.stats is None:
            return ("value", "x", "y")
        return ("value",) if len(self.stats) == 1 else self.stats

    def select(self, request: Request, opened: OpenImage) -> Selection:
        """Return the samples of all fields in an image."""
        return self.selector.select(opened, request)

    def __call__(self, pixels: Pixels, request: Request) -> FieldRows:
        """Return the rows of an image."""
        grid, _ = Grid.of(pixels.opened, request)
        of_fields = field_runs(self.selector.fields, grid, self.selector.all_touched)
        fields, counts = of_fields.fields, of_fields.counts
        facts = self._facts(pixels, request)
        values = [_floats(one[: of_fields.runs.samples], facts) for one in pixels.values]
        if self.stats is None:
            fields = np.repeat(fields, counts)
            _, y, x = of_fields.runs.positions()
            columns = [dict(zip(self.names, (one, *grid.centres(y, x)), strict=True)) for one in values]
        else:
            found = (statistics_of(one, counts, self.stats) for one in values)
            columns = [dict(zip(self.names, one.values(), strict=True)) for one in found]
        return _joined(fields, columns, facts, request, dict(self.labels))

    def _facts(self, pixels: Pixels, request: Request) -> ImageFacts:
        source = pixels.opened.source
        options = source.location.options if self.scaled else None
        return ImageFacts.of(source.path, columns=request.columns, scaled=self.scaled, storage_options=options)


def _floats(values: NDArray[np.generic], facts: ImageFacts) -> NDArray[np.float64]:
    """Return samples as floats, NaN for no data."""
    if facts.applied is not None:
        return facts.applied.apply(values).astype(np.float64)
    found, nodata = values.astype(np.float64), facts.mission.nodata(facts.name)
    if nodata is not None:
        found[values == nodata] = np.nan
    return found


def _joined(
    fields: NDArray[Any],
    columns: Sequence[dict[str, NDArray[np.generic]]],
    facts: ImageFacts,
    request: Request,
    labels: Mapping[str, str],
) -> FieldRows:
    """Return the rows of all bands of an image."""
    name, own = facts.name, dict(request.columns)
    band = None if name is None or name.band is None else labels.get(name.band, name.band)
    several = tuple(f"{band or 'band'}_{number + 1}" for number in range(len(columns)))
    when = None if name is None else name.time or name.day
    item = own.get("item")
    return FieldRows(
        np.tile(fields.astype(np.int32), len(columns)),
        np.repeat(np.arange(len(columns), dtype=np.int16), len(fields)),
        {key: np.concatenate([one[key] for one in columns]) for key in columns[0]},
        (band,) if len(columns) == 1 else several,
        NO_TIME if when is None else time_of(when),
        None if name is None else name.tile,
        item if isinstance(item, str) else None,
    )


def field_ids(fields: FieldSet, places: NDArray[np.int32]) -> Any:
    """Return the ids of fields by their indices."""
    return np.array(fields.ids, object if isinstance(fields.ids[0], str) else np.int64)[places]
