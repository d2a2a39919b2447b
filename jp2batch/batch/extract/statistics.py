"""Statistics of the samples of fields, without no data."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jp2batch.core.errors import InvalidRequest

Values = NDArray[np.float64]
_TOGETHER = 1 << 21  # samples in memory as floats, unless a field has more
_PERCENTILE = re.compile(r"(?:p|percentile_)([0-9]{1,3}(?:\.[0-9]+)?)")
_SAME = {"majority": "mode", "average": "mean", "minimum": "min", "maximum": "max"}


@dataclass(frozen=True, slots=True, eq=False)
class FieldSamples:
    """Samples of some fields, field by field; none is empty."""

    values: Values
    """FieldSamples, sorted within each field."""
    begins: NDArray[np.int64]
    """Place of the first sample of each field."""
    counts: NDArray[np.int64]
    """Number of samples of each field."""

    @classmethod
    def of(cls, values: Values, counts: NDArray[np.int64]) -> "FieldSamples":
        """Return samples in the order of fields; `counts` are not 0."""
        if len(counts) == 1:  # perhaps of a whole image
            return cls(np.sort(values), np.zeros(1, np.int64), counts)
        order = np.lexsort((values, np.repeat(np.arange(len(counts)), counts)))
        return cls(values[order], np.cumsum(counts) - counts, counts)

    def sums(self) -> Values:
        """Return the sum of each field."""
        found: Values = np.add.reduceat(self.values, self.begins)
        return found

    def variances(self) -> Values:
        """Return the variance of each field's samples, as numpy's var."""
        means = np.repeat(self.sums() / self.counts, self.counts)
        found: Values = np.add.reduceat((self.values - means) ** 2, self.begins) / self.counts
        return found

    def percentiles(self, percent: float) -> Values:
        """Return a percentile of each field, interpolated as numpy's."""
        place = (self.counts - 1) * (percent / 100)
        low = np.floor(place).astype(np.int64)
        below = self.values[self.begins + low]
        above = self.values[self.begins + np.minimum(low + 1, self.counts - 1)]
        share, step = place - low, above - below
        found: Values = np.where(share < 0.5, below + step * share, above - step * (1 - share))
        return found

    def modes(self) -> Values:
        """Return the most frequent value of each field, the smallest of equals."""
        field = np.repeat(np.arange(len(self.counts)), self.counts)
        begins = np.flatnonzero((np.diff(self.values, prepend=np.nan) != 0) | (np.diff(field, prepend=-1) != 0))
        lengths = np.diff(begins, append=len(self.values))
        best = np.lexsort((begins, -lengths, field[begins]))
        _, first = np.unique(field[begins][best], return_index=True)
        return self.values[begins[best[first]]]


_FUNCTIONS: Mapping[str, Callable[[FieldSamples], NDArray[np.generic]]] = {
    "mean": lambda samples: samples.sums() / samples.counts,
    "median": lambda samples: samples.percentiles(50),
    "count": lambda samples: samples.counts,
    "min": lambda samples: samples.values[samples.begins],
    "max": lambda samples: samples.values[samples.begins + samples.counts - 1],
    "std": lambda samples: np.sqrt(samples.variances()),
    "var": FieldSamples.variances,
    "sum": FieldSamples.sums,
    "mode": FieldSamples.modes,
}


def statistic_names(stats: str | Iterable[str] | None) -> tuple[str, ...] | None:
    """Return the names of statistics, checked; None for the samples themselves.

    Raises
    ------
    InvalidRequest
        A name is unknown or repeated, or there is none.
    """
    if stats is None:
        return None
    texts: list[object] = [*stats.split(",")] if isinstance(stats, str) else list(stats)
    names = tuple(text.strip().lower() for text in texts if isinstance(text, str) and text.strip())
    if not names or len(names) < len(texts):
        raise InvalidRequest("", "stats names no statistic", f"give {_available()}, or None for the pixels")
    for place, name in enumerate(names):
        if name in names[:place]:
            raise InvalidRequest("", "a statistic is given twice", "give it once")
        if _function(name) is None:
            shown = name if re.fullmatch(r"[a-z0-9_.]{1,30}", name) else "of this name"
            raise InvalidRequest("", f"there is no statistic {shown}", f"give {_available()}")
    return names


def statistics_of(values: Values, counts: NDArray[np.int64], names: Sequence[str]) -> dict[str, NDArray[np.generic]]:
    """Return statistics of fields.

    Parameters
    ----------
    values : ndarray
        FieldSamples in the order of fields, NaN for no data.
    counts : ndarray
        Number of samples of each field.
    names : sequence of str
        Names of statistics, as checked by `statistic_names`.

    Returns
    -------
    dict of str to ndarray
        Of each statistic the value of each field. Without data, the count is 0 and others are NaN.
    """
    found = {name: np.full(len(counts), 0 if name == "count" else np.nan) for name in names}
    ends = np.cumsum(counts)
    for part in np.split(np.arange(len(counts)), np.flatnonzero(np.diff(ends // _TOGETHER)) + 1):
        own = slice(int(ends[part[0]] - counts[part[0]]), int(ends[part[-1]]))
        for name, of_part in _of_part(values[own], counts[part], names).items():
            found[name][part] = of_part
    return {name: one.astype(np.int64) if name == "count" else one for name, one in found.items()}


def _of_part(values: Values, counts: NDArray[np.int64], names: Sequence[str]) -> dict[str, NDArray[np.generic]]:
    valid = ~np.isnan(values)
    field = np.repeat(np.arange(len(counts)), counts)
    there = np.bincount(field[valid], minlength=len(counts))
    found = {name: np.full(len(counts), 0 if name == "count" else np.nan) for name in names}
    if valid.any():
        samples = FieldSamples.of(values[valid], there[there > 0])
        for name in names:
            function = _function(name)
            if function is not None:
                found[name][there > 0] = function(samples)
    return dict(found)


def _function(name: str) -> Callable[[FieldSamples], NDArray[np.generic]] | None:
    """Return the function of a statistic; None if unknown."""
    match = _PERCENTILE.fullmatch(name)
    if match and float(match[1]) <= 100:
        return lambda samples: samples.percentiles(float(match[1]))
    return _FUNCTIONS.get(_SAME.get(name, name))


def _available() -> str:
    return f"{', '.join(_FUNCTIONS)} or p0 to p100"
