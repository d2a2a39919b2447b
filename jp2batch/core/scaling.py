"""Scaling of digital numbers to reflectance: offset, quantification, no data."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Scaling:
    """Scaling of a band: reflectance = (number + offset) / quantification."""

    offset: float
    """BOA_ADD_OFFSET or RADIO_ADD_OFFSET of the band; 0 if absent."""
    quantification: float
    """BOA_QUANTIFICATION_VALUE or QUANTIFICATION_VALUE."""
    quantity: str
    """Resulting quantity: surface or top-of-atmosphere reflectance."""
    nodata: int = 0
    """Number for no data, turned into NaN."""

    def apply(self, numbers: NDArray[np.generic]) -> NDArray[np.float32]:
        """Return reflectance as float32, from numbers.

        With a negative offset, dark pixels may be negative.
        """
        reflectance = (numbers.astype(np.float32) + np.float32(self.offset)) / np.float32(self.quantification)
        reflectance[numbers == self.nodata] = np.nan
        return reflectance

    @property
    def formula(self) -> str:
        """Formula of `apply`, as text."""
        sign = "-" if self.offset < 0 else "+"
        shifted = f"(number {sign} {abs(self.offset):.12g})" if self.offset else "number"
        return f"{shifted} / {self.quantification:.12g}; NaN where the number is {self.nodata}"

    @property
    def scaled_attributes(self) -> dict[str, object]:
        """Attributes for an array of reflectance; readers must not apply them again."""
        return {"long_name": self.quantity, "units": "1", "scaling": self.formula}


@dataclass(frozen=True, slots=True)
class ScalingClaim:
    """Scaling of a band by its STAC item."""

    scaling: Scaling
    """Offset and quantification in the item."""
    problem: str = ""
    """Reason to distrust it; empty without any."""
