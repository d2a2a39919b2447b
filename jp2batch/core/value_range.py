"""Ranges of the values of arrays."""

import numpy as np
from numpy.typing import NDArray


def are_within(values: NDArray[np.generic], lowest: int, highest: int) -> bool:
    """Return whether all values are within limits, limits included."""
    return not values.size or bool(lowest <= values.min().item() and values.max().item() <= highest)
