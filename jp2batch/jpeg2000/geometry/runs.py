"""Runs of samples along rows, for reads of many small parts."""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Runs of samples along rows, in coordinates of a resolution level.

    They may overlap. The samples of all runs, in order, are numbered from 0.
    """

    y: Numbers
    """Row of each run."""
    x0: Numbers
    """First column of each run."""
    x1: Numbers
    """Column after the last sample of each run."""
    first: Numbers
    """Number of the first sample of each run."""

    @classmethod
    def of(cls, y: Numbers, x0: Numbers, x1: Numbers) -> Self:
        """Return runs, not empty, with their samples numbered in order."""
        first = np.zeros(len(y), np.int64)
        np.cumsum(x1[:-1] - x0[:-1], out=first[1:])
        return cls(y, x0, x1, first)

    @property
    def lengths(self) -> Numbers:
        """Number of samples of each run."""
        return self.x1 - self.x0

    @property
    def samples(self) -> int:
        """Number of samples of all runs."""
        return int(self.lengths.sum())

    def __len__(self) -> int:
        return len(self.y)

    def take(self, places: Numbers | slice) -> Self:
        """Return some of the runs; their samples keep their numbers."""
        return type(self)(*(getattr(self, field.name)[places] for field in fields(self)))

    def cut(self, edges: Numbers) -> tuple[Self, Numbers]:
        """Cut runs at columns; return also the interval of each.

        `edges` are sorted and distinct, and enclose all runs.
        """
        start = np.searchsorted(edges, self.x0, "right") - 1
        stop = np.searchsorted(edges, self.x1 - 1, "right")
        whole, number = expanded(stop - start)
        interval = start[whole] + number
        x0, x1 = np.maximum(self.x0[whole], edges[interval]), np.minimum(self.x1[whole], edges[interval + 1])
        return type(self)(self.y[whole], x0, x1, self.first[whole] + x0 - self.x0[whole]), interval

    def positions(self) -> tuple[Numbers, Numbers, Numbers]:
        """Return the number, row and column of each sample."""
        run, offset = expanded(self.lengths)
        return self.first[run] + offset, self.y[run], self.x0[run] + offset


def expanded(counts: Numbers) -> tuple[Numbers, Numbers]:
    """Return the group of each member, and its number in it."""
    whole = np.repeat(np.arange(len(counts)), counts)
    return whole, np.arange(len(whole)) - np.repeat(np.cumsum(counts) - counts, counts)
